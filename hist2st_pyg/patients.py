"""Whose sections are, how that is known, and what is asked for where it is not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from hist2st_pyg.section import PatientSource, Section, SectionRecord

EACH_SECTION = "each_section"
Patients = Mapping[str, str | int | float] | Literal["each_section"]
"""Section name -> patient, or the declaration that each section whose patient is not known is of one of its own."""

SHOWN = 6
"""So many names an error lists."""


def patient_name(value: Any, where: str) -> str | None:
    """A patient as a file or a configuration writes it; None where it is missing or empty.

    Numbers are names: a column becomes float where another section has a gap, and 1, 1.0 and "1" are one patient.

    Args:
        value: The value.
        where: Where it is from, for the error.

    Raises:
        ValueError: If it is no name and no number.
    """
    plain = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
    while isinstance(plain, list) and len(plain) == 1:
        plain = plain[0]
    if isinstance(plain, bytes):
        plain = plain.decode()
    if isinstance(plain, bool) or not isinstance(plain, str | int | float | None):
        raise ValueError(f"{where} is the name of a patient, got {value!r}.")
    if isinstance(plain, float):
        if plain != plain:
            return None
        plain = int(plain) if plain.is_integer() else plain
    return None if plain is None else str(plain).strip() or None


def with_patients(
    sections: Sequence[Section], patients: Patients | None, whole: Mapping[str, str] | None = None
) -> list[Section]:
    """Sections with the patients that the user gives.

    Args:
        sections: The sections.
        patients: The patients; a section that the mapping does not name keeps its own.
        whole: The section of which each is a stripe, by name; None where they are whole.

    Raises:
        ValueError: If ``patients`` is neither a mapping to names nor ``"each_section"``.
    """
    given = given_patients(patients)
    if not given and patients != EACH_SECTION:
        return list(sections)
    named = []
    for section in sections:
        name = section.name if whole is None else whole[section.name]
        if name in given:
            section = replace(section, patient=given[name], patient_source="given")
        elif patients == EACH_SECTION and section.patient is None:
            section = replace(section, patient=name, patient_source="each_section")
        named.append(section)
    return named


def given_patients(patients: Patients | None) -> dict[str, str]:
    """The patients that are given by name; none where each section is declared a patient of its own.

    Raises:
        ValueError: If it is neither a mapping to names nor ``"each_section"``.
    """
    if patients is None or patients == EACH_SECTION:
        return {}
    if not isinstance(patients, Mapping):
        raise ValueError(f"patients is a mapping section -> patient, or {EACH_SECTION!r}, got {patients!r}.")
    named = {name: patient_name(value, f"patients: {name}") for name, value in patients.items()}
    if without := [name for name, value in named.items() if value is None]:
        raise ValueError(f"patients: {without[0]} has no name; leave out a section whose patient is not known.")
    return {name: value for name, value in named.items() if value is not None}


def refuse_unknown_patients(named: Iterable[str], known: Sequence[str]) -> None:
    """Refuse patients of sections that are not there: those meant would not be kept apart.

    Args:
        named: The sections whose patients are given.
        known: All sections.

    Raises:
        ValueError: If there is no such section.
    """
    if unknown := [name for name in named if name not in known]:
        raise ValueError(f"patients names {unknown[0]!r}, and there is no such section; there are {', '.join(known)}.")


def require_patients(sections: Sequence[Section], why: str, instead: str) -> list[str]:
    """The patient of each section, where a split is by patient.

    Args:
        sections: The sections.
        why: What cannot be done without, for the error.
        instead: What can be asked for instead, for the error.

    Raises:
        ValueError: If a patient is not known; the message names the sections and what to do.
    """
    patients = [section.patient for section in sections if section.patient is not None]
    if len(patients) == len(sections):
        return patients
    unknown = [section.name for section in sections if section.patient is None]
    names = ", ".join(map(repr, unknown[:SHOWN])) + (f" and {len(unknown) - SHOWN} more" * (len(unknown) > SHOWN))
    raise ValueError(
        f"The patient of {names} is not known: {why}. Say whose each section is (data.patients: "
        f"{{{unknown[0]}: PATIENT, ...}}), or, where no two are of one patient, that each is a patient of its own "
        f"(data.patients: {EACH_SECTION}). {instead}"
    )


def patient_sources(sections: Iterable[SectionRecord]) -> dict[PatientSource, list[str]]:
    """The names of sections by how their patients are known."""
    found: dict[PatientSource, list[str]] = {}
    for section in sections:
        found.setdefault(section.patient_source, []).append(section.name)
    return found


def source_sentences(sources: Mapping[PatientSource, Sequence[str]]) -> str:
    """How the patients are known, in words.

    Args:
        sources: As :func:`patient_sources` gives them; the sections are named where there is more than one source.
    """
    said: dict[PatientSource, str] = {
        "dataset": "The data set names the patients",
        "given": "The patients are as the user gave them",
        "each_section": "The data name no patients; the user declared each section a patient of its own",
        "unknown": "The patients are not known",
        "unrecorded": "How the patients are known was not recorded",
    }
    return " ".join(
        said[source] + (f" ({', '.join(names)})" if len(sources) > 1 else "") + "." for source, names in sources.items()
    )
