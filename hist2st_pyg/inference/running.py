"""Run a model on a device, and restore its mode and device afterwards."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from hist2st_pyg.data.preprocessing import SectionData
from hist2st_pyg.models.base import ExpressionModel

logger = logging.getLogger(__name__)


def run_model(
    model: ExpressionModel, data: SectionData, device: str = "auto", features: Sequence[Tensor] | None = None
) -> dict[str, Tensor]:
    """Run the model in eval mode and return its output on the CPU; the model and the data stay on their devices.

    Args:
        model: The model.
        data: The section.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...
        features: The output of its vision stages, for a model that accepts it; then ``data`` needs no ``x``.

    Raises:
        ValueError: If the device does not exist.
    """
    device = find_device(device)
    # PyG's Data.to changes the data in place; a shallow copy shares the tensors that are already on the device.
    moved = copy.copy(data).to(device)
    with on_device(model, device), torch.inference_mode():
        out = model(moved) if features is None else model(moved, [each.to(device) for each in features])
    return {key: value.float().cpu() for key, value in out.items()}


@contextmanager
def on_device(model: ExpressionModel, device: str) -> Iterator[None]:
    """Put the model in eval mode on a device; restore its mode and device on exit."""
    was_training, home = model.training, model.target_mean.device
    model.to(device).eval()
    try:
        yield
    finally:
        model.to(home).train(was_training)


def find_device(device: str) -> str:
    """Resolve ``"auto"`` to the available device; return other devices unchanged.

    Raises:
        ValueError: If the device does not exist.
    """
    found = torch.cuda.is_available()
    if device == "auto":
        return "cuda" if found else "cpu"
    try:
        place = torch.device(device)
        if place.type == "cuda":  # counting devices does not initialize CUDA in this process, creating a tensor does
            known = found and (place.index or 0) < torch.cuda.device_count()
        else:
            known = torch.zeros(1, device=place).item() == 0
    except (RuntimeError, AssertionError, ImportError) as error:  # the errors of torch for a missing device
        logger.debug("%s: %s", device, error)
        known = False
    if not known:
        cuda = "".join(f", 'cuda:{index}'" for index in range(torch.cuda.device_count() if found else 0))
        reason = "no CUDA device was found" if device.startswith("cuda") and not found else "there is no such device"
        raise ValueError(f"device={device!r}: {reason}; choose 'auto'{cuda} or 'cpu'.")
    return device
