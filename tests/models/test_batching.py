"""A batch of sections is the sections one by one, for every model."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch_geometric.data import Batch
from torch_geometric.loader import DataLoader

from hist2st_pyg import MODELS, Section, to_data
from hist2st_pyg.data import SectionData
from hist2st_pyg.models import ClosedFormModel, ExpressionModel
from hist2st_pyg.models.registry import parameters_of
from hist2st_pyg.nn import CONVS, ENCODERS, JUMPING_KNOWLEDGE, POSITIONS

P = 14
PAPER_LIKE = {
    "vision_kwargs": {"channels": 16, "depth": 1, "kernel_size": 3},
    "heads": 2,
    "dim_head": 8,
    "gnn_layers": 2,
}
SMALL = {
    "vision": "cnn",
    "vision_kwargs": {"channels": (8, 8), "out_channels": 16},
    "transformer_layers": 1,
    "heads": 2,
    "dim_head": 8,
    "position": "fourier",
    "gnn_layers": 2,
    "gnn_norm": "layer",
    "gnn_residual": True,
    "jk": "last",
}
RIDGE = {"vision": "cnn", "vision_kwargs": {"channels": (8,), "out_channels": 16}}
VIT = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": P, "patch_size": 7}
DINO = {"model_type": "dinov2", "mlp_ratio": 2, **VIT}
ENCODER_ARGUMENTS: dict[str, dict[str, Any]] = {
    "densenet121": {"weights": "random", "size": 32},
    "efficientnet_lite0": {"stages": 2, "weights": "random"},
    "hf": {"config": DINO, "size": P},
    "linear": {"out_channels": 16},
    "midnight": {"config": DINO, "size": P},
    "phikon": {"config": {"model_type": "vit", "intermediate_size": 32, **VIT}, "size": P},
    "phikon-v2": {"config": DINO, "size": P},
    "precomputed": {"embedding_channels": 10, "out_channels": 16},
    "color_texture": {"out_channels": 16},
}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "histogene": ("histogene", {"channels": 16, "transformer_layers": 2, "heads": 2, "dim_head": 8}),
    "hist2st": ("hist2st", {**PAPER_LIKE, "transformer_layers": 2}),
    "bleep": ("bleep", {**RIDGE, "channels": 8, "k": 3}),
    "bleep, by distance": ("bleep", {**RIDGE, "channels": 8, "k": 3, "weighting": "distance"}),
    "depth_oracle": ("depth_oracle", {}),
    "eggn": ("eggn", {"channels": 8, "layers": 2, "k": 2}),
    "embedding_ridge": ("embedding_ridge", RIDGE),
    "graph_only": ("graph_only", {"gnn": "sage", "gnn_layers": 1, "jk": "last"}),
    "kernel_ridge": ("kernel_ridge", {}),
    "kernel_ridge, within sections": ("kernel_ridge", {"per_section": True, **RIDGE}),
    "mean": ("mean", {}),
    "position_knn": ("position_knn", {"k": 3}),
    "ridge": ("ridge", {}),
    "ridge_neighbors": ("ridge_neighbors", {}),
    "ridge_neighbors, within sections": ("ridge_neighbors", {"per_section": True}),
    "stnet": ("stnet", RIDGE),
    "hggep": ("hggep", {**RIDGE, "tiles": 2, "channels": 32, "transformer_layers": 1, "heads": 2, "dim_head": 8}),
    "triplex": ("triplex", {**RIDGE, "n_scales": 1, "tiles": 2, "heads": 2}),
    **{
        f"hist2st, {gnn}, paper-like": ("hist2st", {**PAPER_LIKE, "transformer_layers": 1, "gnn": gnn}) for gnn in CONVS
    },
    **{f"hist2st, {gnn}, small": ("hist2st", {**SMALL, "gnn": gnn}) for gnn in CONVS},
    **{
        f"hist2st, {key} encoder": (
            "hist2st",
            {**SMALL, "vision": key, "vision_kwargs": ENCODER_ARGUMENTS.get(key, {}), "gnn": "gat"},
        )
        for key in sorted(ENCODERS.keys() - {"cnn", "convmixer"})  # of the other cases
    },
    **{f"hist2st, {key} jk": ("hist2st", {**SMALL, "gnn": "gat", "jk": key}) for key in JUMPING_KNOWLEDGE},
    **{f"hist2st, {key} position": ("hist2st", {**SMALL, "gnn": "gat", "position": key}) for key in POSITIONS},
}


@pytest.fixture(scope="module")
def sections(cohort: list[Section]) -> list[SectionData]:
    smaller = [replace(s, adata=s.adata[:n].copy()) for s, n in zip(cohort, (12, 5, 9), strict=True)]
    return [to_data(s, list(s.adata.var_names), patch_size=P) for s in smaller]


def build(model: str, options: dict[str, Any], n_genes: int) -> ExpressionModel:
    torch.manual_seed(0)
    sizes = {"patch_size": P} if "patch_size" in parameters_of(MODELS[model]) else {}
    return MODELS[model](n_genes, **sizes, **options).eval()


def with_embeddings(section: SectionData) -> SectionData:
    section = section.clone()
    section.x = torch.randn(len(section.x), 10, generator=torch.Generator().manual_seed(0))
    return section


@pytest.mark.parametrize("case", CASES)
def test_each_section_of_a_batch_is_as_if_alone(case: str, sections: list[SectionData]) -> None:
    model = build(*CASES[case], n_genes=sections[0].y.shape[1])
    if CASES[case][1].get("vision") == "precomputed":
        sections = [with_embeddings(section) for section in sections]
    if isinstance(model, ClosedFormModel):
        model.fit(sections[:1], sections[2:])
    model.remember(sections[:1])
    with torch.no_grad():
        together = model(Batch.from_data_list(sections))
        alone = [model(section) for section in sections]
    for name, value in together.items():
        expected = torch.cat([out[name] for out in alone])
        scale = float(expected.abs().max())
        torch.testing.assert_close(
            value, expected, rtol=0, atol=1e-5 * max(scale, 1.0), msg=lambda m, n=name: f"{n}: {m}"
        )


def test_every_model_is_tested() -> None:
    assert {model for model, _ in CASES.values()} == set(MODELS)
    tried = {options.get("vision", "convmixer") for model, options in CASES.values() if model == "hist2st"}
    assert tried == set(ENCODERS)


@pytest.mark.parametrize("case", ["histogene", "hist2st"])
def test_the_order_of_sections_and_the_loader_do_not_matter(case: str, sections: list[SectionData]) -> None:
    model = build(*CASES[case], n_genes=sections[0].y.shape[1])
    (batch,) = DataLoader(sections[::-1], batch_size=3)
    with torch.no_grad():
        reverse = model(batch)["expression"].split([9, 5, 12])[::-1]
        forward = model(Batch.from_data_list(sections))["expression"]
    torch.testing.assert_close(torch.cat(reverse), forward, rtol=1e-5, atol=1e-5)
