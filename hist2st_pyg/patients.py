"""The patients of sections, their source, and the error if they are required but unknown."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from hist2st_pyg.section import UNKNOWN, PatientSource, Section, SectionRecord

EACH_SECTION = "each_section"
Patients = Mapping[str, str | int | float] | Literal["each_section"]
"""Section name -> patient, or the declaration that each section of unknown patient has a separate patient."""

SHOWN = 6
"""Largest number of names in an error."""

WHOLE = re.compile(r"([-+]?\d+)\.0*")


def patient_name(value: Any, where: str) -> str | None:
    """Read a patient's name from a file or configuration; None if it is missing or empty.

    Numbers are names: a missing value makes a column float, so 1, 1.0, "1.0" and " 1" are one patient, "1". An array
    must hold the name of one patient, once or several times.

    Args:
        value: The value.
        where: The source of the value, for the error.

    Raises:
        ValueError: If the value is neither a name nor a number, or is of two patients.
    """
    plain = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(plain, list | tuple):
        names = {patient_name(one, where) for one in plain}
        if len(names) > 1:
            raise ValueError(f"{where} must be the name of one patient, got {value!r}.")
        return names.pop() if names else None
    if isinstance(plain, bytes):
        plain = plain.decode(errors="replace")
    if isinstance(plain, bool) or not isinstance(plain, str | int | float | None) or plain in (math.inf, -math.inf):
        if str(plain).lower() in UNKNOWN:  # pandas' missing values
            return None
        raise ValueError(f"{where} must be the name of a patient, got {value!r}.")
    if isinstance(plain, float) and plain.is_integer():
        plain = int(plain)
    text = str(plain).strip()
    if text.lower() in UNKNOWN:
        return None
    return whole[1] if (whole := WHOLE.fullmatch(text)) else text


def with_patients(
    sections: Sequence[Section], patients: Patients | None, whole: Mapping[str, str] | None = None
) -> list[Section]:
    """Set the user's patients on sections.

    Args:
        sections: The sections.
        patients: The patients; a section that the mapping does not name keeps its own.
        whole: The whole section of each stripe, by name; None if the sections are whole.

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
    """The patients given by name; empty if each section is declared a separate patient.

    Raises:
        ValueError: If ``patients`` is neither a mapping to names nor ``"each_section"``.
    """
    if patients is None or patients == EACH_SECTION:
        return {}
    if not isinstance(patients, Mapping):
        raise ValueError(f"patients must be a mapping section -> patient, or {EACH_SECTION!r}, got {patients!r}.")
    named = {name: patient_name(value, f"patients: {name}") for name, value in patients.items()}
    if without := [name for name, value in named.items() if value is None]:
        raise ValueError(f"patients: {without[0]} has no name; omit sections of unknown patient.")
    return {name: value for name, value in named.items() if value is not None}


def refuse_unknown_patients(named: Iterable[str], known: Sequence[str]) -> None:
    """Reject patients of unknown sections, because a split would not separate the intended ones.

    Args:
        named: The sections whose patients are given.
        known: All sections.

    Raises:
        ValueError: If a section does not exist.
    """
    if unknown := [name for name in named if name not in known]:
        raise ValueError(f"patients names an unknown section {unknown[0]!r}. Choose from: {', '.join(known)}.")


def require_patients(sections: Sequence[Section], why: str, instead: str) -> list[str]:
    """The patient of each section, for a split by patient.

    Args:
        sections: The sections.
        why: The reason for the requirement, for the error.
        instead: An alternative, for the error.

    Raises:
        ValueError: If a patient is unknown; the message names the sections and the remedy.
    """
    patients = [section.patient for section in sections if section.patient is not None]
    if len(patients) == len(sections):
        return patients
    unknown = [section.name for section in sections if section.patient is None]
    names = ", ".join(map(repr, unknown[:SHOWN])) + (f" and {len(unknown) - SHOWN} more" * (len(unknown) > SHOWN))
    raise ValueError(
        f"The patient of {names} is not known: {why}. Name the patient of each section (data.patients: "
        f"{{{unknown[0]}: PATIENT, ...}}), or, if no two share a patient, declare each a separate patient "
        f"(data.patients: {EACH_SECTION}). {instead}"
    )


def patient_sources(sections: Iterable[SectionRecord]) -> dict[PatientSource, list[str]]:
    """The names of sections by the source of their patients."""
    found: dict[PatientSource, list[str]] = {}
    for section in sections:
        found.setdefault(section.patient_source, []).append(section.name)
    return found


def source_sentences(sources: Mapping[PatientSource, Sequence[str]]) -> str:
    """The source of the patients, in words.

    Args:
        sources: The result of :func:`patient_sources`; with several sources the text names the sections of each.
    """
    said: dict[PatientSource, str] = {
        "dataset": "The data set names the patients",
        "given": "The user named the patients",
        "each_section": "The data name no patients; the user declared each section a separate patient",
        "unknown": "The patients are not known",
        "unrecorded": "The source of the patients was not recorded",
    }
    return " ".join(
        said[source] + (f" ({', '.join(names)})" if len(sources) > 1 else "") + "." for source, names in sources.items()
    )
