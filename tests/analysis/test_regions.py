from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from _helpers.made_prediction import made_prediction
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from hist2st_pyg.analysis.regions import METHODS, agreement, draw_regions, find_regions, n_labels, region_agreement
from hist2st_pyg.io.tables import UNLABELED


@pytest.fixture
def mixture() -> anndata.AnnData:
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1, 2], 40)
    return anndata.AnnData(rng.normal(size=(120, 20)) + 4 * rng.normal(size=(3, 20))[truth], obs={"truth": truth})


@pytest.mark.parametrize(("method", "options"), [("leiden", {"resolution": 0.3}), ("kmeans", {"n_regions": 3})])
def test_separate_regions_are_found(mixture: anndata.AnnData, method: str, options: dict[str, Any]) -> None:
    found = find_regions(mixture, method, **options)
    assert adjusted_rand_score(mixture.obs["truth"], found.obs["region"]) > 0.95
    assert "region" not in mixture.obs
    params = found.uns["region"]["params"]
    assert params["method"] == method
    assert options.items() <= params.items()


@pytest.mark.parametrize("method", sorted(METHODS))
def test_the_seed_decides(mixture: anndata.AnnData, method: str) -> None:
    options = {"kmeans": {"n_regions": 5}, "paper": {"labels": mixture.obs["truth"]}}.get(method, {})
    first, second = (find_regions(mixture, method, seed=3, **options).obs["region"] for _ in range(2))
    assert (first == second).all()


def test_k_means_is_scikit_learn_s_on_the_principal_components(mixture: anndata.AnnData) -> None:
    found = find_regions(mixture, "kmeans", n_regions=4, n_components=6, seed=1)
    assert found.obsm["X_pca"].shape == (120, 6)
    expected = KMeans(4, n_init=10, random_state=1).fit_predict(found.obsm["X_pca"])
    assert adjusted_rand_score(expected, found.obs["region"]) == 1
    sizes = found.obs["region"].value_counts(sort=False)
    assert list(sizes.index) == ["0", "1", "2", "3"]
    assert list(sizes) == sorted(sizes, reverse=True)


def test_colors_of_earlier_regions_are_dropped(mixture: anndata.AnnData) -> None:
    mixture.uns["region_colors"] = ["red"]
    assert "region_colors" not in find_regions(mixture, "kmeans", n_regions=3).uns


@pytest.mark.parametrize(
    ("method", "n_regions", "message"),
    [
        ("kmeans", None, "k-means needs n_regions, from 2 to the 120 spots, got None"),
        ("kmeans", 1, "from 2 to the 120 spots, got 1"),
        ("kmeans", 121, "from 2 to the 120 spots, got 121"),
        ("leiden", 3, "Leiden finds the number of regions itself, got n_regions=3; set resolution"),
        ("louvain", None, "Unknown method='louvain'. Choose one of: kmeans, leiden, paper"),
    ],
)
def test_arguments_that_do_not_fit(mixture: anndata.AnnData, method: str, n_regions: int | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_regions(mixture, method, n_regions=n_regions)


@pytest.mark.parametrize("wrong", [{"resolution": -1}, {"resolution": 0}, {"n_neighbors": 1}, {"n_components": 0}])
def test_numbers_that_cannot_be_meant(mixture: anndata.AnnData, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"resolution must be above 0, .* got .*{next(iter(wrong.values()))}"):
        find_regions(mixture, **wrong)


def test_too_few_spots_and_spots_that_are_all_the_same(mixture: anndata.AnnData) -> None:
    with pytest.raises(ValueError, match="at least 3 spots, got 2"):
        find_regions(mixture[:2])
    with pytest.raises(ValueError, match="the same at all spots"):
        find_regions(anndata.AnnData(np.ones((5, 3))))


def test_leiden_without_igraph(mixture: anndata.AnnData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "igraph", None)
    with pytest.raises(ImportError, match=r"Leiden needs igraph .*pip install 'hist2st_pyg\[cluster\]'"):
        find_regions(mixture)
    find_regions(mixture, "kmeans", n_regions=2)


def test_agreement_with_labels(mixture: anndata.AnnData) -> None:
    labels = np.array(["tumor", "stroma", "fat"], dtype=object)[mixture.obs["truth"]]
    found = find_regions(mixture, seed=2).obs["region"]
    assert region_agreement(mixture.X, labels, seed=2) == {
        "ari": pytest.approx(adjusted_rand_score(labels, found)),
        "nmi": pytest.approx(normalized_mutual_info_score(labels, found)),
    }


def test_k_means_finds_as_many_regions_as_there_are_labels(mixture: anndata.AnnData) -> None:
    labels = np.array(["a", "a", UNLABELED], dtype=object)[mixture.obs["truth"]]
    labels[:20] = "b"
    result = region_agreement(mixture.X, labels, method="kmeans")
    found = find_regions(mixture, "kmeans", n_regions=2).obs["region"]
    assert result == agreement(found, labels)
    five = region_agreement(mixture.X, labels, method="kmeans", n_regions=5)
    assert five == agreement(find_regions(mixture, "kmeans", n_regions=5).obs["region"], labels)
    assert five != result


def test_spots_without_a_region_are_not_compared(mixture: anndata.AnnData) -> None:
    labels = np.array(["tumor", "stroma", UNLABELED], dtype=object)[mixture.obs["truth"]]
    found = find_regions(mixture).obs["region"]  # of all spots
    result = region_agreement(mixture.X, labels)
    assert result is not None
    assert result["ari"] == pytest.approx(adjusted_rand_score(labels[:80], found[:80]))
    assert n_labels(labels) == 2


@pytest.fixture
def published() -> tuple[anndata.AnnData, NDArray[Any]]:
    """60 genes, so that more components are published than k-means of its own takes; a quarter is undetermined."""
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 4, 160)
    values = rng.normal(size=(160, 60)) + 0.35 * rng.normal(size=(4, 60))[truth]
    return anndata.AnnData(values), np.array(["a", "b", "c", UNLABELED], dtype=object)[truth]


def test_the_published_procedure_step_by_step(published: tuple[anndata.AnnData, NDArray[Any]]) -> None:
    """As ``cluster`` of Hist2ST's ``predict.py``; scikit-learn chose 10 starts then, by its components here."""
    adata, labels = published
    known = labels != UNLABELED
    components = PCA(50, svd_solver="full").fit_transform(adata.X[known])
    expected = KMeans(3, init="k-means++", n_init=10, random_state=0).fit(components).labels_
    found = find_regions(adata, "paper", labels=labels)
    assert adjusted_rand_score(expected, found.obs["region"][known]) == 1
    assert list(found.obs["region"].cat.categories) == ["0", "1", "2", UNLABELED]
    assert (found.obs["region"][~known] == UNLABELED).all()
    assert found.uns["region"]["params"] == {"method": "paper", "n_regions": 3, "n_components": 50, "seed": 0}
    score = region_agreement(adata.X, labels, method="paper")
    assert score is not None
    assert score["ari"] == pytest.approx(adjusted_rand_score(labels[known], expected))
    assert score == agreement(found.obs["region"], labels)
    assert region_agreement(adata.X, labels, method="kmeans") != score
    # What an undetermined spot expresses changes nothing.
    adata.X[~known] = 100
    assert region_agreement(adata.X, labels, method="paper") == score


def test_the_published_procedure_where_every_spot_has_a_label(mixture: anndata.AnnData) -> None:
    found = find_regions(mixture, "paper", labels=mixture.obs["truth"])
    assert adjusted_rand_score(mixture.obs["truth"], found.obs["region"]) == 1
    assert list(found.obs["region"].cat.categories) == ["0", "1", "2"]
    half = np.where(mixture.obs["truth"] == 2, UNLABELED, mixture.obs["truth"].astype(str).astype(object))
    mixture.X[half != UNLABELED] = 1
    assert region_agreement(mixture.X, half, method="paper") == {"ari": 0, "nmi": 0}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "as many regions as labels: set labels without n_regions"),
        ({"labels": ["a", "b"] * 60, "n_regions": 2}, "set labels without n_regions, or choose method='kmeans'"),
        ({"labels": ["a", "b"]}, r"a label for each of 120 spots and two different labels, got \[2\] with 2"),
        ({"labels": ["a", UNLABELED] * 60}, r"two different labels, got \[120\] with 1"),
        ({"labels": ["a", "b"] + [UNLABELED] * 118}, "at least 3 spots, got 2"),
    ],
)
def test_labels_that_the_published_procedure_cannot_use(
    mixture: anndata.AnnData, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        find_regions(mixture, "paper", **options)


def test_agreement_of_noise_is_near_0_and_of_a_constant_0(mixture: anndata.AnnData) -> None:
    noise = np.random.default_rng(1).normal(size=mixture.shape)
    result = region_agreement(noise, mixture.obs["truth"])
    assert result is not None
    assert abs(result["ari"]) < 0.1
    assert region_agreement(np.ones(mixture.shape), mixture.obs["truth"]) == {"ari": 0, "nmi": 0}


@pytest.mark.parametrize("labels", [["tumor"] * 120, [UNLABELED] * 120, ["tumor"] * 60 + [UNLABELED] * 60])
def test_fewer_than_two_labels(mixture: anndata.AnnData, labels: list[str]) -> None:
    assert region_agreement(mixture.X, labels) is None
    assert agreement(["0"] * 120, labels) is None


def test_one_label_a_spot(mixture: anndata.AnnData) -> None:
    with pytest.raises(ValueError, match=r"one label per spot, got shapes \[120, 20\] and \[3\]"):
        region_agreement(mixture.X, ["tumor", "stroma", "fat"])
    with pytest.raises(ValueError, match=r"a region and a label, got \[2\] and \[3\]"):
        agreement(["0", "1"], ["tumor", "stroma", "fat"])


def test_regions_are_drawn_beside_labels(tmp_path: Path, drawn: Callable[[str], dict[str, Any]]) -> None:
    seen = drawn("region_maps")
    adata = made_prediction()[0]
    with pytest.raises(ValueError, match=r"no regions \(obs\['region'\]\)"):
        draw_regions(adata, tmp_path)
    found = find_regions(adata, "kmeans", n_regions=3)
    assert draw_regions(found, tmp_path, adata.obs["tissue"]).name == "made_regions.png"
    assert list(seen["partitions"]) == ["labels", "regions (kmeans)"]
    pd.testing.assert_series_equal(seen["partitions"]["labels"], adata.obs["tissue"])
    assert seen["image"].shape == (90, 90, 3)
    assert seen["image_scale"] == 0.2
    del found.uns["spatial"]
    assert draw_regions(found, tmp_path).name == "section_regions.png"
    assert list(seen["partitions"]) == ["regions (kmeans)"]
