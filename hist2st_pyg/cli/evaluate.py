"""Compare predictions with measured sections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from hist2st_pyg.cli import Run


def build(parser: ArgumentParser, arguments: list[str]) -> Run:
    """The arguments of the command."""
    parser.add_argument("model", type=str, help="A run folder, a saved model's folder, or a checkpoint.")
    parser.add_argument("--data.name", type=str, default="synthetic", help="The data set.")
    parser.add_argument("--data.root", type=str | None, default=None, help="Its folder.")
    parser.add_argument("--data.sections", type=list[str] | str | None, default=None, help="Sections; default all.")
    parser.add_argument("--data.options", type=dict[str, Any], default={}, help="Further options of its reader.")
    parser.add_argument("--data.embedding", type=str | None, default=None, help="Folder of precomputed embeddings.")
    parser.add_argument("--output", "-o", type=str | None, default=None, help="The .json file to write.")
    parser.add_argument("--figures", type=str | None, default=None, help="Folder for pictures.")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, ...")
    return run


def run(parsed: Namespace) -> None:
    """Evaluate a model on sections, print the numbers, write the JSON and the pictures."""
    import json

    from hist2st_pyg.evaluation.run import evaluate, scalars
    from hist2st_pyg.files import write_json
    from hist2st_pyg.models import load_model
    from hist2st_pyg.training import DataConfig, read_sections

    names = [parsed.data.sections] if isinstance(parsed.data.sections, str) else parsed.data.sections
    data = {name: value for name, value in vars(parsed.data).items() if name != "sections"}
    sections = read_sections(DataConfig(**data), names)
    result = evaluate(load_model(parsed.model), sections, figures=parsed.figures, device=parsed.device)
    if parsed.output is not None:
        write_json(parsed.output, result)
    short = {
        **scalars(result),
        "seen_in_training": result["seen_in_training"],
        "sections": {name: scalars(numbers) for name, numbers in result["sections"].items()},
    }
    print(json.dumps(short, indent=2))
