from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from hist2st_pyg import compat, losses
from hist2st_pyg.models import ExpressionModel, Hist2ST

GOLDEN = Path(__file__).parents[1] / "golden"
OURS = {
    "zinb_mean": "mean",
    "zinb_dispersion": "dispersion",
    "zinb_dropout": "dropout",
    "nb_r": "log_r",
    "nb_p": "logit_p",
}
"""Recorded outputs whose names differ."""
SMALL: dict[str, Any] = {
    "fig_size": 14, "patch_size": 7, "kernel_size": 3, "channel": 16, "depth1": 1, "depth2": 1, "depth3": 2, "heads": 2,
    "n_genes": 6,
}  # fmt: skip


def read(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, NDArray[Any]], dict[str, Any]]:
    """All arrays, the weights among them by their original names, and the configuration."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    weights = {name.removeprefix("state."): value for name, value in arrays.items() if name.startswith("state.")}
    return arrays, weights, json.loads(str(arrays["config"]))


def check_parity(path: Path) -> ExpressionModel:
    """Every recorded output is reproduced to 1e-6 of its scale."""
    arrays, weights, config = read(path)
    model = (compat.load_histogene if path.stem == "histogene" else compat.load_hist2st)(weights, config)
    data = compat.to_data(arrays["in.patches"], arrays["in.array_coords"], arrays.get("in.adjacency"))
    with torch.no_grad():
        out = model(data)
    recorded = [name for name in arrays if name.startswith("out.")]
    assert "out.expression" in recorded
    for name in recorded:
        short = name.removeprefix("out.")
        if short == "nll":
            data.counts = torch.from_numpy(arrays["in.counts"])
            data.size_factor = torch.from_numpy(arrays["in.size_factor"])
            got = losses.negative_log_likelihood(out, data).numpy()
        else:
            got = out[OURS.get(short, short)].numpy()
        expected = arrays[name].reshape(got.shape)
        np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6 * np.abs(expected).max(), err_msg=name)
    return model


def call() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(0)
    patches = torch.from_numpy(rng.integers(0, 256, (9, 3, 14, 14))).float()
    coordinates = torch.from_numpy(np.stack([np.arange(9) // 3, np.arange(9) % 3], 1))
    distance = torch.cdist(coordinates.float(), coordinates.float())
    return patches, coordinates, ((distance > 0) & (distance < 1.1)).float()


@pytest.fixture(scope="module")
def published() -> compat.Hist2ST:
    torch.manual_seed(0)
    return compat.Hist2ST(**SMALL, policy="mean").eval()


def test_hist2st_with_nb_and_max_is_the_original() -> None:
    model = check_parity(GOLDEN / "hist2st_nb_max.npz")
    assert not model.training


def test_hist2st_with_zinb_and_mean_is_the_original() -> None:
    check_parity(GOLDEN / "hist2st_zinb_mean.npz")


def test_histogene_is_the_original() -> None:
    check_parity(GOLDEN / "histogene.npz")


def test_the_published_call(published: compat.Hist2ST) -> None:
    patches, coordinates, adjacency = call()
    out = published(patches, coordinates, adjacency)
    assert out.shape == (9, 6)
    torch.testing.assert_close(published(patches[None], coordinates[None], adjacency[None]), out)
    torch.testing.assert_close(published(patches, coordinates.float(), adjacency), out)


def test_row_i_of_the_adjacency_marks_the_neighbors_of_spot_i() -> None:
    patches, coordinates, _ = call()
    adjacency = torch.zeros(9, 9)
    adjacency[2, 7] = adjacency[2, 5] = adjacency[4, 0] = 1  # not symmetric
    data = compat.to_data(patches, coordinates, adjacency)
    assert set(map(tuple, data.edge_index.T.tolist())) == {(7, 2), (5, 2), (0, 4)}
    steps = (coordinates[data.edge_index[0]] - coordinates[data.edge_index[1]]).double().norm(dim=1)
    torch.testing.assert_close(data.edge_attr.double()[:, 0], steps)
    assert torch.equal(data.grid, coordinates)
    assert data.validate(raise_on_error=True)
    # Through the graph stage alone: spot 2 hears of spot 7, not the other way round.
    torch.manual_seed(0)
    model = compat.Hist2ST(**{**SMALL, "depth2": 0}).eval()

    def heard(spot: int) -> list[int]:
        other = patches.clone()
        other[spot] = 255 - other[spot]
        moved = (model(other, coordinates, adjacency) - model(patches, coordinates, adjacency)).abs().amax(1)
        return (moved > 1e-5).nonzero().flatten().tolist()

    assert heard(7) == [2]
    assert heard(2) == []


def test_the_papers_arguments_shape_the_model() -> None:
    def likelihood(**arguments: Any) -> str:
        return type(compat.Hist2ST(**SMALL, **arguments).model.likelihood).__name__

    assert likelihood() == likelihood(nb=True) == "NoneType"
    assert likelihood(zinb=0.25) == "ZINB"
    assert likelihood(zinb=0.25, nb=True) == "NB"
    model = compat.Hist2ST(**SMALL, policy="max", bake=3, n_pos=20, learning_rate=1e-3, label=None, lamb=0.5).model
    assert len(model.streams[0].vision.blocks) == len(model.streams[0].transformer.blocks) == 1
    assert [conv.reduce for conv in model.streams[0].gnn.convs] == ["max", "max"]
    assert model.distillation is not None
    assert model.streams[0].transformer.position.column.num_embeddings == 20
    with pytest.raises(ValueError, match="Unknown aggr='sum'"):
        compat.Hist2ST(**SMALL, policy="sum")


def test_the_papers_defaults_are_ours() -> None:
    with torch.device("meta"):
        theirs, ours = compat.Hist2ST(zinb=0.25).model, Hist2ST(785)
    shapes = [{name: value.shape for name, value in model.state_dict().items()} for model in (theirs, ours)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("gene_head.1.weight"), r"weights do not fit.*Missing key.*expression\.1\.weight"),
        (lambda w: w.update(extra=np.zeros(3)), "The weight 'extra' does not belong to the original program"),
        (lambda w: w.update({"gene_head.7.weight": np.zeros(3)}), r"weights do not fit.*Unexpected key.*expression\.7"),
        (lambda w: w.update({"x_embed.weight": np.zeros((64, 31))}), "weights do not fit.*size mismatch"),
        (lambda w: w.update({"coef.0.bias": np.zeros(9)}), r"coef\.0\.bias is \[9\], but .* needs \[32\]"),
    ],
    ids=["missing", "unknown", "extra", "shape", "named"],
)
def test_weights_must_fit(change: Any, message: str) -> None:
    _, weights, config = read(GOLDEN / "hist2st_nb_max.npz")
    change(weights)
    with pytest.raises(ValueError, match=f"(?s){message}"):
        compat.load_hist2st(weights, config)


@pytest.mark.parametrize("tensors", [True, False])
def test_a_state_dict_of_tensors_loads_like_one_of_arrays(tensors: bool) -> None:
    _, weights, config = read(GOLDEN / "hist2st_nb_max.npz")
    given = {name: torch.from_numpy(value) if tensors else value for name, value in weights.items()}
    model = compat.load_hist2st(given, config)
    assert torch.equal(model.streams[0].expression[1].weight, torch.from_numpy(weights["gene_head.1.weight"]))
    assert torch.equal(model.streams[0].transformer.position.row.weight, torch.from_numpy(weights["y_embed.weight"]))


def test_shapes_that_do_not_fit_are_refused() -> None:
    patches, coordinates, adjacency = call()
    with pytest.raises(ValueError, match=r"Expected patches \[N, 3, W, H\] and coordinates \[N, 2\].*\[8, 2\]"):
        compat.to_data(patches, coordinates[:8], adjacency)
    with pytest.raises(ValueError, match=r"Expected patches.*\[9, 588\]"):
        compat.to_data(patches.flatten(1), coordinates, adjacency)
    with pytest.raises(ValueError, match=r"Expected an adjacency \[N, N\] with N=9, got \[8, 8\]"):
        compat.to_data(patches, coordinates, adjacency[:8, :8])
    with pytest.raises(ValueError, match="Expected an adjacency of 0 and 1"):
        compat.to_data(patches, coordinates, adjacency / 2)


def test_a_converted_model_records_how_the_original_cuts_its_patches() -> None:
    arrays = np.load(GOLDEN / "hist2st_nb_max.npz", allow_pickle=False)
    state = {name.removeprefix("state."): arrays[name] for name in arrays.files if name.startswith("state.")}
    config = json.loads(str(arrays["config"]))
    preprocessing = compat.load_hist2st(state, config, genes=list("ABCDEFGHIJKL")).preprocessing
    assert preprocessing is not None
    assert (preprocessing.transpose_patches, preprocessing.coord_type, preprocessing.k, preprocessing.max_distance) == (
        True,
        "array",
        6,
        None,
    )
    assert (preprocessing.patch_size, preprocessing.genes[:2]) == (28, ("A", "B"))
    pruned = compat.load_hist2st(state, {**config, "prune": "Grid"}).preprocessing
    assert pruned is not None
    assert pruned.max_distance == 2.0
    pruned = compat.load_hist2st(state, {**config, "prune": "STD"}).preprocessing
    assert pruned is not None
    assert (pruned.max_distance, pruned.prune) == (None, "std")
    with pytest.raises(ValueError, match=r"Unknown prune='std'. Choose one of: Grid, NA, STD\."):
        compat.load_hist2st(state, {**config, "prune": "std"})


def test_histogene_s_dropout_is_taken_over() -> None:
    _, weights, config = read(GOLDEN / "histogene.npz")
    assert compat.load_histogene(weights, {**config, "dropout": 0.3}).config["dropout"] == 0.3
    assert compat.load_histogene(weights, config).config["dropout"] == 0.1
