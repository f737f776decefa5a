from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.linear_model import Ridge as LinearRidge
from torch_geometric.data import Batch

from hist2st_pyg import MODELS, Section, load_model, to_data
from hist2st_pyg.data import SectionData
from hist2st_pyg.metrics.expression import pearson_per_gene
from hist2st_pyg.models.ridge import LinearSolver, Ridge
from hist2st_pyg.nn.statistics import PatchStatistics

P = 28


@pytest.fixture(scope="module")
def sections(cohort: list[Section]) -> list[SectionData]:
    genes = list(cohort[0].adata.var_names)[:6]
    return [to_data(section, genes, patch_size=P, k=3) for section in cohort]


def statistics(data: SectionData) -> NDArray[Any]:
    return PatchStatistics()(data.x).double().numpy()


def neighbors(data: SectionData) -> NDArray[Any]:
    """By a dense matrix: row i averages the neighbors of spot i."""
    matrix = np.zeros((len(data.pos), len(data.pos)))
    matrix[data.edge_index[1], data.edge_index[0]] = 1
    return (matrix / matrix.sum(1, keepdims=True)) @ statistics(data)


def by_hand(train: NDArray[Any], y: NDArray[Any], test: NDArray[Any], alpha: float, components: int | None) -> Any:
    mean, std = train.mean(0), train.std(0)
    train, test = (train - mean) / std, (test - mean) / std
    if components is not None:
        pca = PCA(components, svd_solver="full").fit(train)
        train, test = pca.transform(train), pca.transform(test)
    return LinearRidge(alpha).fit(train, y).predict(test)


@pytest.mark.parametrize("components", [None, 5])
@pytest.mark.parametrize("with_neighbors", [False, True])
def test_it_is_scikit_learn_s_ridge(sections: list[SectionData], components: int | None, with_neighbors: bool) -> None:
    first, second, test = sections
    model = Ridge(6, patch_size=P, neighbors=with_neighbors, components=components, alpha=10.0)
    model.fit([first, second], [])
    features = [
        np.hstack([statistics(d), neighbors(d)]) if with_neighbors else statistics(d) for d in (first, second, test)
    ]
    y = torch.cat([first.y, second.y]).double().numpy()
    expected = by_hand(np.vstack(features[:2]), y, features[2], 10.0, components)
    np.testing.assert_allclose(model(test)["expression"].detach(), expected, atol=2e-3)


def test_the_penalty_is_that_of_the_best_validation_pcc(sections: list[SectionData]) -> None:
    train, val, _ = sections
    model = Ridge(6, patch_size=P)
    model.fit([train], [val])
    predictions = {
        alpha: by_hand(statistics(train), train.y.double().numpy(), statistics(val), alpha, None)
        for alpha in Ridge.alphas
    }
    scores = {alpha: np.nanmean(pearson_per_gene(val.y, predictions[alpha])) for alpha in Ridge.alphas}
    assert model.config["alpha"] == max(scores, key=lambda alpha: scores[alpha])


def test_held_out_squares_choose_and_do_not_train(sections: list[SectionData]) -> None:
    data = sections[0].clone()
    data.val_mask = torch.arange(len(data.pos)) < 16
    data.train_mask = ~data.val_mask
    spoilt = data.clone()
    spoilt.y = data.y.clone()
    spoilt.y[data.val_mask] = 100
    models = []
    for train in (data, spoilt):
        model = Ridge(6, patch_size=P, alpha=1.0)
        model.fit([train], [train])
        models.append(model(data)["expression"])
    torch.testing.assert_close(*models)


def test_within_sections_a_stain_does_not_matter(sections: list[SectionData]) -> None:
    model = Ridge(6, patch_size=P, per_section=True, alpha=1.0)
    model.fit(sections[:2], [])
    darker = sections[2].clone()
    darker.x = (darker.x.float() * 0.8).to(torch.float32)
    torch.testing.assert_close(model(darker)["expression"], model(sections[2])["expression"], atol=0.02, rtol=0)


def test_genes_that_a_section_did_not_measure_are_fitted_on_the_others(cohort: list[Section]) -> None:
    genes = list(cohort[0].adata.var_names)[:3]
    whole = to_data(cohort[0], genes, patch_size=P)
    part = to_data(replace(cohort[1], adata=cohort[1].adata[:, genes[:2]].copy()), genes, patch_size=P)
    both, alone = (Ridge(3, patch_size=P, alpha=1.0) for _ in range(2))
    both.fit([whole, part], [])
    alone.fit([whole], [])
    x = torch.from_numpy(np.vstack([statistics(whole), statistics(part)]))
    expected = by_hand(x.numpy(), torch.cat([whole.y, part.y])[:, :2].double().numpy(), statistics(whole), 1.0, None)
    np.testing.assert_allclose(both(whole)["expression"][:, :2].detach(), expected, atol=2e-3)
    assert not torch.allclose(both(whole)["expression"][:, 2], torch.zeros(len(whole.pos)))


@pytest.mark.parametrize("key", ["embedding_ridge", "ridge", "ridge_neighbors"])
def test_every_key_finds_what_the_images_show(sections: list[SectionData], key: str) -> None:
    options = {"vision": "cnn", "components": 8} if key == "embedding_ridge" else {}
    torch.manual_seed(0)
    model = MODELS[key](6, patch_size=P, **options)
    model.fit(sections[:2], sections[2:])  # type: ignore[attr-defined]
    assert model.task == "prediction"
    assert not model.uses_counts
    assert np.nanmean(pearson_per_gene(sections[0].y, model(sections[0])["expression"].detach())) > 0.2


# Several fields of view.


@pytest.fixture(scope="module")
def two_scales(cohort: list[Section]) -> list[SectionData]:
    genes = list(cohort[0].adata.var_names)[:6]
    return [to_data(section, genes, patch_size=P, k=3, scales=(1.0, 2.5)) for section in cohort]


def both_statistics(data: SectionData) -> NDArray[Any]:
    return np.hstack([PatchStatistics()(data.x[:, part]).double().numpy() for part in (slice(0, 3), slice(3, 6))])


@pytest.mark.parametrize("components", [None, 9])
@pytest.mark.parametrize("with_neighbors", [False, True])
def test_two_scales_are_scikit_learn_s_ridge_on_both_side_by_side(
    two_scales: list[SectionData], components: int | None, with_neighbors: bool
) -> None:
    features = [both_statistics(data) for data in two_scales]
    if with_neighbors:
        for i, data in enumerate(two_scales):
            matrix = np.zeros((len(data.pos), len(data.pos)))
            matrix[data.edge_index[1], data.edge_index[0]] = 1
            features[i] = np.hstack([features[i], (matrix / matrix.sum(1, keepdims=True)) @ features[i]])
    first, second, test = two_scales
    model = MODELS["ridge_neighbors" if with_neighbors else "ridge"](
        6, patch_size=P, n_scales=2, components=components, alpha=10.0
    )
    assert isinstance(model, Ridge)
    model.fit([first, second], [])
    y = torch.cat([first.y, second.y]).double().numpy()
    expected = by_hand(np.vstack(features[:2]), y, features[2], 10.0, components)
    out = model(test)
    np.testing.assert_allclose(out["expression"].detach(), expected, atol=2e-3)
    np.testing.assert_allclose(out["embedding"], features[2], atol=1e-5)
    assert out["embedding"].shape[1] == 54 * (1 + with_neighbors)


def test_two_scales_by_an_encoder_of_each(two_scales: list[SectionData]) -> None:
    torch.manual_seed(0)
    model = Ridge(6, patch_size=P, n_scales=2, vision="cnn", vision_kwargs={"out_channels": 8}, alpha=10.0)
    model.fit(two_scales[:2], [])
    first, second = model.vision.encoders
    features = [
        torch.cat([first(d.x[:, :3].float()), second(d.x[:, 3:].float())], dim=1).detach().double().numpy()
        for d in two_scales
    ]
    y = torch.cat([data.y for data in two_scales[:2]]).double().numpy()
    expected = by_hand(np.vstack(features[:2]), y, features[2], 10.0, None)
    np.testing.assert_allclose(model(two_scales[2])["expression"].detach(), expected, atol=2e-3)


def test_a_ridge_on_two_scales_is_saved_batched_and_refuses_one(
    two_scales: list[SectionData], sections: list[SectionData], tmp_path: Path
) -> None:
    model = Ridge(6, patch_size=P, n_scales=2)
    model.fit(two_scales[:1], two_scales[1:2])
    model.eval()
    loaded = load_model(model.save_pretrained(tmp_path / "model"))
    assert loaded.config == model.config
    alone = torch.cat([model(data)["expression"] for data in two_scales])
    torch.testing.assert_close(torch.cat([loaded(data)["expression"] for data in two_scales]), alone)
    together = model(Batch.from_data_list(two_scales))["expression"]
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match=r"Patches are \[N, 6, P, P\], got \[48, 3, 28, 28\]"):
        model(sections[0])


def test_what_varies_by_rounding_alone_in_training_decides_nothing() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 4)), rng.normal(size=(60, 3))
    x[:, 2] = 0.1 + 1e-9 * rng.normal(size=60)
    solver = LinearSolver(x, None)
    weight, bias = solver.solve(np.ones(60, dtype=bool), y, 1e-3)
    other = x + np.array([0.0, 0.0, 0.1, 0.0])
    np.testing.assert_allclose(solver.basis(other) @ weight + bias, solver.basis(x) @ weight + bias, atol=1e-3)
