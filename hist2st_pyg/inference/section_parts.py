"""Predict the expression of some spots of a section in memory or of a streamed section."""

from __future__ import annotations

import torch
from torch import Tensor

from hist2st_pyg.data.parts import SectionParts
from hist2st_pyg.data.streamed import StreamedSection
from hist2st_pyg.inference.blocks import predict_blocks
from hist2st_pyg.inference.running import run_model
from hist2st_pyg.models.base import ExpressionModel


def expression_at(model: ExpressionModel, section: SectionParts, spots: Tensor, device: str = "auto") -> Tensor:
    """Predict the expression of some spots, [n, G] on the CPU.

    A streamed section is predicted in blocks; for a model that reads counts or all spots at once it is read whole.

    Args:
        model: The model.
        section: Access to parts of the section.
        spots: Mask of the spots to predict, bool [N].
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...
    """
    if not isinstance(section, StreamedSection) or model.uses_counts or model.num_hops is None:
        return run_model(model, section.whole(), device)["expression"][spots.cpu()]
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
