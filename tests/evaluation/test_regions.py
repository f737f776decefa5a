from __future__ import annotations

import anndata
import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from hist2st_pyg.datasets._tables import UNLABELLED
from hist2st_pyg.evaluation.regions import find_regions, region_agreement


@pytest.fixture
def mixture() -> anndata.AnnData:
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], 40)
    return anndata.AnnData(rng.normal(size=(120, 20)) + 4 * rng.normal(size=(3, 20))[truth], obs={"truth": truth})


def test_separate_regions_are_found(mixture: anndata.AnnData) -> None:
    found = find_regions(mixture, resolution=0.3)
    assert adjusted_rand_score(mixture.obs["truth"], found.obs["region"]) > 0.95
    assert "region" not in mixture.obs


def test_the_seed_decides(mixture: anndata.AnnData) -> None:
    first, second = (find_regions(mixture, seed=3).obs["region"] for _ in range(2))
    assert (first == second).all()


def test_too_few_spots(mixture: anndata.AnnData) -> None:
    with pytest.raises(ValueError, match="at least 3 spots, got 2"):
        find_regions(mixture[:2])


def test_agreement_with_labels(mixture: anndata.AnnData) -> None:
    labels = np.array(["tumour", "stroma", "fat"], dtype=object)[mixture.obs["truth"]]
    found = find_regions(mixture, seed=2).obs["region"]
    assert region_agreement(mixture.X, labels, seed=2) == {
        "ari": pytest.approx(adjusted_rand_score(labels, found)),
        "nmi": pytest.approx(normalized_mutual_info_score(labels, found)),
    }


def test_spots_without_a_region_are_not_compared(mixture: anndata.AnnData) -> None:
    labels = np.array(["tumour", "stroma", UNLABELLED], dtype=object)[mixture.obs["truth"]]
    found = find_regions(mixture).obs["region"]  # of all spots
    agreement = region_agreement(mixture.X, labels)
    assert agreement is not None
    assert agreement["ari"] == pytest.approx(adjusted_rand_score(labels[:80], found[:80]))


def test_agreement_of_noise_is_near_0_and_of_a_constant_0(mixture: anndata.AnnData) -> None:
    noise = np.random.default_rng(1).normal(size=mixture.shape)
    agreement = region_agreement(noise, mixture.obs["truth"])
    assert agreement is not None
    assert abs(agreement["ari"]) < 0.1
    assert region_agreement(np.ones(mixture.shape), mixture.obs["truth"]) == {"ari": 0, "nmi": 0}


@pytest.mark.parametrize("labels", [["tumour"] * 120, [UNLABELLED] * 120, ["tumour"] * 60 + [UNLABELLED] * 60])
def test_fewer_than_two_labels(mixture: anndata.AnnData, labels: list[str]) -> None:
    assert region_agreement(mixture.X, labels) is None


def test_one_label_a_spot(mixture: anndata.AnnData) -> None:
    with pytest.raises(ValueError, match=r"one label a spot, got shapes \[120, 20\] and \[3\]"):
        region_agreement(mixture.X, ["tumour", "stroma", "fat"])
