"""Describe a saved model, or the sections in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hist2st_pyg.cli._help import MODEL

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from hist2st_pyg.cli import Run
    from hist2st_pyg.section import Section

EXAMPLES = (
    "hist2st info runs/start",
    "hist2st info her2st-small",
    "hist2st info outs",
)
COLUMNS = ("section", "patient", "spots", "genes", "µm/px", "image", "missing")
TEXT = ("section", "patient", "missing")
"""Columns that are aligned to the left; numbers are aligned to the right."""


def build(parser: ArgumentParser, arguments: list[str]) -> Run:
    parser.add_argument("path", type=str, help=f"{MODEL.removesuffix('.')}; or a file or folder of sections.")
    parser.add_argument("--dataset", type=str | None, default=None, help="The data set; None detects it by its files.")
    parser.add_argument("--sections", type=list[str] | str | None, default=None, help="Sections; default all.")
    parser.add_argument("--options", type=dict[str, Any], default={}, help="Further options of the data set's reader.")
    return run


def run(parsed: Namespace) -> None:
    """Print the description of a saved model, or a table of sections."""
    dataset = _dataset(Path(parsed.path)) if parsed.dataset is None else parsed.dataset
    if dataset is None:
        show_model(parsed.path)
    else:
        names = [parsed.sections] if isinstance(parsed.sections, str) else parsed.sections
        show_sections(dataset, parsed.path, names, parsed.options)


def _dataset(path: Path) -> str | None:
    """Detect the data set of a path; None for a model, or for a file that only a model's reader can check."""
    from hist2st_pyg.datasets import detect_dataset, detect_datasets
    from hist2st_pyg.models.pretrained import CONFIG, WEIGHTS

    if any((folder / name).is_file() for folder in (path, path / "model") for name in (CONFIG, WEIGHTS)):
        return None
    if path.is_dir():
        try:
            return detect_dataset(path)
        except ValueError as error:
            raise ValueError(f"There is no model in {path} (no {CONFIG} and {WEIGHTS}). {error}") from error
    return detect_dataset(path) if path.is_file() and detect_datasets(path) else None


def show_model(path: str) -> None:
    """Print the description of a saved model as JSON, with accuracy and path of the card of a packaged model."""
    import json
    from dataclasses import asdict

    from hist2st_pyg.models import load_model
    from hist2st_pyg.models.card import CARD
    from hist2st_pyg.models.hub import locate_model
    from hist2st_pyg.models.packaged import FOLDER, packaged_models
    from hist2st_pyg.models.pretrained import describe

    folder = locate_model(path)
    model = load_model(folder)
    description = describe(model)
    preprocessing = description["preprocessing"]
    if preprocessing is not None:
        genes = preprocessing["genes"]
        preprocessing["genes"] = f"{len(genes)} genes: {', '.join(genes[:5])}{', ...' if len(genes) > 5 else ''}"
    if folder.parent == FOLDER:
        description["packaged"] = asdict(packaged_models()[folder.name]) | {"card": str(folder / CARD)}
    description["parameters"] = sum(parameter.numel() for parameter in model.parameters())
    print(json.dumps(description, indent=2))


def show_sections(dataset: str, path: str, names: Sequence[str] | None, options: dict[str, Any]) -> None:
    """Print a table of sections; reads the headers of images, not their pixels."""
    from hist2st_pyg.data.patches import check_on_image
    from hist2st_pyg.datasets import load_sections

    sections = load_sections(dataset, path, names, **options)
    patients = {section.patient for section in sections}
    shared = set.intersection(*(set(section.adata.var_names) for section in sections))
    named = [] if patients == {None} else [_count(sorted(filter(None, patients)), "patient")]
    of = " and ".join([*named, *(["unknown patients"] if None in patients else [])])
    print(f"{path}: {dataset}, {_count(sections, 'section')} of {of}.")
    print(f"\n{_table([_row(section) for section in sections])}")
    if len(sections) > 1:
        print(f"\nGenes in all sections: {len(shared):,}.")
    for section in sections:
        if section.image is not None:
            try:
                check_on_image(section.require_image(), section.pos, section.name)
            except ValueError as error:
                print(f"\n{error}")


def _count(things: Sequence[Any], name: str) -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"


def _row(section: Section) -> tuple[str, ...]:
    """Return the row of a section, in the order of :data:`COLUMNS`."""
    parts = {"image": section.image, "resolution": section.um_per_pixel, "labels": section.label}
    size = "–" if section.image is None else "{} × {}".format(*section.require_image().size)
    return (
        section.name,
        section.patient or "–",
        f"{len(section):,}",
        f"{section.adata.n_vars:,}",
        "–" if section.um_per_pixel is None else f"{section.um_per_pixel:.4g}",
        size,
        ", ".join(name for name, part in parts.items() if part is None) or "nothing",
    )


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    lines = [COLUMNS, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS))]
    aligned = [
        [
            text.ljust(width) if column in TEXT else text.rjust(width)
            for text, width, column in zip(line, widths, COLUMNS, strict=True)
        ]
        for line in lines
    ]
    return "\n".join("  ".join(line).rstrip() for line in aligned)
