from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from _helpers.programs import recorded
from torch import Tensor
from torch_geometric.data import Batch

from hist2st_pyg import Section, losses, to_data
from hist2st_pyg.data import SectionData
from hist2st_pyg.models import MODELS
from hist2st_pyg.models.bleep import Bleep, contrastive_loss
from hist2st_pyg.training import ExpressionTask, TrainingConfig

P, G = 14, 6
CNN: dict[str, Any] = {"vision": "cnn", "vision_kwargs": {"channels": (4,), "out_channels": 8}}


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return recorded("bleep")


@pytest.fixture(scope="module")
def sections(cohort: list[Section]) -> list[SectionData]:
    return [to_data(section, list(section.adata.var_names)[:G], patch_size=P) for section in cohort]


def small(**options: Any) -> Bleep:
    torch.manual_seed(0)
    return Bleep(G, patch_size=P, channels=8, **{**CNN, "k": 4, **options}).eval()


def original(golden: dict[str, Tensor], **options: Any) -> Bleep:
    """With the weights of the original's projections."""
    model = Bleep(
        5, patch_size=P, channels=8, k=4, vision="linear", vision_kwargs={"out_channels": 6}, **options
    ).eval()
    names = {"projection": "projection", "fc": "residual.1", "layer_norm": "norm"}
    state = {name.removeprefix("state."): value for name, value in golden.items() if name.startswith("state.")}
    for head in ("image_projection", "spot_projection"):
        own = {name.removeprefix(f"{head}."): value for name, value in state.items() if name.startswith(head)}
        renamed = {re.sub(r"^\w+", lambda found: names[found[0]], name): value for name, value in own.items()}
        getattr(model, head).load_state_dict(renamed)
    model.reference = golden["in.expression"]
    return model


@torch.no_grad()
@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_the_loss_is_the_original_s(golden: dict[str, Tensor], temperature: float) -> None:
    model = original(golden)
    image, spot = model.image_projection(golden["in.image"]), model.spot_projection(golden["in.expression"])
    torch.testing.assert_close(spot, golden["out.spot"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        contrastive_loss(image, spot, temperature), golden[f"out.loss_{temperature}"], rtol=1e-5, atol=1e-5
    )


@torch.no_grad()
@pytest.mark.parametrize(
    ("method", "options"),
    [("simple", {"k": 1}), ("average", {}), ("weighted_average", {"weighting": "distance"})],
)
def test_retrieval_is_the_original_s(golden: dict[str, Tensor], method: str, options: dict[str, Any]) -> None:
    model = original(golden)
    model.k, model.weighting = options.get("k", 4), options.get("weighting", "mean")
    query, keys = model.image_projection(golden["in.query"]), model.spot_projection(golden["in.expression"])
    torch.testing.assert_close(query, golden["out.image"], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(model.retrieve(query, keys), golden[f"out.{method}"], rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("weighting", ["mean", "distance"])
def test_a_prediction_is_the_mean_of_the_kept_spots_nearest_by_cosine(
    sections: list[SectionData], weighting: str
) -> None:
    """Spot by spot in numpy."""
    model = small(weighting=weighting)
    model.target_mean.copy_(sections[0].y.mean(0))
    model.target_std.copy_(sections[0].y.std(0).clamp(min=0.1))
    model.remember(sections[:1])
    out = model(sections[2])
    keys = model.spot_projection((sections[0].y - model.target_mean) / model.target_std).double().numpy()
    kept, expected = sections[0].y.numpy(), []
    for image in out["embedding"].double().numpy():
        cosine = [float(key @ image / np.linalg.norm(key) / np.linalg.norm(image)) for key in keys]
        nearest = np.argsort(cosine)[::-1][:4]
        weights = np.exp([-float(((keys[i] - image) ** 2).sum()) for i in nearest]) if weighting == "distance" else None
        expected.append(np.average(kept[nearest], axis=0, weights=weights))
    np.testing.assert_allclose(out["expression"].numpy(), expected, rtol=1e-4, atol=1e-5)


def test_training_takes_the_contrastive_loss_of_the_spots_that_train(sections: list[SectionData]) -> None:
    model = small(dropout=0.0, vision_kwargs={**CNN["vision_kwargs"], "dropout": 0.0})
    model.remember(sections[:2])
    batch = Batch.from_data_list([section.clone() for section in sections[:2]])
    batch.train_mask = torch.arange(len(batch.y)) % 3 > 0
    model.train()
    task = ExpressionTask(model, TrainingConfig(epochs=1))
    parts = task.losses(batch)
    assert list(parts) == ["contrast"]
    out = model(batch)
    assert list(out) == ["embedding"]
    spots = model.spot_projection(batch.y[batch.train_mask])
    torch.testing.assert_close(parts["contrast"], contrastive_loss(out["embedding"][batch.train_mask], spots, 1.0))
    parts["contrast"].backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_only_training_spots_are_kept_evenly_and_their_training_targets(sections: list[SectionData]) -> None:
    model = small(n_reference=10)
    train = [section.clone() for section in sections[:2]]
    for data in train:
        data.train_mask = torch.arange(len(data.y)) < 20
        data.y_denoised = data.y + 1
    model.remember(train)
    expected = torch.cat([data.y[:20:4] + 1 for data in train])
    torch.testing.assert_close(model.reference, expected)


def test_a_gene_that_a_section_did_not_measure_is_at_the_others_mean(sections: list[SectionData]) -> None:
    model = small()
    first, second = (section.clone() for section in sections[:2])
    first.gene_mask = torch.tensor([False] + [True] * (G - 1))
    model.remember([first, second])
    assert model.reference[: len(first.y), 0].tolist() == pytest.approx([float(second.y[:, 0].mean())] * len(first.y))
    torch.testing.assert_close(model.reference[: len(first.y), 1:], first.y[:, 1:])
    model.train()
    batch = Batch.from_data_list([first, second])
    at_mean = batch.clone()
    at_mean.y[: len(first.y), 0] = 77.0
    out = {"embedding": torch.ones(len(batch.y), 8)}
    found = [model.eval().own_losses(out, each, losses.Options()) for each in (batch, at_mean)]
    torch.testing.assert_close(found[0], found[1])


def test_without_kept_spots_it_says_so(sections: list[SectionData]) -> None:
    with pytest.raises(ValueError, match=r"Bleep has no training spots to retrieve from.*remember"):
        small()(sections[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k must be at least 1, got 0"),
        ({"n_reference": 0}, "n_reference must be at least 1, got 0"),
        ({"channels": 0}, "channels must be at least 1, got 0"),
        ({"temperature": 0.0}, "temperature above 0, got dropout=0.1, temperature=0.0"),
        ({"dropout": 1.0}, r"below 1, temperature above 0, got dropout=1\.0"),
        ({"weighting": "median"}, "Unknown weighting='median'. Choose one of: distance, mean"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MODELS["bleep"](G, patch_size=P, **{**CNN, **options})
