"""Models of the small preset with random weights, and what they predict by blocks."""

from __future__ import annotations

from typing import Any

import torch

from hist2st_pyg import Preprocessing, Section
from hist2st_pyg.inference import predict_blocks
from hist2st_pyg.inference.blocks import Prediction
from hist2st_pyg.models import MODELS, ExpressionModel
from hist2st_pyg.models.registry import parameters_of
from hist2st_pyg.training.presets import preset_values

GENES = tuple(f"GENE{i}" for i in range(1, 7))


def model(name: str = "hist2st", preprocessing: dict[str, Any] | None = None, **arguments: Any) -> ExpressionModel:
    """A model of the small preset with random weights."""
    torch.manual_seed(0)
    known = parameters_of(MODELS[name])
    shapes = {"patch_size": 14, "n_scales": 2}
    values = preset_values("small", name, vision=arguments.get("vision"))["model"]
    scales = (1.0, 2.0) if "n_scales" in known else (1.0,)
    built = MODELS[name](len(GENES), **{**values, **{key: v for key, v in shapes.items() if key in known}, **arguments})
    built.pixel_mean.fill_(150.0)
    built.pixel_std.fill_(40.0)
    built.target_std.fill_(0.5)
    built.target_mean.copy_(torch.arange(len(GENES)) / 10)
    # Some spots lose neighbors, so that degrees differ.
    fields: dict[str, Any] = {
        "k": 6,
        "max_distance": 1.3,
        "stain": "macenko",
        "scales": scales,
        **(preprocessing or {}),
    }
    built.preprocessing = Preprocessing(GENES, patch_size=14, pitch=64.0, **fields)
    return built.eval()


def look_up(built: ExpressionModel, section: Section) -> None:
    """Let a model that looks training spots up keep a section's."""
    assert built.preprocessing is not None
    built.remember([built.preprocessing.to_data(section)])


def predicted(built: ExpressionModel, section: Section, **options: Any) -> Prediction:
    """The section's prediction by blocks."""
    assert built.preprocessing is not None
    graph = built.preprocessing.build_graph(section.pos, section.grid)
    return predict_blocks(built, graph, built.preprocessing.section_patches(section), **options)
