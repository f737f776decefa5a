"""List the choices by key: models, also packaged ones, layers, encoders, data sets, presets."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from hist2st_pyg.cli import Run

EXAMPLES = ("hist2st list", "hist2st list layers", "hist2st list models")
PACKAGED = "packaged models, accepted by name in predict, evaluate, explain and info"


def build(parser: ArgumentParser, arguments: list[str]) -> Run:
    from hist2st_pyg.cli._choices import LISTED

    text = "What to list; default: everything."
    parser.add_argument("kind", nargs="?", choices=LISTED, default=None, help=text)
    return run


def run(parsed: Namespace) -> None:
    """Print one line per choice: its key, and the first sentence of its docstring."""
    from hist2st_pyg.cli._choices import CHOICES, LISTED, sentence

    for kind in LISTED if parsed.kind is None else [parsed.kind]:
        if parsed.kind is None:
            option = f"--{CHOICES[kind].options[0]}"
            print(f"{kind} ({option})")
        keys = list(CHOICES[kind].values())
        for key in keys:
            indent = "" if parsed.kind is not None else "  "
            print(f"{indent}{key:{max(map(len, keys))}}  {sentence(kind, key)}")
        if kind == "models":
            print(f"\n{PACKAGED}" if parsed.kind is not None else PACKAGED)
            print("\n".join(f"  {line}" for line in packaged_lines()))


def packaged_lines() -> list[str]:
    """Format one line per packaged model: name, species, tissue, number of genes, PCC on a held-out section."""
    from hist2st_pyg.models.packaged import packaged_models

    rows = [
        (name, f"{each.species} {each.tissue}", f"{each.genes} genes", f"PCC {each.pcc:.3f} on {each.held_out}.")
        for name, each in packaged_models().items()
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{text:{width}}" for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
