from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch_geometric.data import Batch

from hist2st_pyg import Section, to_data
from hist2st_pyg.data import SectionData
from hist2st_pyg.models import MODELS
from hist2st_pyg.models.bleep import Bleep, contrastive_loss
from hist2st_pyg.training import ExpressionTask, TrainingConfig

GOLDEN = Path(__file__).parents[1] / "golden" / "bleep.npz"
P, G = 14, 6
CNN = {"vision": "cnn", "vision_kwargs": {"channels": (4,), "out_channels": 8}}


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    with np.load(GOLDEN, allow_pickle=False) as arrays:
        return {name: torch.from_numpy(arrays[name]) for name in arrays.files}


@pytest.fixture(scope="module")
def sections(cohort: list[Section]) -> list[SectionData]:
    return [to_data(section, list(section.adata.var_names)[:G], patch_size=P) for section in cohort]


def small(**options: Any) -> Bleep:
    torch.manual_seed(0)
    return Bleep(G, patch_size=P, channels=8, **{**CNN, "k": 4, **options}).eval()


def original(golden: dict[str, Tensor], **options: Any) -> Bleep:
    """With the weights of the original's projections."""
    model = Bleep(5, patch_size=P, channels=8, k=4, vision="linear", vision_kwargs={"out_channels": 6}, **options).eval()
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
