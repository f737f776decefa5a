"""Packages that may be missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version


@contextmanager
def require_extra(what: str, package: str, extra: str) -> Iterator[None]:
    """Around the import of an optional package: where it is missing, the error says what to install.

    Args:
        what: What needs the package, at the start of the error.
        package: The package, as users know it.
        extra: The extra of ``setup.cfg`` that brings it.

    Raises:
        ImportError: If the package cannot be imported.
    """
    try:
        yield
    except ImportError as error:
        raise ImportError(
            f"{what} needs {package} ({error}): pip install 'hist2st_pyg[{extra}]'.", name=error.name
        ) from error


def installed_version(name: str) -> str | None:
    """A package's version; None where it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
