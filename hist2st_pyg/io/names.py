"""Select sections by name, by the same rule for every data set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class UnknownSectionError(ValueError):
    """A section name is unknown, or the list of names is empty.

    Args:
        message: The error.
        available: The names of all sections.
    """

    def __init__(self, message: str, available: Sequence[str]) -> None:
        super().__init__(message)
        self.available = list(available)


def check_parts(parts: Sequence[str], known: Iterable[str]) -> None:
    """Check the parts of a data set that a user wants to download.

    Raises:
        ValueError: If the list is empty, or a part is unknown.
    """
    if isinstance(parts, str) or not parts or set(parts) - set(known):
        raise ValueError(f"parts must be a list of some of {', '.join(known)}, got {parts!r}.")


def select_names(names: Sequence[str] | None, available: Iterable[str], where: str) -> list[str]:
    """Check a user's section names against those of a data set.

    Args:
        names: Section names in the desired order, or None for all, sorted.
        available: The names of all sections.
        where: The data set and its folder, for the error.

    Raises:
        TypeError: If ``names`` is one string instead of a sequence of them.
        UnknownSectionError: If a name is unknown, or the list is empty.
        ValueError: If a name is given twice, or the data set is empty.
    """
    known = sorted(available)
    if not known:
        raise ValueError(f"{where} has no sections.")
    if names is None:
        return known
    if isinstance(names, str):
        raise TypeError(f"names must be a sequence of section names, got the string {names!r}; give [{names!r}].")
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        listed = ", ".join(map(repr, unknown)) or "an empty list"
        raise UnknownSectionError(f"{where} has no section {listed}. Available: {', '.join(known)}.", known)
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise ValueError(f"names holds {', '.join(map(repr, twice))} more than once.")
    return list(names)
