"""Assign the images, labels and patients that a user gives to the sections of a data set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hist2st_pyg.image import image_name
from hist2st_pyg.patients import Patients, given_patients, refuse_unknown_patients

Files = str | Path | Mapping[str, str | Path]
"""One path for a single section, section name -> path, or a folder of ``<section>.<ending>``."""


def given_files(given: Files, names: Sequence[str], what: str, endings: Iterable[str]) -> dict[str, Path]:
    """Find the given file of each section.

    Args:
        given: The user's option.
        names: The sections.
        what: The option, for errors.
        endings: Suffixes of the files in a folder, such as ``.jpg``.

    Raises:
        FileNotFoundError: If the folder has no file for a section.
        ValueError: If it has several for a section, or the mapping or path has none.
    """
    endings = tuple(endings)
    if isinstance(given, Mapping):
        if without := [name for name in names if name not in given]:
            raise ValueError(f"{what} has no entry for section {', '.join(map(repr, without))}.")
        return {name: Path(given[name]) for name in names}
    path = Path(given)
    if path.is_dir():
        return {name: _in_folder(path, name, what, endings) for name in names}
    if len(names) != 1:
        raise ValueError(
            f"{what}={str(path)!r} is for a single section, got {len(names)} sections: {', '.join(names)}. Give a "
            f"mapping section -> file, or a folder of <section>{endings[0]}."
        )
    return {names[0]: path}


def _in_folder(folder: Path, name: str, what: str, endings: tuple[str, ...]) -> Path:
    files = (path for path in sorted(folder.glob("[!.]*")) if path.suffix.lower() in endings)
    found = [path for path in files if name in (path.stem, image_name(path))]
    if not found:
        raise FileNotFoundError(
            f"{what}: {folder} has no file for section {name!r} ({name} with {', '.join(endings)})."
        )
    if len(found) > 1:
        listed = ", ".join(path.name for path in found)
        raise ValueError(f"{what}: {folder} has {len(found)} files for section {name!r} ({listed}); keep one.")
    return found[0]


def check_patients(given: Patients | None, names: Sequence[str], available: Iterable[str]) -> None:
    """Refuse a mapping of patients that lacks a section or names an unknown one.

    Args:
        given: The user's option.
        names: The sections that are read.
        available: All sections of the data set.

    Raises:
        ValueError: If a section has no entry, or an entry no section.
    """
    named, known = given_patients(given), sorted(available)
    if named and (without := [name for name in names if name not in named]):
        raise ValueError(f"patients has no entry for section {', '.join(map(repr, without))}.")
    refuse_unknown_patients(named, known)
