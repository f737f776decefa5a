"""Compare predictions with measured sections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from hist2st_pyg.cli._help import MODEL

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from hist2st_pyg.cli import Run

EXAMPLES = (
    "hist2st evaluate runs/start --figures figures",
    "hist2st evaluate runs/start --data.name visium --data.root outs -o outs.json",
)
DATA: dict[str, tuple[Any, str]] = {
    "name": (str, "The data set; None reads this and the following options from the run folder."),
    "root": (str, "Its folder."),
    "options": (dict[str, Any], "Further options of its reader."),
    "patients": (
        dict[str, str | int | float] | Literal["each_section"],
        "The patient of each section, or each_section, as in training.",
    ),
    "stripes": (str, "Cut each section into stripes by this pattern; sections are then <section>_<letter>."),
    "embedding": (str, "Folder of precomputed embeddings."),
}
"""The fields of the training's ``DataConfig`` that select the data; None if not set."""


def build(parser: ArgumentParser, arguments: list[str]) -> Run:
    parser.add_argument("model", type=str, help=MODEL)
    for name, (kind, text) in DATA.items():
        parser.add_argument(f"--data.{name}", type=kind | None, default=None, help=text)
    parser.add_argument(
        "--data.sections",
        type=list[str] | str | None,
        default=None,
        help="Sections; None uses the test sections of the run, or all.",
    )
    parser.add_argument("--output", "-o", type=str | None, default=None, help="The .json file to write.")
    parser.add_argument("--figures", type=str | None, default=None, help="Folder for pictures.")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, ...")
    return run


def run(parsed: Namespace) -> None:
    """Evaluate a model on sections, print the numbers, write the JSON and the pictures."""
    import json
    import logging
    from dataclasses import replace

    from hist2st_pyg.evaluation.model_scores import evaluate, scalars
    from hist2st_pyg.inference.running import find_device
    from hist2st_pyg.models import load_model
    from hist2st_pyg.models.hub import locate_model
    from hist2st_pyg.training import DataConfig, read_sections, run_data
    from hist2st_pyg.utils.writable import check_file, check_folder

    check_file(parsed.output)
    check_folder(parsed.figures)
    find_device(parsed.device)
    model = load_model(locate_model(parsed.model))
    given = {name: value for name in DATA if (value := parsed.data[name]) is not None}
    data = replace(DataConfig() if "name" in given else run_data(parsed.model), **given)
    sections = [parsed.data.sections] if isinstance(parsed.data.sections, str) else parsed.data.sections
    if "name" not in given and not sections and not data.test:
        logging.getLogger(__name__).warning("%s has no test sections, so all sections are evaluated.", parsed.model)
    measured = read_sections(data, sections or data.test or None)
    result = evaluate(model, measured, output=parsed.output, figures=parsed.figures, device=parsed.device)
    short = {
        "held_out": result["held_out"],
        **{name: result[name] for name in ("seen_in_training", "patients_seen_in_training", "patient_sources")},
        **scalars(result),
        "sections": {name: scalars(numbers) for name, numbers in result["sections"].items()},
    }
    print(json.dumps(short, indent=2))
