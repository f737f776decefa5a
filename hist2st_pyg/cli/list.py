"""List what can be chosen by key: models, layers, encoders, data sets, presets."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from hist2st_pyg.cli import Run

EXAMPLES = ("hist2st list", "hist2st list layers")


def build(parser: ArgumentParser, arguments: list[str]) -> Run:
    from hist2st_pyg.cli._choices import LISTED

    text = "What to list; default: everything."
    parser.add_argument("kind", nargs="?", choices=LISTED, default=None, help=text)
    return run


def run(parsed: Namespace) -> None:
    """Print a line for each choice: its key, and the first sentence about it."""
    from hist2st_pyg.cli._choices import CHOICES, LISTED, sentence

    for kind in LISTED if parsed.kind is None else [parsed.kind]:
        if parsed.kind is None:
            option = f"--{CHOICES[kind].options[0]}"
            print(f"{kind} ({option})")
        keys = list(CHOICES[kind].values())
        for key in keys:
            indent = "" if parsed.kind is not None else "  "
            print(f"{indent}{key:{max(map(len, keys))}}  {sentence(kind, key)}")
