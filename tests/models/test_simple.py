from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LinearRegression
from sklearn.neighbors import NearestNeighbors

from hist2st_pyg import Section, to_data
from hist2st_pyg.data import SectionData
from hist2st_pyg.metrics.expression import pearson_per_gene
from hist2st_pyg.models.simple import NUMBERS_OF_NEIGHBORS, DepthOracle, Mean, PositionKNN


@pytest.fixture(scope="module")
def sections(cohort: list[Section]) -> list[SectionData]:
    genes = list(cohort[0].adata.var_names)[:6]
    return [to_data(section, genes, patch_size=14) for section in cohort]


def test_the_mean_is_that_of_the_training_spots(sections: list[SectionData]) -> None:
    held_out = sections[1].clone()
    held_out.train_mask = torch.arange(len(held_out.pos)) >= 10
    model = Mean(6)
    model.fit([sections[0], held_out], [])
    expected = torch.cat([sections[0].y, held_out.y[10:]]).mean(0)
    torch.testing.assert_close(model(sections[2])["expression"], expected.expand(len(sections[2].pos), -1))


def test_the_mean_of_a_gene_is_over_the_sections_that_measured_it(cohort: list[Section]) -> None:
    genes = list(cohort[0].adata.var_names)[:3]
    whole = to_data(cohort[0], genes, patch_size=14)
    part = to_data(replace(cohort[1], adata=cohort[1].adata[:, genes[:2]].copy()), genes, patch_size=14)
    model = Mean(3)
    model.fit([whole, part], [])
    torch.testing.assert_close(model.target_mean[2], whole.y[:, 2].mean())
    torch.testing.assert_close(model.target_mean[:2], torch.cat([whole.y, part.y])[:, :2].mean(0))


def test_interpolation_leaves_the_spot_itself_out(sections: list[SectionData]) -> None:
    data = sections[0]
    model = PositionKNN(6, k=5)
    assert (model.task, model.uses_counts) == ("interpolation", True)
    model.fit([data], [])
    distance, index = NearestNeighbors(n_neighbors=6).fit(data.pos.numpy()).kneighbors(data.pos.numpy())
    predicted = model(data)["expression"].numpy()
    inner = distance[:, 5] < np.sort(distance, axis=1)[:, -1] + 1e-9
    tied = np.isclose(distance[:, 4], distance[:, 5])  # another of equal distance may be taken
    for i in np.flatnonzero(inner & ~tied)[:20]:
        np.testing.assert_allclose(predicted[i], data.y[index[i, 1:6]].mean(0), rtol=1e-5)
    changed = data.clone()
    changed.y = data.y.clone()
    changed.y[3] = 50
    np.testing.assert_array_equal(model(changed)["expression"][3].numpy(), predicted[3])


@pytest.mark.parametrize("k", [0, -1])
def test_a_number_of_spots_that_is_not_positive_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match=f"k must be at least 1, got {k}"):
        PositionKNN(3, k=k)


def test_the_number_of_spots_is_chosen_by_the_spots_that_validate(sections: list[SectionData]) -> None:
    def best(where: list[torch.Tensor]) -> int:
        scores = {}
        for k in NUMBERS_OF_NEIGHBORS:
            predicted = [PositionKNN(6, k=k)(data)["expression"] for data in sections[1:]]
            scored = zip(sections[1:], predicted, where, strict=True)
            scores[k] = np.mean([np.nanmean(pearson_per_gene(data.y[w], p[w])) for data, p, w in scored])
        return max(scores, key=lambda k: scores[k])

    everywhere = [torch.ones(len(data.pos), dtype=torch.bool) for data in sections[1:]]
    halves = [data.pos[:, 1] > data.pos[:, 1].median() for data in sections[1:]]
    assert best(everywhere) != best(halves), "the two cases cannot be told apart"
    model = PositionKNN(6)
    model.fit(sections[:1], sections[1:])
    assert model.config["k"] == best(everywhere)
    held_out = [data.clone() for data in sections[1:]]
    for data, half in zip(held_out, halves, strict=True):
        data.val_mask = half
    model = PositionKNN(6)
    model.fit(sections[:1], held_out)
    assert model.config["k"] == best(halves)


def test_the_depth_oracle_is_a_line_for_each_gene(sections: list[SectionData]) -> None:
    model = DepthOracle(6)
    assert (model.task, model.uses_counts) == ("diagnostic", True)
    model.fit(sections[:2], [])
    depth = [np.log10(1 + d.counts.sum(1, keepdim=True).double().numpy()) for d in sections]
    line = LinearRegression().fit(np.vstack(depth[:2]), torch.cat([d.y for d in sections[:2]]).double().numpy())
    np.testing.assert_allclose(model(sections[2])["expression"], line.predict(depth[2]), atol=1e-4)
