from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from scipy.spatial.distance import cdist, pdist
from sklearn.kernel_ridge import KernelRidge as SklearnKernelRidge
from torch_geometric.data import Batch

from hist2st_pyg import MODELS, Section, load_model, to_data
from hist2st_pyg.data import SectionData
from hist2st_pyg.models import kernel_ridge
from hist2st_pyg.models.kernel_ridge import KernelRidge
from hist2st_pyg.nn.statistics import PatchStatistics, contrasts, patch_statistics

P = 28
G = 6


@pytest.fixture(scope="module")
def sections(cohort: list[Section]) -> list[SectionData]:
    genes = list(cohort[0].adata.var_names)[:G]
    return [to_data(section, genes, patch_size=P, k=3) for section in cohort]


def features(data: SectionData) -> NDArray[Any]:
    """Statistics and, by a dense matrix, the mean of the neighbors'."""
    x = PatchStatistics()(data.x).double().numpy()
    matrix = np.zeros((len(x), len(x)))
    matrix[data.edge_index[1], data.edge_index[0]] = 1
    return np.hstack([x, (matrix / matrix.sum(1, keepdims=True)) @ x])


def by_hand(train: NDArray[Any], y: NDArray[Any], test: NDArray[Any], alpha: float) -> NDArray[Any]:
    """scikit-learn's, around each gene's mean; the kernel's width is the median distance."""
    mean, std = train.mean(0), train.std(0)
    train, test = (train - mean) / std, (test - mean) / std
    model = SklearnKernelRidge(alpha=alpha, kernel="rbf", gamma=1 / (2 * np.median(pdist(train)) ** 2))
    return np.asarray(model.fit(train, y - y.mean(0)).predict(test) + y.mean(0))


@pytest.mark.parametrize("alpha", [0.1, 3.0])
def test_it_is_scikit_learn_s_kernel_ridge(sections: list[SectionData], alpha: float) -> None:
    first, second, test = sections
    model = MODELS["kernel_ridge"](G, patch_size=P, alpha=alpha)
    assert isinstance(model, KernelRidge)
    model.fit([first, second], [])
    train, y = np.vstack([features(first), features(second)]), torch.cat([first.y, second.y]).double().numpy()
    out = model(test)
    np.testing.assert_allclose(out["expression"], by_hand(train, y, features(test), alpha), atol=1e-3)
    np.testing.assert_allclose(out["embedding"], features(test), atol=1e-5)
    assert not model.uses_counts


def test_a_gene_that_a_section_did_not_measure_is_fitted_on_the_others(cohort: list[Section]) -> None:
    genes = list(cohort[0].adata.var_names)[:4]
    whole = to_data(cohort[0], genes, patch_size=P, k=3)
    lacking = to_data(cohort[0], [*genes[:3], "ABSENT"], patch_size=P, k=3)
    part = to_data(replace(cohort[1], adata=cohort[1].adata[:, genes[:3]].copy()), genes, patch_size=P, k=3)
    model = KernelRidge(4, patch_size=P, alpha=1.0)
    model.fit([whole, part], [])
    both = np.vstack([features(whole), features(part)])
    scale = (both - both.mean(0)) / both.std(0)
    # One standardization and one width for all genes; the last gene's coefficients are of the first section alone.
    gamma = 1 / (2 * np.median(pdist(scale)) ** 2)
    rows = {0: slice(None), 3: slice(0, len(whole.y))}
    y = torch.cat([whole.y, part.y]).double().numpy()
    for gene, row in rows.items():
        target = y[row, gene]
        sklearn = SklearnKernelRidge(alpha=1.0, kernel="rbf", gamma=gamma).fit(scale[row], target - target.mean())
        expected = sklearn.predict(scale[: len(whole.y)]) + target.mean()
        np.testing.assert_allclose(model(whole)["expression"][:, gene], expected, atol=1e-3)
    assert not model.weight[len(whole.y) :, 3].any()
    model.fit([lacking], [])
    assert not model(whole)["expression"][:, 3].any()  # measured nowhere


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"per_section": True, "kernel": "exponential", "contrast": True, "whiten": 0.5},
        {"vision": "cnn", "vision_kwargs": {"channels": [8], "out_channels": 16}},
    ],
)
def test_it_is_saved_batched_and_cut_into_blocks(
    sections: list[SectionData], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    model = KernelRidge(G, patch_size=P, **options)
    model.fit(sections[:1], sections[1:2])
    model.eval()
    loaded = load_model(model.save_pretrained(tmp_path / "model"))
    assert loaded.config == model.config
    assert loaded.config["alpha"] in KernelRidge.alphas
    alone = torch.cat([model(data)["expression"] for data in sections])
    assert torch.equal(torch.cat([loaded(data)["expression"] for data in sections]), alone)
    monkeypatch.setattr(kernel_ridge, "BLOCK_SPOTS", 7)
    torch.testing.assert_close(model(Batch.from_data_list(sections))["expression"], alone, rtol=1e-4, atol=1e-4)


def test_a_saved_model_is_as_large_as_its_training_spots(sections: list[SectionData], tmp_path: Path) -> None:
    model = KernelRidge(G, patch_size=P, alpha=1.0)
    model.fit(sections[:2], [])
    file = model.save_pretrained(tmp_path) / "model.safetensors"
    spots = sum(len(data.y) for data in sections[:2])
    assert 0 <= file.stat().st_size - 4 * spots * (54 + G) < 4096


def test_weights_of_other_spots_or_features_are_refused(sections: list[SectionData], tmp_path: Path) -> None:
    model = KernelRidge(G, patch_size=P, alpha=1.0)
    model.fit(sections[:1], [])
    file = model.save_pretrained(tmp_path) / "model.safetensors"
    weights = load_file(file)
    changes = [
        {"spots": weights["spots"][:, :-1]},
        {"spots": weights["spots"][:-1]},
        {"weight": weights["weight"][:, :-1]},
        {"weight": weights["weight"][:-1]},
        {"spots": torch.ones(3)},
    ]
    for change in changes:
        save_file({**weights, **{name: value.contiguous() for name, value in change.items()}}, file)
        with pytest.raises(ValueError, match="the weights do not fit the model"):
            load_model(tmp_path)
    save_file({name: value for name, value in weights.items() if name != "spots"}, file)
    with pytest.raises(ValueError, match=r"(?s)the weights do not fit the model.*Missing key.*spots"):
        load_model(tmp_path)


def test_too_many_training_spots_are_refused(sections: list[SectionData], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_ridge, "MAX_SPOTS", 90)
    KernelRidge(G, patch_size=P, alpha=1.0).fit(sections[:1], [])
    with pytest.raises(ValueError, match=r"at most 90 spots, got 96; train on fewer sections, or use ridge_n"):
        KernelRidge(G, patch_size=P, alpha=1.0).fit(sections[:2], [])


def test_an_exponential_kernel_of_half_whitened_contrasts_by_scikit_learn(cohort: list[Section]) -> None:
    genes = list(cohort[0].adata.var_names)[:G]
    train, test = (to_data(section, genes, patch_size=P, k=3, scales=(1.0, 2.0)) for section in cohort[:2])
    options: dict[str, Any] = {"kernel": "exponential", "contrast": True, "whiten": 0.5, "alpha": 0.3}
    model = KernelRidge(G, patch_size=P, n_scales=2, neighbors=False, **options)
    model.fit([train], [])
    seen, shown = (contrasts(patch_statistics(data.x)).double().numpy() for data in (train, test))
    mean, std = seen.mean(0), seen.std(0)
    seen, shown = (seen - mean) / std, (shown - mean) / std
    variance, directions = np.linalg.eigh(np.cov(seen.T, ddof=0))
    seen, shown = (x @ directions / (variance.clip(0) + 0.01) ** 0.25 for x in (seen, shown))
    width = np.median(pdist(seen))
    y = train.y.double().numpy()
    ridge = SklearnKernelRidge(alpha=0.3, kernel="precomputed").fit(np.exp(-cdist(seen, seen) / width), y - y.mean(0))
    expected = ridge.predict(np.exp(-cdist(shown, seen) / width)) + y.mean(0)
    np.testing.assert_allclose(model(test)["expression"], expected, atol=1e-3)


@pytest.mark.parametrize("n_spots", [48, 2])
def test_targets_of_few_patterns_are_kept_by_few_coefficients(
    sections: list[SectionData], tmp_path: Path, n_spots: int
) -> None:
    train = copy.copy(sections[0])
    shares = torch.rand(len(train.y), 2, generator=torch.Generator().manual_seed(0))
    train.y = shares @ torch.rand(2, G, generator=torch.Generator().manual_seed(1))
    train.train_mask = torch.arange(len(train.y)) < n_spots
    each, few = KernelRidge(G, patch_size=P, alpha=0.3), KernelRidge(G, patch_size=P, alpha=0.3, rank=3)
    for model in (each, few):
        model.fit([train], [])
    assert (few.weight.shape, few.patterns.shape) == ((n_spots, 3), (3, G))
    expected = each(sections[1])["expression"]
    torch.testing.assert_close(few(sections[1])["expression"], expected, atol=1e-4, rtol=1e-4)
    loaded = load_model(few.save_pretrained(tmp_path))
    assert torch.equal(loaded(sections[1])["expression"], few(sections[1])["expression"])


def test_a_feature_that_does_not_vary_is_no_direction_of_its_own(sections: list[SectionData]) -> None:
    model = KernelRidge(G, patch_size=P, whiten=1.0, alpha=1.0)
    flat = sections[0].clone()
    flat.x = flat.x.clone()
    flat.x[:, 2] = 7
    model.fit([flat], [])
    assert torch.isfinite(model(sections[1])["expression"]).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"whiten": 1.5}, r"^whiten must be from 0 to 1, got 1\.5\.$"),
        ({"contrast": True, "vision": "cnn"}, r"^contrast needs color statistics \(vision=None\), got vision='cnn'\.$"),
        ({"rank": 0}, r"^rank must be at least 1, got 0\.$"),
        ({"kernel": "cubic"}, r"^Unknown kernel='cubic'\. Choose one of: exponential, gaussian\.$"),
    ],
)
def test_what_no_kernel_can_be_made_of_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KernelRidge(G, patch_size=P, **options)
