"""Show versions, devices and optional parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from hist2st_pyg.cli import Run


def build(parser: ArgumentParser, arguments: list[str]) -> Run:
    """The arguments of the command."""
    from hist2st_pyg.doctor import doctor

    return lambda parsed: print(doctor())
