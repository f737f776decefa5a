"""Predict the expression of some spots of a section in memory or of a streamed section."""

from __future__ import annotations

import torch
from torch import Tensor
from torch_geometric.utils import k_hop_subgraph

from hist2st_pyg.data.parts import SectionParts
from hist2st_pyg.data.preprocessing import SectionData
from hist2st_pyg.data.streamed import StreamedSection
from hist2st_pyg.inference.blocks import predict_blocks
from hist2st_pyg.inference.running import run_model
from hist2st_pyg.models.base import ExpressionModel


def expression_at(model: ExpressionModel, section: SectionParts, spots: Tensor, device: str = "auto") -> Tensor:
    """Predict the expression of some spots, [n, G] on the CPU.

    A streamed section is predicted in blocks, and of a section in memory the spots that these read; for a model that
    reads counts or all spots at once a section is read whole.

    Args:
        model: The model.
        section: Access to parts of the section.
        spots: Mask of the spots to predict, bool [N].
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...
    """
    if not isinstance(section, StreamedSection) or model.uses_counts or model.num_hops is None:
        data, inside = _read_by(model, section.whole(), spots)
        return run_model(model, data, device)["expression"][inside.cpu()]
    values = predict_blocks(
        model,
        section.data,
        section.patches,
        device=device,
        name=section.data.section,
        keep=lambda _, out: {"expression": out["expression"]},
        spots=spots.nonzero()[:, 0].cpu().numpy(),
        warn=False,  # would repeat in each epoch
    ).values
    return torch.from_numpy(values["expression"])


def _read_by(model: ExpressionModel, data: SectionData, spots: Tensor) -> tuple[SectionData, Tensor]:
    """The part of a section that a model reads to predict some spots, and these spots in it."""
    hops = model.receptive_field
    if hops is None or model.uses_counts or model.section_features is not None or bool(spots.all()):
        return data, spots
    # Not by SectionParts, which needs sorted edges: a user's own Data may have them in any order.
    near = k_hop_subgraph(spots.nonzero()[:, 0], hops, data.edge_index, num_nodes=len(spots))[0]
    return data.subgraph(near), spots[near]
