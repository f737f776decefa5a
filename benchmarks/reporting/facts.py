"""Describe the results of a table: split, sections, budget, code, and warnings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from benchmarks.reporting.cells import TASKS, Cell, Group, metric, patient_sources
from benchmarks.reporting.comparison import CHOSEN, Comparison, mean_of_chosen
from benchmarks.reporting.tables import difference_of, p_value
from hist2st_pyg.patients import source_sentences
from hist2st_pyg.section import PatientSource
from hist2st_pyg.utils.resolver import resolve

SPLITS = {
    "leave_one_patient_out": (
        "Each patient is predicted by a model that was trained and selected on the other patients."
    ),
    "k_fold_patients": (
        "Patients are dealt into folds; each fold is predicted by a model that was trained and selected on the others."
    ),
    "leave_one_section_out": (
        "Each section is predicted by a model that was trained and selected on the other sections, those of the same "
        "patient among them, as in Zeng et al. 2022."
    ),
    "explicit": ("The folds are named in the grid's file; test patients are kept out of training and selection."),
    "explicit_sections": (
        "The folds are named in the grid's file, section by section; a patient may be on both sides."
    ),
}
"""The description of each split, for sections of known patients."""

BY_SECTION = (
    "Each section is predicted by a model that was trained and selected on other sections. Whether those are of other "
    "patients is not known: {}"
)
"""The description of a split by section, for sections of unknown patients."""


def title(group: Group) -> str:
    """Return a group's heading."""
    return f"{group.dataset}, {group.split.replace('_', ' ')}"


def describe(group: Group) -> str:
    """Describe the split."""
    said = resolve(SPLITS, group.split, "split")
    sources = sources_of(group)
    if group.split.endswith(("_section_out", "_sections")) or not {"each_section", "unrecorded"} & set(sources):
        return said
    return BY_SECTION.format(f"{source_sentences(sources)[0].lower()}{source_sentences(sources)[1:]}")


def sources_of(group: Group) -> dict[PatientSource, list[str]]:
    """Group the sections of the group's cells by the source of their patients."""
    found: dict[PatientSource, set[str]] = {}
    for cell in group.cells:
        for source, names in patient_sources(cell).items():
            found.setdefault(source, set()).update(names)
    return {source: sorted(names) for source, names in found.items()}


def leaks(group: Group) -> dict[str, list[str]]:
    """Find the test patients that are also in training or validation, by fold."""
    found: dict[str, set[str]] = {}
    for cell in group.cells:
        patients = cell["patients"]
        common = set(patients["test"]) & {*patients["train"], *patients["val"]}
        if common:
            found.setdefault(cell["fold"], set()).update(common)
    return {fold: sorted(patients) for fold, patients in sorted(found.items())}


def warnings(group: Group) -> list[str]:
    """Return warnings about results that are doubtful or hard to compare, one or two sentences each."""
    found = []
    if leaking := leaks(group):
        patients = sorted({patient for names in leaking.values() for patient in names})
        found.append(
            f"These results leak patients: {_list(patients, 'patient')} of the test sections also "
            f"{_verb(patients, 'train')} or {_verb(patients, 'validate')} ({len(leaking)} of {len(group.folds)} folds)."
            " Scores are higher than for a patient that was never seen; do not compare them with those of a split by "
            "patient."
        )
    if unknown := sources_of(group).get("unknown"):
        found.append(
            f"It is not known whose {_list(unknown, 'section')} {'are' if len(unknown) > 1 else 'is'}: a patient may "
            "train and be tested, and scores are then higher than for one that was never seen."
        )
    for fold in group.folds:
        cells = [cell for cell in group.cells if cell["fold"] == fold]
        if len({cell["panel_sha256"] for cell in cells}) > 1:
            found.append(f"Fold {fold}: the models were scored on different gene panels; their means do not compare.")
        if len({tuple(sorted(cell["test"])) for cell in cells}) > 1:
            found.append(f"Fold {fold}: the models were tested on different sections; their means do not compare.")
    codes = sorted({str(cell["versions"].get("code", "unknown")) for cell in group.cells})
    if len(codes) > 1:
        found.append(f"The results were made by {len(codes)} states of the code: {', '.join(codes)}.")
    if any(code.endswith("-dirty") for code in codes):
        found.append("Some results were made by code with changes that are in no commit (-dirty).")
    lacking = [
        f"{model} ({', '.join(missing)})"
        for task in TASKS
        for model in group.models(task)
        if (missing := [fold for fold in group.folds if not group.of(model, fold)])
    ]
    if lacking:
        found.append(f"Without a mean over folds, because folds are missing: {'; '.join(lacking)}.")
    if group.failures:
        n = len(group.failures)
        found.append(f"{n} cell{'s' * (n > 1)} failed; the last line of each traceback is below.")
    return found


def facts(group: Group) -> list[tuple[str, str]]:
    """Return facts about the group's results, as pairs of a term and its text."""
    cells = group.cells
    if not cells:
        return []
    sections = {f"{cell['fold']}/{name}": result for cell in cells for name, result in cell["test"].items()}
    spots = [n_spots(result) for result in sections.values()]
    panels = {cell["panel_sha256"] for cell in cells}
    genes = _span(cell["metrics"].get("n_genes") or len(cell["per_gene"]) for cell in cells)
    constant = _span(n for result in sections.values() if (n := result["metrics"].get("n_constant")) is not None)
    ceilings = [(fold, ceiling(group, fold)) for fold in group.folds]
    panel = f"{genes}, panel{'s' * (len(panels) > 1)} {', '.join(sorted(p[:8] for p in panels))}"
    seconds = _span(round(fit) for cell in cells if (fit := cell["seconds"].get("fit")) is not None)
    threads, devices = _span(cell["threads"] for cell in cells), sorted({cell["device"] for cell in cells})
    pairs = [
        ("Folds", f"{len(group.folds)} ({', '.join(group.folds)}), seeds {', '.join(map(str, group.seeds))}"),
        ("Test sections", f"{len(sections)}, {sum(spots):,} spots ({_span(spots)} a section)"),
        ("Patients", source_sentences(sources_of(group)).removesuffix(".")),
        ("Genes", panel + (f"; {constant} constant in the target, left out" if constant else "")),
        ("Attainable PCC", ", ".join(f"{fold} {value:.3f}" for fold, value in ceilings if value is not None)),
        ("Budget", _budget(cells)),
        ("Training", f"{seconds} s a cell, {', '.join(devices)}, threads: {threads}"),
        ("Code", _versions(cells)),
    ]
    return [(word, text) for word, text in pairs if text]


def ceiling(group: Group, fold: str) -> float | None:
    """Return a fold's attainable PCC; it depends only on the counts, so it is the same in every cell."""
    value = metric("ceiling_pcc_mean")
    return next((c for cell in group.cells if cell["fold"] == fold and (c := value(cell)) is not None), None)


def n_spots(result: dict[str, Any]) -> int:
    """Count the spots of a test section."""
    return int(result["metrics"].get("n_spots") or len(result["map"]["pos"]))


def verdict(group: Group, comparison: Comparison | None) -> str:
    """Describe the score of the variant chosen by validation, relative to the reference and the ceiling."""
    if comparison is None:
        return ""
    if not comparison.chosen or comparison.row is None:
        return "No hist2st variant can be chosen by validation: a fold has none with a validation PCC."
    folds: dict[str, list[str]] = {}
    for fold, model in comparison.chosen.items():
        folds.setdefault(model, []).append(fold)
    names = "; ".join(f"`{model}` in {', '.join(where)}" for model, where in sorted(folds.items()))
    who = names if comparison.row == CHOSEN else f"`{comparison.row}` in every fold"
    pcc, share = (mean_of_chosen(group, comparison.chosen, name) for name in ("pcc_mean", "share_of_ceiling"))
    reached = f"PCC {pcc:.3f}" if pcc is not None else "no PCC"
    if share is not None:
        reached += f", {100 * share:.0f} % of the ceiling"
    difference = difference_of(comparison, comparison.row)
    text = f"The best hist2st variant by validation PCC, chosen in each fold without the test score ({who}), reaches "
    if difference.value is None:
        return f"{text}{reached}."
    row: Any = comparison.table.loc[comparison.row]
    return (
        f"{text}{reached}. Against `{comparison.reference}` that is {difference.text} (Holm-corrected p "
        f"{p_value(row['p_bootstrap_holm'])} over genes, {p_value(row['p_wilcoxon_holm'])} over sections)."
    )


def _budget(cells: Iterable[Cell]) -> str:
    """Describe epochs and patience of the configurations, with the models if they differ."""
    models: dict[str, set[str]] = {}
    for cell in cells:
        training = cell["config"]["training"]
        text = f"{training.get('epochs')} epochs"
        text += f", patience {training['patience']}" if training.get("patience") else ", no early stopping"
        if training.get("max_minutes"):
            text += f", at most {training['max_minutes']:g} min"
        models.setdefault(text, set()).add(cell["model"])
    if len(models) == 1:
        return next(iter(models))
    return "; ".join(f"{text} ({', '.join(sorted(names))})" for text, names in sorted(models.items()))


def _versions(cells: Iterable[Cell]) -> str:
    found: dict[str, set[str]] = {}
    for cell in cells:
        for name, version in cell["versions"].items():
            found.setdefault(name, set()).add(str(version))
    return ", ".join(f"{name} {' / '.join(sorted(versions))}" for name, versions in found.items())


def _span(numbers: Iterable[int]) -> str:
    known = sorted(numbers)
    if not known:
        return ""
    return f"{known[0]:,}" if known[0] == known[-1] else f"{known[0]:,}–{known[-1]:,}"


def _list(names: list[str], word: str) -> str:
    return f"{word}{'s' * (len(names) > 1)} {', '.join(names)}"


def _verb(names: list[str], verb: str) -> str:
    return verb if len(names) > 1 else f"{verb}s"
