"""Read, write and describe the sections on which a model was trained and validated."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, get_args

from hist2st_pyg.models.markdown import code, code_list
from hist2st_pyg.patients import patient_sources, source_sentences
from hist2st_pyg.section import PatientSource, SectionRecord

FIELDS = {field.name for field in fields(SectionRecord)}


def plain_sections(sections: Mapping[str, Sequence[SectionRecord]]) -> dict[str, list[dict[str, str | None]]]:
    """Convert the sections to JSON values."""
    return {part: [asdict(record) for record in records] for part, records in sections.items()}


def read_training_sections(values: Any, source: str) -> dict[str, list[SectionRecord]]:
    """Read the output of :func:`plain_sections`, or ``"patient/section"`` of earlier versions.

    Args:
        values: The value of ``training_sections`` in a model's description, or of ``sections`` in a run's summary.
        source: The model, for errors.

    Raises:
        ValueError: If the value has neither of these formats.
    """
    if not isinstance(values, Mapping) or not all(isinstance(records, list) for records in values.values()):
        raise ValueError(f"{source}: training_sections must map each part to a list of sections, got {values!r:.100}.")
    return {str(part): [_read(record, source) for record in records] for part, records in values.items()}


def earlier_record(text: str) -> SectionRecord:
    """Parse ``patient/section``; a patient's name may contain a slash, a section's cannot.

    If patient and section have the same name, except for the suffix of a stripe, the patient was unknown.
    """
    patient, _, name = text.rpartition("/")
    unnamed = patient in ("", name, re.sub(r"_[a-zA-Z]$", "", name))
    return SectionRecord(name) if unnamed else SectionRecord(name, patient, "unrecorded")


def describe_sections(sections: Mapping[str, Sequence[SectionRecord]]) -> str:
    """Describe the sections, their patients and the source of the patients in Markdown."""
    rows = []
    for part, records in sections.items():
        if records:
            said = {"train": "Trained on", "val": "Validated on"}.get(part, part)
            rows.append(f"{said} {len(records)} section{'s' * (len(records) > 1)}: {_by_patient(records)}.")
    sources = patient_sources(record for records in sections.values() for record in records)
    return "\n\n".join([*rows, source_sentences(sources)]) if rows else "The training sections are not recorded."


def describe_split(sections: Mapping[str, Sequence[SectionRecord]]) -> str:
    """Describe the split into training and validation sections in Markdown."""
    if "val" not in sections:
        return "Not recorded."
    train, val = sections.get("train", []), sections["val"]
    if not val:
        return "No validation sections; parts of the training sections may have been held out."
    shared = {record.patient for record in train if record.patient} & {record.patient for record in val}
    if shared:
        return f"Validation sections share patients with training: {code_list(sorted(filter(None, shared)))}."
    if unknown := [record.name for record in (*train, *val) if record.patient is None]:
        return (
            "It is unknown whether validation sections share patients with training, because the patients of "
            f"{code_list(unknown)} are unknown."
        )
    declared = any(record.patient_source == "each_section" for record in (*train, *val))
    said = ", as the user declared" if declared else ""
    return f"Validation sections are of other patients than training sections{said}."


def _by_patient(records: Sequence[SectionRecord]) -> str:
    of: dict[str | None, list[str]] = {}
    for record in records:
        of.setdefault(record.patient, []).append(record.name)
    return "; ".join(
        f"{code_list(names)} of {'unknown patients' if patient is None else f'patient {code(patient)}'}"
        for patient, names in of.items()
    )


def _read(record: Any, source: str) -> SectionRecord:
    if isinstance(record, str) and record.rpartition("/")[2]:
        return earlier_record(record)
    if not isinstance(record, Mapping) or set(record) != FIELDS:
        raise ValueError(
            f"{source}: a section of training_sections must have {', '.join(sorted(FIELDS))}, got {record!r:.100}."
        )
    name, patient, known = (record[field] for field in ("name", "patient", "patient_source"))
    if not isinstance(name, str) or not isinstance(patient, str | None) or known not in get_args(PatientSource):
        raise ValueError(f"{source}: training_sections holds an invalid section: {dict(record)!r:.200}.")
    return SectionRecord(name, patient, known)
