"""The models that come with the package: each is whole and predicts, and a name is found or answered."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from hist2st_pyg import Hist2ST, Preprocessing, load_model, load_sections, predict
from hist2st_pyg.cli import main
from hist2st_pyg.inference import predict_cohort, predict_section
from hist2st_pyg.models import ExpressionModel, packaged
from hist2st_pyg.models.card import edited
from hist2st_pyg.models.packaged import FOLDER, Packaged, packaged_models
from hist2st_pyg.models.pretrained import save_pretrained

NAMES = list(packaged_models())
PITCH = 40


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made section's image, with a spot file of 12 spots beside it."""
    folder = tmp_path_factory.mktemp("image")
    section = load_sections("synthetic", names=["A1"], patients=1, spots=36, genes=12, noise_genes=2)[0].require_image()
    with section.open() as region:
        Image.fromarray(region(0, 0, *section.size)).save(folder / "a.png")
    x, y = np.meshgrid(100 + PITCH * np.arange(4), 100 + PITCH * np.arange(3))
    pd.DataFrame({"x": x.ravel(), "y": y.ravel()}).to_csv(folder / "spots.csv")
    return folder / "a.png"


@pytest.fixture
def own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A package with one model, ``mine``."""
    folder = tmp_path / "weights"
    save_pretrained(tiny(), folder / "mine", packaged=True)
    digests = {file: hashlib.sha256((folder / "mine" / file).read_bytes()).hexdigest() for file in ("config.json",)}
    entry = Packaged("mouse", "tail", 3, 0.5, 0.6, "s1, an animal never seen", digests)
    monkeypatch.setattr(packaged, "FOLDER", folder)
    monkeypatch.setattr(packaged, "packaged_models", lambda: {"mine": entry})
    return folder


def tiny() -> Hist2ST:
    torch.manual_seed(0)
    return Hist2ST(
        3, patch_size=28, vision="cnn", vision_kwargs={"channels": [8], "out_channels": 16}, transformer_layers=0,
        position="none", gnn="sage",
    ).eval()  # fmt: skip


def test_there_are_some() -> None:
    assert "her2st-small" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_each_predicts_an_image(name: str, image: Path) -> None:
    model = load_model(name)
    adata = predict(model, image, image.parent / "spots.csv")
    assert adata.shape == (12, packaged_models()[name].genes)
    assert tuple(adata.var_names) == model.genes
    found = np.asarray(adata.X)
    assert np.isfinite(found).all()
    assert found.std(0).max() > 1e-3  # not the same everywhere
    assert abs(found.mean() - float(model.target_mean.mean())) < 1  # log10 expression, near that of training


@pytest.mark.parametrize("name", NAMES)
def test_each_is_small_in_half_precision_and_has_a_card_of_its_own(name: str) -> None:
    folder = FOLDER / name
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 2.5e6
    weights = load_file(folder / "model.safetensors")
    model = load_model(name)
    assert {value.dtype for value in weights.values() if value.dim() > 1} == {torch.float16}
    assert torch.float16 not in {value.dtype for value in weights.values() if value.dim() < 2}
    assert {value.dtype for value in model.parameters()} == {torch.float32}
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert not edited(folder / "README.md")
    entry = packaged_models()[name]
    assert f'h.load_model("{name}")' in card
    assert f"license: {'cc-by-4.0' if name == 'her2st-small' else 'mit'}\n" in card
    assert all(f"`{record.name}`" in card for record in model.training_sections["train"])
    for words in (f"{entry.pcc:.3f} ± ", f"| {entry.ceiling:.3f} |", "not a medical device", "an be measured on none"):
        assert words in card


def test_all_together_are_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.rglob("*") if path.is_file()) <= 7.5e6


def test_commands_take_a_name(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spots = ["--spots", str(image.parent / "spots.csv")]
    assert main(["predict", "her2st-small", str(image), "-o", "a.h5ad", *spots]) == 0
    assert anndata.read_h5ad("a.h5ad").n_vars == 785
    more = ["--gene", "FASN", "--figures", "f", "--top", "1", "--steps", "2", "-o", "e.json"]
    assert main(["explain", "her2st-small", str(image), *spots, *more]) == 0
    assert "FASN" in Path("e.json").read_text()
    capsys.readouterr()
    assert main(["info", "her2st-small"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["packaged"]["tissue"] == "HER2-positive breast cancer"
    assert Path(shown["packaged"]["card"]).is_file()
    assert shown["preprocessing"]["genes"].startswith("785 genes: ")


def test_a_name_is_evaluated_on_measured_sections(image: Path, capsys: pytest.CaptureFixture[str]) -> None:
    genes = load_model("her2st-small").genes
    spots = pd.read_csv(image.parent / "spots.csv", index_col=0)
    adata = anndata.AnnData(
        np.random.default_rng(0).poisson(2.0, (len(spots), len(genes))).astype(np.float32),
        var=pd.DataFrame(index=list(genes)),
        obsm={"spatial": spots[["x", "y"]].to_numpy(np.float64)},
    )
    Path("sections/s1").mkdir(parents=True)
    adata.obs_names = [f"spot{i}" for i in range(len(adata))]
    adata.write_h5ad("sections/s1/section.h5ad")
    shutil.copy(image, "sections/s1/he.png")
    assert main(["evaluate", "her2st-small", "--data.name", "anndata", "--data.root", "sections"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["n_genes"], shown["n_spots"], shown["seen_in_training"]) == (785, 12, [])
    assert main(["evaluate", "her2st-small"]) == 2
    assert "name the data set instead" in capsys.readouterr().err


def test_a_name_is_a_model_for_the_other_ways_in(image: Path) -> None:
    assert Hist2ST.from_pretrained("her2st-small").genes == load_model("her2st-small").genes
    with pytest.raises(ValueError, match="her2st-small is on this machine, so revision='v1' has no effect"):
        ExpressionModel.from_pretrained("her2st-small", revision="v1")
    (result,) = predict_cohort("her2st-small", [image], "many", spots=image.parent / "spots.csv").slides
    assert result.outcome == "done"


@pytest.mark.parametrize("load", [load_model, ExpressionModel.from_pretrained])
def test_a_name_that_is_none_is_answered_with_those_that_are(load: object) -> None:
    with pytest.raises(FileNotFoundError, match=f"no model at her2-small.*The packaged models are {', '.join(NAMES)}"):
        load("her2-small")  # type: ignore[operator]
    with pytest.raises(FileNotFoundError, match=r"There is no model at no/such/folder(?!.*packaged)"):
        load("no/such/folder")  # type: ignore[operator]


def test_a_folder_of_the_name_goes_before(own: Path) -> None:
    other = tiny()
    with torch.no_grad():
        other.target_mean.fill_(7)
    other.save_pretrained("mine")
    assert float(load_model("mine").target_mean[0]) == 7
    shutil.rmtree("mine")
    assert float(load_model("mine").target_mean[0]) != 7


def test_a_file_that_is_not_the_one_that_was_packaged_is_refused(own: Path) -> None:
    path = own / "mine" / "config.json"
    path.write_text(path.read_text().replace('"model": "hist2st"', '"model": "mean"'))
    with pytest.raises(ValueError, match=r"config\.json is not the file of the packaged model mine \(its SHA-256"):
        load_model("mine")
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        load_model("mine")


def test_half_precision_moves_predictions_by_little(tmp_path: Path) -> None:
    """By what eleven bits of a parameter are worth, not more."""
    (section,) = load_sections("synthetic", names=["A1"], patients=1, spots=36, genes=12, noise_genes=2)
    model = tiny()
    model.preprocessing = Preprocessing(tuple(section.adata.var_names[:3]), patch_size=28, pitch=64.0)
    whole, half = (save_pretrained(model, tmp_path / str(packed), packaged=packed) for packed in (False, True))
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (whole, half)]
    assert sizes[1] < 0.6 * sizes[0]
    one, two = (np.asarray(predict_section(load_model(folder), section).X) for folder in (whole, half))
    apart = np.abs(one - two).max()
    assert 0 < apart < 5e-3 * np.abs(one).max()
    again = save_pretrained(load_model(half), tmp_path / "again", packaged=True)
    assert (again / "model.safetensors").read_bytes() == (half / "model.safetensors").read_bytes()


def test_a_parameter_beyond_half_precision_is_refused(tmp_path: Path) -> None:
    model = tiny()
    with torch.no_grad():
        next(value for value in model.parameters() if value.dim() > 1).fill_(1e5)
    with pytest.raises(ValueError, match="has values that are not finite"):
        save_pretrained(model, tmp_path / "model", packaged=True)
