from __future__ import annotations

import anndata
import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from hist2st_pyg.evaluation.regions import find_regions


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
