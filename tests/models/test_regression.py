"""What models that are fitted in one go are fitted to, and how their penalty is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.kernel_ridge import KernelRidge as SklearnKernelRidge
from sklearn.linear_model import Ridge as SklearnRidge
from torch_geometric.data import Data

from hist2st_pyg import MODELS, Preprocessing, Section, losses
from hist2st_pyg.data import SectionData
from hist2st_pyg.data.denoise import denoise
from hist2st_pyg.losses import training_target
from hist2st_pyg.metrics.expression import pearson_per_gene
from hist2st_pyg.models.regression import FeatureRegression
from hist2st_pyg.models.selection import folds
from hist2st_pyg.models.simple import Mean
from hist2st_pyg.training import preset_config
from hist2st_pyg.training.datamodule import SectionDataModule
from hist2st_pyg.training.fitting import fit
from hist2st_pyg.training.preparation import make_datamodule, make_model

P = 28
G = 15
REGRESSIONS = sorted(key for key, cls in MODELS.items() if isinstance(cls, type) and issubclass(cls, FeatureRegression))


def build(key: str, **options: Any) -> Any:
    torch.manual_seed(0)
    if key == "embedding_ridge":
        options = {"vision": "cnn", "components": 8, **options}
    return MODELS[key](G, patch_size=P, **options)


def with_targets(data: Data, y: torch.Tensor) -> Data:
    """The same spots, measured without noise."""
    data = data.clone()
    data.y = y
    del data.y_denoised
    return data


@pytest.mark.parametrize("key", REGRESSIONS)
def test_the_denoised_targets_are_fitted(denoised: list[SectionData], key: str) -> None:
    cleaner = [with_targets(data, data.y_denoised) for data in denoised]
    noisy = [with_targets(data, data.y) for data in denoised]
    predictions = []
    for sections in (denoised, cleaner, noisy):
        model = build(key, alpha=1.0)
        model.fit(sections, [])
        predictions.append(model(denoised[0])["expression"])
    torch.testing.assert_close(predictions[0], predictions[1])
    assert not torch.allclose(predictions[0], predictions[2], atol=1e-3)


def test_a_fitted_model_is_handed_the_targets_of_the_networks(
    cohort: list[Section], preprocessing: Preprocessing
) -> None:
    handed: dict[str, Sequence[Data]] = {}

    class Recorder(Mean):
        def fit(self, train: Sequence[Data], val: Sequence[Data]) -> None:
            handed.update(train=train, val=val)

    module = SectionDataModule(preprocessing, cohort[:2], val_share=0.3, denoise=True)
    fit(preset_config("small"), Recorder(G), module, [])
    targets = {data.section: training_target(data) for data in handed["train"]}
    batches = list(module.train_dataloader())
    assert len(batches) == len(targets) == 2
    for batch in batches:
        (name,) = batch.section
        assert float(losses.expression_error({"expression": targets[name]}, batch)) == 0
        assert float(losses.expression_error({"expression": batch.y}, batch)) > 0
    assert [data.section for data in handed["val"]] == ["A1", "A2"]


def test_the_mean_is_that_of_the_counts_as_measured(denoised: list[SectionData]) -> None:
    model = Mean(G)
    model.fit(denoised, [])
    expected = torch.cat([data.y for data in denoised]).mean(0)
    torch.testing.assert_close(model(denoised[0])["expression"][0], expected, atol=1e-5, rtol=0)


# The penalty.


def features(model: Any, data: Data) -> NDArray[Any]:
    return np.asarray(model.embed(data).double())


def standardized(y: NDArray[Any]) -> NDArray[Any]:
    """Denoised as the training targets are, from the matrix alone."""
    mean, std = y.mean(0), y.std(0)
    return denoise(torch.from_numpy((y - mean) / std))[0].numpy() * std + mean


def predicted(key: str, x: NDArray[Any], y: NDArray[Any], other: NDArray[Any], alpha: float) -> NDArray[Any]:
    mean, std = x.mean(0), x.std(0)
    x, other = (x - mean) / std, (other - mean) / std
    if key == "ridge_neighbors":
        return np.asarray(SklearnRidge(alpha).fit(x, y).predict(other))
    distance = np.sqrt(((x[:, None] - x[None]) ** 2).sum(-1))[np.triu_indices(len(x), 1)]
    model = SklearnKernelRidge(alpha=alpha, kernel="rbf", gamma=1 / (2 * np.median(distance) ** 2))
    return np.asarray(model.fit(x, y - y.mean(0)).predict(other) + y.mean(0))


def scores(key: str, model: Any, parts: Any, targets: Any = standardized, judged: str = "y") -> list[float]:
    """The PCC of each penalty on what is held out, by scikit-learn; ``parts`` are pairs of lists of (section, rows)."""
    found = []
    for alpha in model.alphas:
        pccs = []
        for fitted, held_out in parts:
            x = np.vstack([features(model, data)[rows] for data, rows in fitted])
            y = targets(np.vstack([data.y.double().numpy()[rows] for data, rows in fitted]))
            values = [
                np.nanmean(
                    pearson_per_gene(
                        data[judged][rows].numpy(), predicted(key, x, y, features(model, data)[rows], alpha)
                    )
                )
                for data, rows in held_out
            ]
            pccs.append(np.mean(values))
        found.append(float(np.mean(pccs)))
    return found


EVERY = slice(None)


@pytest.mark.parametrize("key", ["kernel_ridge", "ridge_neighbors"])
def test_sections_are_held_out_in_turn(denoised: list[SectionData], key: str) -> None:
    model = build(key)
    model.fit(denoised, [])
    parts = [([(d, EVERY) for d in denoised if d is not held_out], [(held_out, EVERY)]) for held_out in denoised]
    expected = scores(key, model, parts)
    assert model.config["alpha"] == model.alphas[int(np.argmax(expected))]


@pytest.mark.parametrize("key", ["kernel_ridge", "ridge_neighbors"])
def test_halves_of_a_single_section_are_held_out_in_turn(denoised: list[SectionData], key: str) -> None:
    section = denoised[0]
    model = build(key)
    model.fit([section], [])
    order = np.argsort(section.pos[:, int(np.ptp(section.pos.numpy(), axis=0).argmax())].numpy(), kind="stable")
    parts = []
    for half in np.array_split(order, 2):
        held_out = np.isin(np.arange(len(order)), half)
        parts.append(([(section, ~held_out)], [(section, held_out)]))
    assert model.config["alpha"] == model.alphas[int(np.argmax(scores(key, model, parts)))]


@pytest.mark.parametrize("key", ["kernel_ridge", "ridge_neighbors"])
def test_what_validates_chooses_by_its_targets_as_measured(denoised: list[SectionData], key: str) -> None:
    train, val = denoised[1:], denoised[0]
    model = build(key)
    model.fit(train, [val])  # val has denoised targets here, so that using them would show
    fitted = np.vstack([d.y_denoised.double().numpy() for d in train])
    rank = {
        judged: scores(key, model, [([(d, EVERY) for d in train], [(val, EVERY)])], lambda y: fitted, judged)
        for judged in ("y", "y_denoised")
    }
    assert model.config["alpha"] == model.alphas[int(np.argmax(rank["y"]))]
    assert np.abs(np.subtract(*rank.values())).min() > 0.05


def test_without_denoised_targets_those_as_measured_are_fitted(denoised: list[SectionData]) -> None:
    plain = [with_targets(data, data.y) for data in denoised]
    assert all("y_denoised" not in part for fitted, _ in folds(plain) for part in fitted)
    model = build("ridge_neighbors")
    model.fit(plain, [])
    parts = [([(d, EVERY) for d in plain if d is not held_out], [(held_out, EVERY)]) for held_out in plain]
    expected = scores("ridge_neighbors", model, parts, lambda y: y)
    assert model.config["alpha"] == model.alphas[int(np.argmax(expected))]


def test_a_single_training_spot_leaves_nothing_to_choose_by(denoised: list[SectionData]) -> None:
    section = denoised[0].clone()
    section.train_mask = torch.arange(len(section.y)) == 4
    with pytest.raises(ValueError, match=r"A1.*1 training spot.*alpha"):
        build("ridge").fit([section], [])


@pytest.mark.parametrize("key", ["kernel_ridge", "ridge_neighbors"])
def test_the_counts_of_test_sections_do_not_matter(cohort: list[Section], key: str) -> None:
    models = []
    for factor in (1, 7):
        adata = cohort[2].adata.copy()
        adata.X = adata.X * factor
        config = preset_config(data={"n_genes": 8, "patch_size": P, "test": ["B1"]}, model={"name": key})
        module = make_datamodule(config, [*cohort[:2], replace(cohort[2], adata=adata)])
        models.append(fit(config, make_model(config, module), module, []).model)
    first, second = (model.state_dict() for model in models)
    assert models[0].config["alpha"] is not None
    assert models[0].config == models[1].config
    assert all(torch.equal(first[name], second[name]) for name in first)
