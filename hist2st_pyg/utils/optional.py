"""Optional packages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version


@contextmanager
def require_extra(what: str, package: str, extra: str) -> Iterator[None]:
    """Wrap the import of an optional package; if it is missing, the error says what to install.

    Args:
        what: The feature that needs the package.
        package: The package's usual name.
        extra: The extra of ``setup.cfg`` that installs it.

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
    """A package's version; None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
