"""Show versions, devices and optional packages; each package is tested by importing it."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib import import_module, metadata
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from hist2st_pyg.utils.optional import installed_version

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from hist2st_pyg.cli import Run

EXAMPLES = ("hist2st doctor",)
DEVELOPERS = ("test", "dev", "docs", "dist")
"""Extras that only developers need."""


def build(parser: ArgumentParser, arguments: list[str]) -> Run:
    return lambda parsed: print(doctor())


def doctor() -> str:
    """Describe this installation.

    Returns:
        One line for each package in the metadata of hist2st_pyg, with the install command if it is missing and the
        error if it does not load; one for the implementation of scatter in graph layers, and one for the devices.
    """
    lines = [
        f"hist2st_pyg {installed_version('hist2st_pyg') or '(not installed)'} on Python {platform.python_version()}"
    ]
    distribution = metadata.distribution("hist2st_pyg")
    required = [Requirement(text) for text in distribution.requires or []]
    extras = [extra for extra in distribution.metadata.get_all("Provides-Extra") or [] if extra not in DEVELOPERS]
    modules = _modules()
    lines += [_line(r, modules, f"pip install '{r.name}'") for r in required if r.marker is None]
    for extra in extras:
        command = f"pip install 'hist2st_pyg[{extra}]'"
        of_extra = [r for r in required if r.marker is not None and r.marker.evaluate({"extra": extra})]
        lines += [_line(r, modules, command, f" (optional: {extra})") for r in of_extra]
    return "\n".join([*lines, *_devices()])


def _devices() -> list[str]:
    """Describe scatter and the devices, or the error if torch or PyTorch Geometric does not load."""
    try:
        import torch

        from hist2st_pyg.utils.scatter import scatter_in_use

        devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return [
            f"sums over neighbors: {scatter_in_use()}",
            f"devices: CPU with {torch.get_num_threads()} threads; " + (", ".join(devices) or "no CUDA device"),
        ]
    except Exception as error:  # noqa: BLE001 - a broken installation is what this command describes
        return [f"devices: unknown, {_first_line(error)}"]


def _modules() -> dict[str, str]:
    """Map the canonical name of each installed distribution to the module to import."""
    found: dict[str, str] = {}
    for module, names in sorted(metadata.packages_distributions().items()):
        for name in map(canonicalize_name, names):
            if not module.startswith("_") and (name not in found or module == name.replace("-", "_")):
                found[name] = module
    return found


def _line(requirement: Requirement, modules: Mapping[str, str], command: str, use: str = "") -> str:
    name = requirement.name
    version = installed_version(name)
    if not version:
        return f"  {name} is missing{use}: {command}"
    if not requirement.specifier.contains(version, prereleases=True):
        return f"  {name} {version}{use} does not satisfy {requirement.specifier}: {command}"
    try:
        import_module(modules[canonicalize_name(name)])
    except Exception as error:  # noqa: BLE001 - an extension that does not load may raise anything
        return (
            f"  {name} {version}{use} does not load, {_first_line(error)}: {command} --force-reinstall --no-cache-dir"
        )
    return f"  {name} {version}{use}"


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
