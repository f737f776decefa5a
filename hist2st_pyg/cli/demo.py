"""Train on the synthetic cohort, predict a held-out patient, draw pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

    from hist2st_pyg.cli import Run


EXAMPLES = ("hist2st demo --output runs/demo --gnn gat",)


def build(parser: ArgumentParser, arguments: list[str]) -> Run:
    from hist2st_pyg.demo import demo

    parser.add_function_arguments(demo)
    return lambda parsed: demo(**{key: value for key, value in vars(parsed).items() if key != "config"})
