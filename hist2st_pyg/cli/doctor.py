"""Show versions, devices and optional packages."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

from hist2st_pyg.utils.optional import installed_version

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from hist2st_pyg.cli import Run

DEVELOPERS = ("test", "dev")
"""Extras that only developers need."""


def build(parser: ArgumentParser, arguments: list[str]) -> Run:
    return lambda parsed: print(doctor())


def doctor() -> str:
    """Describe this installation.

    Returns:
        One line for each package in the metadata of hist2st_pyg, with the install command if it is missing, and one
        for the devices.
    """
    import torch

    lines = [
        f"hist2st_pyg {installed_version('hist2st_pyg') or '(not installed)'} on Python {platform.python_version()}"
    ]
    distribution = metadata.distribution("hist2st_pyg")
    required = [Requirement(text) for text in distribution.requires or []]
    extras = [extra for extra in distribution.metadata.get_all("Provides-Extra") or [] if extra not in DEVELOPERS]
    lines += [_line(r, f"pip install '{r.name}'") for r in required if r.marker is None]
    for extra in extras:
        command = f"pip install 'hist2st_pyg[{extra}]'"
        of_extra = [r for r in required if r.marker is not None and r.marker.evaluate({"extra": extra})]
        lines += [_line(r, command, f" (optional: {extra})") for r in of_extra]
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    lines.append(f"devices: CPU with {torch.get_num_threads()} threads; " + (", ".join(devices) or "no CUDA device"))
    return "\n".join(lines)


def _line(requirement: Requirement, command: str, use: str = "") -> str:
    version = installed_version(requirement.name)
    return f"  {requirement.name} {version}{use}" if version else f"  {requirement.name} is missing{use}: {command}"
