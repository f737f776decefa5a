from __future__ import annotations

import json
import os
import pickle
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import anndata
import numpy as np
import pytest
import torch
from _helpers.original_weights import histogene_weights, recorded
from _helpers.words import words
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from hist2st_pyg import Section, compat, load_model
from hist2st_pyg.cli import main
from hist2st_pyg.compat import convert
from hist2st_pyg.models import HisToGene
from hist2st_pyg.models.pretrained import describe
from hist2st_pyg.utils.safe_load import read_lightning, read_tensors

OPEN = {"policy": "max", "neighbors": 6, "prune": "NA"}
"""What the weights of the recorded Hist2ST do not tell."""


def check_outputs(folder: str, arrays: dict[str, NDArray[Any]]) -> None:
    data = compat.to_data(arrays["in.patches"], arrays["in.array_coords"], arrays.get("in.adjacency"))
    with torch.no_grad():
        out = load_model(folder)(data)
    ours = {"expression": "expression", "embedding": "embedding", "nb_r": "log_r", "nb_p": "logit_p",
            "zinb_mean": "mean", "zinb_dispersion": "dispersion", "zinb_dropout": "dropout"}  # fmt: skip
    checked = [name for name in ours if f"out.{name}" in arrays]
    assert "expression" in checked
    for name in checked:
        got = out[ours[name]].numpy()
        expected = arrays[f"out.{name}"].reshape(got.shape)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6 * np.abs(expected).max(), err_msg=name)


# Recorded outputs come back from the saved folder.


@pytest.mark.parametrize("how", ["flags", "json"])
def test_hist2st_s_weights_are_converted(
    golden: tuple[dict[str, NDArray[Any]], Any], checkpoint: Path, how: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("config.json").write_text(json.dumps(OPEN))
    flags = ["--policy", "max", "--neighbors", "6", "--prune", "NA"] if how == "flags" else ["--config", "config.json"]
    assert main(["convert", str(checkpoint), "-o", "model", *flags]) == 0
    out = capsys.readouterr().out
    assert "hist2st of 12 genes in model." in out
    assert "Assumed as published: dropout=0.2." in out
    assert "set --genes to name them" in out
    assert "--training_sections" in out
    check_outputs("model", golden[0])
    preprocessing = load_model("model").preprocessing
    assert preprocessing is not None
    assert (preprocessing.patch_size, preprocessing.k, preprocessing.max_distance, preprocessing.coord_type) == (
        28,
        6,
        None,
        "array",
    )
    assert (
        preprocessing.transpose_patches,
        preprocessing.normalize_by,
        preprocessing.stain,
        preprocessing.genes[:2],
    ) == (
        True,
        "panel",
        "none",
        ("gene_0", "gene_1"),
    )
    card = words(Path("model/README.md").read_text())
    assert "Converted from 5-Hist2ST.ckpt, a checkpoint of the original hist2st." in card


@pytest.mark.parametrize("name", ["hist2st_zinb_mean", "histogene"])
def test_the_other_recorded_weights(name: str) -> None:
    arrays, state = recorded(name)
    torch.save(state, "weights.pth")
    assert main(["convert", "weights.pth", "-o", "model"]) == 0
    check_outputs("model", arrays)
    preprocessing = load_model("model").preprocessing
    assert preprocessing is not None
    assert (preprocessing.k, preprocessing.max_distance) == (4, 2.0)


@pytest.mark.parametrize(("genes", "flags", "prune"), [(171, [], "NA"), (785, [], "Grid"), (171, ["Grid"], "Grid")])
def test_checkpoints_for_cscc_are_run_without_pruning_as_published(
    weights: dict[str, Tensor], genes: int, flags: list[str], prune: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("gene_head.1", "hr", "hp"):
        weights[f"{name}.weight"] = torch.zeros(genes, weights[f"{name}.weight"].shape[1])
        weights[f"{name}.bias"] = torch.zeros(genes)
    torch.save(weights, "weights.pth")
    assert main(["convert", "weights.pth", "-o", "model", *(f"--prune={flag}" for flag in flags)]) == 0
    preprocessing = load_model("model").preprocessing
    assert preprocessing is not None
    assert preprocessing.max_distance == {"NA": None, "Grid": 2.0}[prune]
    assert (f"prune={prune}" in capsys.readouterr().out) == (not flags)


# A converted model predicts an image.


def test_a_converted_model_predicts(
    checkpoint: Path, cohort: list[Section], capsys: pytest.CaptureFixture[str]
) -> None:
    genes = [f"GENE{i}" for i in range(12)]
    Path("genes.txt").write_text("\n".join(genes))
    seen = ["--training_sections", "[GSE1/A/A1, B/B1]"]
    assert main(["convert", str(checkpoint), "-o", "model", "--genes", "genes.txt", "--policy", "max", *seen]) == 0
    out = capsys.readouterr().out
    assert "numbered" not in out
    assert "--training_sections" not in out
    image = cohort[0].require_image()
    with image.open() as region:
        pixels = region(0, 0, *image.size)
    Image.fromarray(pixels).save("slide.png")
    header = "x\ty\tnew_x\tnew_y\tpixel_x\tpixel_y\tselected"
    rows = [f"{c}\t{r}\t{c}\t{r}\t{x}\t{y}\t1" for (c, r), (x, y) in zip(cohort[0].grid, cohort[0].pos, strict=True)]
    Path("slide_selection.tsv").write_text("\n".join([header, *rows]))
    spots = ["--spots", "slide_selection.tsv"]
    assert main(["predict", "model", "slide.png", *spots, "-o", "out.h5ad", "--device", "cpu"]) == 0
    adata = anndata.read_h5ad("out.h5ad")
    assert list(adata.var_names) == genes
    assert set(adata.layers) >= {"mean", "sd"}
    assert list(adata.uns["hist2st"]["training_sections"]) == ["A1", "B1"]
    assert list(adata.uns["hist2st"]["training_patients"]) == ["B", "GSE1/A"]
    # The original's own steps: swapped axes, the pixel that a spot is on, the four nearest of at most two array steps.
    half = 14
    padded = np.pad(pixels, ((half, half), (half, half), (0, 0)), mode="reflect").transpose(1, 0, 2)
    corners = np.floor(cohort[0].pos).astype(int)
    patches = np.stack([padded[x : x + 28, y : y + 28].transpose(2, 0, 1) for x, y in corners])
    grid = cohort[0].grid
    distance = np.linalg.norm(grid[:, None] - grid[None], axis=2) + np.eye(len(grid)) * 1e9
    adjacency = np.zeros_like(distance)
    for i, row in enumerate(distance):
        near = np.argsort(row, kind="stable")[:4]
        adjacency[i, near[row[near] <= 2]] = 1
    with torch.no_grad():
        expected = load_model("model")(compat.to_data(patches, grid, adjacency))["expression"].numpy()
    np.testing.assert_allclose(adata.X, expected, atol=1e-5)


# Lightning's checkpoints, as HisToGene writes them.


@pytest.fixture
def lightning(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Lightning 1.4's checkpoint: callbacks by class, arguments in a dict of its own."""
    from pytorch_lightning.callbacks import ModelCheckpoint
    from pytorch_lightning.utilities.parsing import AttributeDict

    class Gone:
        """A callback of a release that is not installed."""

    Gone.__module__, Gone.__qualname__ = "pytorch_lightning.callbacks.gone", "Gone"
    old = ModuleType(Gone.__module__)
    monkeypatch.setattr(old, "Gone", Gone, raising=False)
    content = {
        "epoch": 100, "pytorch-lightning_version": "1.4.9", "optimizer_states": [{"state": {}}],
        "state_dict": histogene_weights(heads=2, dim_head=64),
        "callbacks": {ModelCheckpoint: {"best_model_score": torch.tensor(1.0)}, Gone: {}},
        "hyper_parameters": AttributeDict(dropout=0.25, backbone="none"),
    }  # fmt: skip
    monkeypatch.setitem(sys.modules, Gone.__module__, old)
    torch.save(content, "last_train.ckpt")
    return content


def test_a_lightning_checkpoint_is_converted(lightning: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pytorch_lightning.callbacks.gone")
    before = torch.serialization.get_safe_globals()
    assert main(["convert", "last_train.ckpt", "-o", "model"]) == 0
    model = load_model("model")
    assert isinstance(model, HisToGene)
    assert model.config["dropout"] == 0.25
    assert torch.equal(model.vision.weight, lightning["state_dict"]["patch_embedding.weight"])
    # Classes are read as empty ones, and for this file alone.
    read = read_lightning("last_train.ckpt")
    assert not any(hasattr(callback, "on_train_start") for callback in read["callbacks"])
    assert type(read["hyper_parameters"]) is dict
    assert set(torch.serialization.get_safe_globals()) == set(before)
    with pytest.raises(ValueError, match=r"ModelCheckpoint|Gone|AttributeDict"):
        read_tensors("last_train.ckpt")


class Namespace:
    """Stands for argparse's, or any other class in a checkpoint."""


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (os.mkdir, ("executed",))


def test_a_checkpoint_with_code_is_refused(lightning: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({**lightning, "hook": Evil(), "args": Namespace()}, "evil.ckpt")
    assert main(["convert", "evil.ckpt", "-o", "model"]) == 2
    error = capsys.readouterr().err
    assert (
        f"evil.ckpt holds more than weights and plain values: posix.mkdir, {Namespace.__module__}.Namespace." in error
    )
    assert "torch.save(checkpoint['state_dict'], 'weights.pth')" in error
    assert "Lightning" not in error
    assert not Path("executed").exists()
    assert not Path("model").exists()


def test_a_pickled_model_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(nn.Linear(2, 2), "model.pth")
    assert main(["convert", "model.pth", "-o", "model"]) == 2
    error = capsys.readouterr().err
    assert "torch.nn.modules.linear.Linear" in error
    assert "a whole model's weights are model.state_dict()" in error


# What does not fit.


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "must hold weights by name, got list"),
        ({"a": torch.ones(1), "epoch": 3}, "holds 'epoch', which is not a weight but int"),
        ({3: torch.ones(1)}, "must hold weights by name, got the name 3"),
        ({"state_dict": {}, "hyper_parameters": [1]}, ": hyper_parameters must hold arguments by name, got list"),
        (
            {"a.weight": torch.ones(1), "b": torch.ones(1)},
            "does not hold the weights of hist2st or histogene",
        ),
        ({}, "its first weights are none"),
    ],
)
def test_a_file_of_something_else(content: Any, message: str) -> None:
    torch.save(content, "other.pth")
    with pytest.raises(ValueError, match=rf"other\.pth *{message}" if "first" not in message else message):
        convert("other.pth")


def test_files_that_are_not_checkpoints(weights: dict[str, Tensor], checkpoint: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no checkpoint nowhere\.ckpt"):
        convert("nowhere.ckpt")
    Path("text.ckpt").write_text("text")
    Path("plain.ckpt").write_bytes(pickle.dumps({"a": 1}, 4))
    for name in ("text.ckpt", "plain.ckpt"):
        with pytest.raises(ValueError, match=f"{name} cannot be read as a checkpoint without executing code"):
            convert(name)
    ours = load_model(convert(checkpoint, config=OPEN).model.save_pretrained("model"))
    torch.save({"description": describe(ours), "state_dict": ours.state_dict()}, "last.ckpt")
    with pytest.raises(ValueError, match=r"last\.ckpt is a checkpoint of hist2st_pyg, which load_model reads"):
        convert("last.ckpt")
    with pytest.raises(ValueError, match=r"Unknown name='stnet'\. Choose one of: hist2st, histogene"):
        convert(checkpoint, name="stnet")
    with pytest.raises(ValueError, match=r"of histogene: The weight patch_embedding\.weight must have 2"):
        convert(checkpoint, name="histogene")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("vit.transformer.layer3.9999999.linear.weight", torch.zeros(2, 2), "it asks for more than 1,[0-9]+ weights"),
        (
            "gene_head.1.bias",
            torch.full((12,), torch.nan),
            "weight streams.0.expression.1.bias has values that are n",
        ),
        ("gene_head.1.bias", torch.full((12,), 1e300, dtype=torch.float64), "has values that are not finite"),
        ("gene_head.1.bias", torch.zeros(12, dtype=torch.int32), "The weight gene_head.1.bias holds int32 numbers"),
        ("vit.transformer.down.0.weight", torch.zeros(0, 1, 1, 1), "by zero"),
    ],
)
def test_weights_that_cannot_be_right_are_refused(
    weights: dict[str, Tensor], name: str, value: Tensor, message: str
) -> None:
    torch.save({**weights, name: value}, "weights.pth")
    with pytest.raises(ValueError, match=rf"\Aweights\.pth[^\n]*{message}"):
        convert("weights.pth", config=OPEN)


def test_old_files_of_torch_are_read(weights: dict[str, Tensor]) -> None:
    torch.save(weights, "old.pth", _use_new_zipfile_serialization=False)
    assert convert("old.pth", config=OPEN).arguments["n_genes"] == 12
