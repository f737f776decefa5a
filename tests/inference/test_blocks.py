from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch_geometric import nn as gnn
from torch_geometric.data import Data

from hist2st_pyg import Hist2ST, Preprocessing, Section
from hist2st_pyg.data.source import SpotPatches
from hist2st_pyg.inference import blocks, predict_blocks, predict_section, run_model, running, spatial_blocks
from hist2st_pyg.inference.blocks import Prediction
from hist2st_pyg.inference.running import find_device
from hist2st_pyg.models import MODELS, ClosedFormModel, ExpressionModel
from hist2st_pyg.models.registry import parameters_of
from hist2st_pyg.nn import CONVS
from hist2st_pyg.training.presets import preset_values

GENES = tuple(f"GENE{i}" for i in range(1, 7))
SHARED = {"embedding", "expression", "mean", "sd", "zero_probability"}


def model(name: str = "hist2st", preprocessing: dict[str, Any] | None = None, **arguments: Any) -> ExpressionModel:
    """A model of the small preset with random weights."""
    torch.manual_seed(0)
    known = parameters_of(MODELS[name])
    shapes = {"patch_size": 14, "n_scales": 2}
    values = preset_values("small", name, vision=arguments.get("vision"))["model"]
    scales = (1.0, 2.0) if "n_scales" in known else (1.0,)
    built = MODELS[name](len(GENES), **{**values, **{key: v for key, v in shapes.items() if key in known}, **arguments})
    built.pixel_mean.fill_(150.0)
    built.pixel_std.fill_(40.0)
    built.target_std.fill_(0.5)
    built.target_mean.copy_(torch.arange(len(GENES)) / 10)
    # Some spots lose neighbors, so that degrees differ.
    fields: dict[str, Any] = {
        "k": 6,
        "max_distance": 1.3,
        "stain": "macenko",
        "scales": scales,
        **(preprocessing or {}),
    }
    built.preprocessing = Preprocessing(GENES, patch_size=14, pitch=64.0, **fields)
    return built.eval()


def look_up(built: ExpressionModel, section: Section) -> None:
    """Let a model that looks training spots up keep a section's."""
    assert built.preprocessing is not None
    built.remember([built.preprocessing.to_data(section)])


def predicted(built: ExpressionModel, section: Section, **options: Any) -> Prediction:
    """The section's prediction by blocks."""
    assert built.preprocessing is not None
    graph = built.preprocessing.build_graph(section.pos, section.grid)
    return predict_blocks(built, graph, built.preprocessing.section_patches(section), **options)


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


def test_model_and_data_stay_on_their_device(cohort: list[Section], monkeypatch: pytest.MonkeyPatch) -> None:
    """What trains and draws goes on with both after a prediction on a GPU; meta tensors stand for the GPU's."""
    built = model()
    assert built.preprocessing is not None
    data = built.preprocessing.input_data(cohort[0])
    moves = []

    def to(device: object) -> ExpressionModel:
        moves.append(str(device))
        return built

    def forward(moved: Data) -> dict[str, torch.Tensor]:
        assert {value.device.type for _, value in moved if isinstance(value, torch.Tensor)} == {"meta"}
        return {"expression": torch.zeros(2)}

    for module in (blocks, running):
        monkeypatch.setattr(module, "find_device", str)  # which refuses meta
    monkeypatch.setattr(built, "to", to)
    monkeypatch.setattr(built, "forward", forward)
    run_model(built.train(), data, "meta")
    assert moves == ["meta", "cpu"]
    assert built.training
    assert {value.device.type for _, value in data if isinstance(value, torch.Tensor)} == {"cpu"}


def test_only_a_block_and_its_surroundings_are_cut_at_a_time(
    cohort: list[Section], monkeypatch: pytest.MonkeyPatch
) -> None:
    built, section, asked = (
        model("ridge_neighbors", preprocessing={"k": 2}),
        cohort[0],
        list[NDArray[np.int64] | None](),
    )
    cut = SpotPatches.__call__

    def spy(self: SpotPatches, spots: NDArray[np.int64] | None = None) -> torch.Tensor:
        asked.append(spots)
        return cut(self, spots)

    monkeypatch.setattr(SpotPatches, "__call__", spy)
    predicted(built, section, block=6)
    assert len(asked) == 8
    assert all(spots is not None and 6 <= len(spots) <= 6 * 3 for spots in asked)


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


def test_each_patch_is_cut_and_encoded_once(cohort: list[Section]) -> None:
    built, cut = model("hist2st", gnn="sage", gnn_layers=2), []
    assert built.preprocessing is not None
    patches = built.preprocessing.section_patches(cohort[0])

    def counted(spots: Any) -> torch.Tensor:
        cut.extend(spots)
        return patches(spots)

    graph = built.preprocessing.build_graph(cohort[0].pos, cohort[0].grid)
    parts = predict_blocks(built, graph, counted, block=10).values["expression"]
    assert sorted(cut) == list(range(len(cohort[0])))
    np.testing.assert_allclose(parts, predicted(built, cohort[0], block=48).values["expression"], atol=1e-5)


@pytest.mark.parametrize("name", ["position_knn", "depth_oracle"])
def test_models_that_read_counts_read_the_whole_section(cohort: list[Section], name: str) -> None:
    built = model(name)
    assert built.receptive_field is None
    assert predict_section(built, cohort[0], block=10).shape == (48, len(GENES))


@pytest.mark.parametrize("block", [100, 20])
def test_values_that_are_not_finite_are_refused(cohort: list[Section], block: int) -> None:
    built = model()
    built.target_std[1] = torch.nan
    n = len(cohort[0]) if block == 100 else 12  # of 48 spots, the first block of at most 20
    message = rf"^A1: {n} of {n * len(GENES)} values of 'expression' from the model Hist2ST are not finite\."
    with pytest.raises(ValueError, match=message):
        predicted(built, cohort[0], block=block, name="A1")


def test_an_empty_block_is_refused(cohort: list[Section]) -> None:
    with pytest.raises(ValueError, match="block must be 1 spot or more, got 0"):
        predicted(model("ridge"), cohort[0], block=0)


def test_an_error_in_a_block_comes_out(cohort: list[Section]) -> None:
    built = model("ridge")
    assert built.preprocessing is not None
    patches: Callable[..., Any] = built.preprocessing.section_patches(cohort[0])

    def broken(spots: NDArray[np.int64] | None) -> torch.Tensor:
        if spots is not None and 30 in spots:
            raise OSError("the disk is gone")
        return patches(spots)  # type: ignore[no-any-return]

    with pytest.raises(OSError, match="the disk is gone"):
        predict_blocks(built, built.preprocessing.build_graph(cohort[0].pos, cohort[0].grid), broken, block=8)


@pytest.mark.parametrize("device", ["mps", "gpu", "foo", "meta", "", "cuda:99", "cuda:x", "xla", "hpu"])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(ValueError, match=rf"^device='{device}': .*; choose 'auto'.* or 'cpu'\.$"):
        find_device(device)


def test_devices_that_are_there() -> None:
    assert find_device("cpu") == "cpu"
    assert find_device("auto") in {"cpu", "cuda"}
