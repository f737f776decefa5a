from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from _helpers.preset_models import GENES, look_up, model, predicted
from PIL import Image
from torch_geometric import nn as gnn

from hist2st_pyg import Hist2ST, Section
from hist2st_pyg.inference import blocks, predict_section, run_model, spatial_blocks
from hist2st_pyg.models import ClosedFormModel, ExpressionModel
from hist2st_pyg.nn import CONVS

SHARED = {"embedding", "expression", "mean", "sd", "zero_probability"}


def check_same(built: ExpressionModel, section: Section, sizes: tuple[int, ...]) -> None:
    whole = predicted(built, section, block=len(section))
    assert whole.notes == []
    for size in sizes:
        parts = predicted(built, section, block=size)
        assert parts.notes == []
        assert parts.values.keys() == whole.values.keys() <= SHARED
        for key, value in whole.values.items():
            np.testing.assert_allclose(parts.values[key], value, rtol=1e-5, atol=1e-5, err_msg=f"{key}, {size}")
        assert parts.color_distance == pytest.approx(whole.color_distance, rel=1e-12)


@pytest.mark.parametrize("size", [1, 7, 20, 100, 1000])
def test_blocks_part_the_spots_into_neighbors(size: int) -> None:
    pos = np.random.default_rng(0).random((700, 2)) * [3, 1]
    parts = spatial_blocks(pos, size)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(700))
    assert all(len(part) <= size and (np.diff(part) > 0).all() for part in parts)
    assert min(len(part) for part in parts) > size / 4
    if 7 <= size <= 100:
        # A block is about as wide as high, and its area is its share of the spots.
        width, height = np.median([np.ptp(pos[part], axis=0) for part in parts], axis=0)
        assert 0.4 < width / height < 2.5


@pytest.mark.parametrize(
    ("name", "arguments", "hops"),
    [
        ("hist2st", {}, 2),
        ("hist2st", {"gnn_layers": 4, "likelihood": "nb", "position": "fourier"}, 4),
        ("graph_only", {}, 2),
        ("ridge_neighbors", {}, 1),
        ("ridge", {}, 0),
        ("kernel_ridge", {}, 1),
        ("kernel_ridge", {"neighbors": False}, 0),
        ("embedding_ridge", {"vision": "linear", "components": None}, 0),
        ("stnet", {"vision": "cnn", "vision_kwargs": {"channels": [4], "out_channels": 8}}, 0),
        ("histogene", {"transformer_layers": 0, "channels": 16}, 0),
        ("bleep", {"channels": 8, "k": 5}, 0),
        ("mean", {}, 0),
    ],
)
def test_blocks_give_the_whole_section_s_prediction(
    cohort: list[Section], name: str, arguments: dict[str, Any], hops: int
) -> None:
    built = model(name, **arguments)
    assert built.receptive_field == hops
    if isinstance(built, ClosedFormModel):
        assert built.preprocessing is not None
        built.fit([built.preprocessing.to_data(cohort[1])], [])
    look_up(built, cohort[1])
    check_same(built, cohort[0], (1, 5, 17, 40))


@pytest.mark.parametrize("arguments", [{}, {"transformer_layers": 1, "heads": 2, "dim_head": 8, "attention": "local"}])
def test_some_spots_are_predicted_as_all_are(cohort: list[Section], arguments: dict[str, Any]) -> None:
    built, spots = model(**arguments), np.array([0, 3, 4, 17, 30, 41, 46])
    whole = predicted(built, cohort[0], block=5)
    some = predicted(built, cohort[0], block=5, spots=spots, warn=False)
    for key, value in whole.values.items():
        np.testing.assert_allclose(some.values[key], value[spots], rtol=1e-5, atol=1e-5, err_msg=key)


@pytest.mark.parametrize("gnn_key", sorted(CONVS))
def test_the_halo_is_wide_enough_for_every_layer(cohort: list[Section], gnn_key: str) -> None:
    check_same(model("graph_only", gnn=gnn_key), cohort[0], (4, 20))


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("hist2st", {"transformer_layers": 2, "heads": 2, "dim_head": 8}),
        ("histogene", {"channels": 16, "heads": 2}),
        ("hggep", {"channels": 32, "heads": 2, "dim_head": 8}),
        ("triplex", {"tiles": 2, "tiles_around": 3}),
    ],
)
def test_local_attention_reads_beyond_the_block(cohort: list[Section], name: str, arguments: dict[str, Any]) -> None:
    built = model(name, attention="local", attention_window=2, **arguments)
    assert built.receptive_field is None
    check_same(built, cohort[0], (5, 17))
    full = model(name, attention="full", **arguments)
    wide = model(name, attention="local", attention_window=100, **arguments)
    expected = predicted(full, cohort[0]).values["expression"]
    np.testing.assert_allclose(predicted(wide, cohort[0]).values["expression"], expected, atol=1e-5)
    assert np.abs(predicted(built, cohort[0]).values["expression"] - expected).max() > 1e-4


def test_a_narrower_halo_would_show(cohort: list[Section], monkeypatch: pytest.MonkeyPatch) -> None:
    built = model()
    whole = predicted(built, cohort[0]).values["expression"]
    monkeypatch.setattr(Hist2ST, "num_hops", property(lambda self: 1))
    assert np.abs(predicted(built, cohort[0], block=12).values["expression"] - whole).max() > 1e-3


def test_it_is_the_model_s_own_output(cohort: list[Section]) -> None:
    built = model()
    assert built.preprocessing is not None
    out = run_model(built, built.preprocessing.input_data(cohort[0]))
    values = predicted(built, cohort[0], block=10).values
    np.testing.assert_allclose(values["expression"], out["expression"], atol=1e-5)
    assert values["embedding"].shape == (48, 2 * 128)


def test_a_jpeg_is_decoded_once(cohort: list[Section], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hist2st_pyg.image import RasterImage

    opened, decode = [], RasterImage._decoded

    def spy(self: RasterImage, image: Image.Image) -> Image.Image:
        opened.append(image)
        return decode(self, image)

    monkeypatch.setattr(RasterImage, "_decoded", spy)
    Image.fromarray(cohort[0].require_image().array).save(tmp_path / "image.png")  # type: ignore[attr-defined]
    section = replace(cohort[0], image=tmp_path / "image.png")
    check = predicted(model("ridge"), cohort[0]).values["expression"]
    np.testing.assert_allclose(predicted(model("ridge"), section, block=5).values["expression"], check, atol=1e-5)
    assert len(opened) == 1


def test_embeddings_are_predicted_by_blocks(cohort: list[Section]) -> None:
    adata = cohort[0].adata.copy()
    adata.obsm["uni"] = np.random.default_rng(0).normal(size=(48, 5)).astype(np.float32)
    built = model(
        preprocessing={"embedding": "uni", "scales": (1.0,)}, vision="precomputed",
        vision_kwargs={"embedding_channels": 5}, n_scales=1, color_stream=False, kernel_stream=False,
    )  # fmt: skip
    section = replace(cohort[0], adata=adata, image=None)
    whole, parts = predict_section(built, section), predict_section(built, section, block=9)
    np.testing.assert_allclose(parts.X, whole.X, atol=1e-5)
    assert "color_distance" not in parts.uns["hist2st"]


ATTENTION: list[tuple[str, dict[str, Any]]] = [
    ("hist2st", {"transformer_layers": 1, "heads": 2, "dim_head": 8}),
    ("histogene", {"channels": 16, "transformer_layers": 1, "heads": 2, "dim_head": 8}),
    ("eggn", {"channels": 8, "k": 2}),
]


@pytest.mark.parametrize(("name", "arguments"), ATTENTION)
def test_attention_is_kept_to_blocks_on_large_sections_only(
    cohort: list[Section], name: str, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    built = model(name, **arguments)
    look_up(built, cohort[1])
    assert built.receptive_field is None
    whole = predicted(built, cohort[0], block=10)
    np.testing.assert_array_equal(whole.values["expression"], predicted(built, cohort[0]).values["expression"])
    assert whole.notes == []
    monkeypatch.setattr(blocks, "WHOLE_SECTION_SPOTS", 47)
    parts = predicted(built, cohort[0], block=10, name="A1")
    (note,) = parts.notes
    assert "48 spots, too many to read at once" in note
    assert f"A1: {note}" in caplog.messages
    difference = np.abs(parts.values["expression"] - whole.values["expression"])
    assert 0 < difference.max() < 1
    assert predicted(built, cohort[0], block=48).notes == []  # who has the memory says so


def test_what_needs_all_of_a_section_is_not_parted(cohort: list[Section], monkeypatch: pytest.MonkeyPatch) -> None:
    built = model("graph_only", gnn=lambda i, o: gnn.SGConv(i, o, K=2))
    assert built.receptive_field is None
    whole = predicted(built, cohort[0], block=10).values["expression"]
    monkeypatch.setattr(blocks, "WHOLE_SECTION_SPOTS", 47)
    with pytest.raises(ValueError, match=r"'A1' has 48 spots, .* reads a whole section at once.* Set block=48"):
        predicted(built, cohort[0], block=10, name="A1")
    np.testing.assert_array_equal(predicted(built, cohort[0], block=48).values["expression"], whole)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("ridge", {"per_section": True, "alpha": 0.1}),
        ("kernel_ridge", {"per_section": True, "contrast": True, "alpha": 0.1}),
        ("graph_only", {"gnn": "sage", "gnn_layers": 1, "kernel_stream": True}),
    ],
)
def test_blocks_are_standardized_as_their_whole_section(
    cohort: list[Section], name: str, arguments: dict[str, Any]
) -> None:
    built = model(name, **arguments)
    assert built.preprocessing is not None
    train = built.preprocessing.to_data(cohort[1])
    if isinstance(built, ClosedFormModel):
        built.fit([train], [])
    else:
        built.remember([train])
    whole, parts = (predicted(built, cohort[0], block=block).values["expression"] for block in (48, 9))
    np.testing.assert_allclose(parts, whole, atol=1e-4)
    alone = built.preprocessing.to_data(cohort[0]).subgraph(torch.arange(9))  # standardized by itself
    with torch.no_grad():
        assert np.abs(built(alone)["expression"].numpy() - whole[:9]).max() > 1e-3


@pytest.mark.parametrize("block", [9, 20])
def test_a_few_spots_are_standardized_as_their_whole_section(cohort: list[Section], block: int) -> None:
    built = model("graph_only", gnn="sage", gnn_layers=1, kernel_stream=True)
    assert built.preprocessing is not None
    built.remember([built.preprocessing.to_data(cohort[1])])
    spots = np.array([3, 4, 5, 10, 11, 30, 31, 32, 33, 40])
    whole = predicted(built, cohort[0], block=48).values["expression"]
    some = predicted(built, cohort[0], block=block, spots=spots).values["expression"]
    np.testing.assert_allclose(some, whole[spots], atol=1e-4)


@pytest.mark.parametrize("name", ["position_knn", "depth_oracle"])
def test_models_that_read_counts_read_the_whole_section(cohort: list[Section], name: str) -> None:
    built = model(name)
    assert built.receptive_field is None
    assert predict_section(built, cohort[0], block=10).shape == (48, len(GENES))


def test_an_empty_block_is_refused(cohort: list[Section]) -> None:
    with pytest.raises(ValueError, match="block must be 1 spot or more, got 0"):
        predicted(model("ridge"), cohort[0], block=0)
