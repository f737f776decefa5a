"""Read sections: one module of this folder is one data set.

A module has ``load(root, names=None, **options) -> list[Section]`` and may have ``paper_panel(root) -> list[str]``,
``download(root, ...)``, and ``is_dataset(root: Path) -> bool``, whose docstring says what it looks for. It is found by
its file name and imported when it is used, so a new data set is one new file.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, get_type_hints

from hist2st_pyg.io.names import UnknownSectionError
from hist2st_pyg.section import Section
from hist2st_pyg.utils.array_places import grid_from_positions
from hist2st_pyg.utils.bounds import is_positive
from hist2st_pyg.utils.resolver import resolve

__all__ = [
    "DATASETS",
    "Loader",
    "detect_dataset",
    "detect_datasets",
    "download",
    "downloader",
    "grid_from_positions",
    "load_sections",
    "paper_panel",
    "section_names",
]

Loader = Callable[..., list[Section]]

GENERAL = ("anndata",)
"""Formats whose files also lie in folders of other data sets; they are chosen only if no other is recognized."""


def _module(dataset: str) -> ModuleType:
    return import_module(f"{__name__}.{dataset}")


def _load(dataset: str, /, *args: Any, **options: Any) -> list[Section]:
    sections: list[Section] = _module(dataset).load(*args, **options)
    return sections


DATASETS: dict[str, Loader] = {
    name: partial(_load, name) for name in sorted(module.name for module in iter_modules(__path__)) if name[0] != "_"
}
"""Every data set's key and its loader; the module is imported when the loader is called."""


def load_sections(
    dataset: str, root: str | Path | None = None, names: Sequence[str] | None = None, **options: Any
) -> list[Section]:
    """Load sections of a data set.

    Args:
        dataset: One of :data:`DATASETS`.
        root: The data set's folder or file; not needed for ``"synthetic"``.
        names: The sections wanted, in this order; all, sorted by name, when None.
        options: The reader's own options; see ``load`` in ``hist2st_pyg.datasets.<dataset>``.

    Raises:
        FileNotFoundError: If the data do not exist.
        TypeError: If the reader has no such option.
        ValueError: If the data set or a section is unknown, the root is missing, or a file is malformed.

    >>> sections = load_sections("synthetic", names=["A1", "B1"], spots=16)
    >>> [(section.name, section.patient, section.adata.n_obs) for section in sections]
    [('A1', 'A', 16), ('B1', 'B', 16)]
    """
    loader = resolve(DATASETS, dataset, "dataset")
    parameters = inspect.signature(_module(dataset).load).parameters
    known = [name for name in parameters if name not in ("root", "names")]
    for option in options:
        if option not in known:
            raise TypeError(
                f"Data set {dataset!r} has no option {option!r}; its options: {', '.join(known) or 'none'}."
            )
    scale = options.get("um_per_pixel")
    if scale is not None and not is_positive(scale):
        raise ValueError(f"um_per_pixel must be a positive number or None (unknown), got {scale!r}.")
    if root is None and parameters["root"].default is inspect.Parameter.empty:
        raise ValueError(f"Data set {dataset!r} is read from files: set root, the folder that holds them.")
    return loader(root, names, **options)


def absolute_options(dataset: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Make the paths among a reader's options absolute if they exist, also those in mappings.

    Args:
        dataset: One of :data:`DATASETS`.
        options: The reader's own options; others than paths are returned unchanged.

    Raises:
        ValueError: If there is no such data set.
    """
    resolve(DATASETS, dataset, "dataset")
    hints = get_type_hints(_module(dataset).load)

    def absolute(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: absolute(path) for name, path in value.items()}
        return str(Path(value).absolute()) if isinstance(value, str | Path) and Path(value).exists() else value

    return {name: absolute(value) if "Path" in str(hints.get(name)) else value for name, value in options.items()}


def section_names(dataset: str, root: str | Path | None = None, **options: Any) -> list[str]:
    """List the names of a data set's sections without reading the sections.

    Args:
        dataset: One of :data:`DATASETS`.
        root: The data set's folder or file.
        options: The reader's own options.

    Raises:
        As :func:`load_sections`.
    """
    try:
        sections = load_sections(dataset, root, [], **options)
    except UnknownSectionError as error:  # a reader raises it for an empty list of names, before it reads anything
        return error.available
    return [section.name for section in sections]


def detect_datasets(root: str | Path) -> list[str]:
    """The data sets that recognize a file or folder, by names of files alone.

    Args:
        root: The file or folder.

    Raises:
        FileNotFoundError: If it does not exist.
    """
    root = Path(root)
    if not root.exists():
        raise FileNotFoundError(f"There is no file or folder {root}.")
    fitting = [name for name in DATASETS if (is_dataset := _detector(name)) is not None and is_dataset(root)]
    return [name for name in fitting if name not in GENERAL] or fitting


def detect_dataset(root: str | Path) -> str:
    """Find the data set whose ``is_dataset`` recognizes a file or folder.

    ``"anndata"``, whose files may lie beside those of any other, is chosen only if no other is recognized.

    Args:
        root: The file or folder.

    Returns:
        A key of :data:`DATASETS`.

    Raises:
        FileNotFoundError: If it does not exist.
        ValueError: If no data set recognizes it, or more than one does; the message says what each looks for.
    """
    found = detect_datasets(root)
    if len(found) > 1:
        raise ValueError(f"{root} looks like {' and like '.join(map(repr, found))}; say which data set it is.")
    if not found:
        known = {name: is_dataset for name in DATASETS if (is_dataset := _detector(name)) is not None}
        looked_for = "".join(f"\n  {name}: {_looked_for(is_dataset)}" for name, is_dataset in known.items())
        raise ValueError(f"{root} is not recognized as data. Recognized are{looked_for}")
    return found[0]


def _detector(dataset: str) -> Callable[[Path], bool] | None:
    is_dataset: Callable[[Path], bool] | None = getattr(_module(dataset), "is_dataset", None)
    return is_dataset


def _looked_for(is_dataset: Callable[[Path], bool]) -> str:
    """What a recognizer looks for: the first line of its docstring, "Whether this is ..."."""
    line = (inspect.getdoc(is_dataset) or "see its module").partition("\n")[0]
    return line.removeprefix("Whether ").removeprefix("this is ").removesuffix(".")


def paper_panel(dataset: str, root: str | Path) -> list[str]:
    """The published gene panel of a data set, in the order in which the published checkpoints predict it.

    Args:
        dataset: One of :data:`DATASETS`.
        root: The data set's folder.

    Raises:
        FileNotFoundError: If the folder lacks the panel's file.
        ValueError: If the data set is unknown or has no published panel.
    """
    resolve(DATASETS, dataset, "dataset")
    read = getattr(_module(dataset), "paper_panel", None)
    if read is None:
        raise ValueError(
            f"Data set {dataset!r} has no published gene panel; use panel 'variable', or name a file with one gene per "
            "line."
        )
    genes: list[str] = read(root)
    return genes


def downloader(dataset: str) -> Callable[..., None]:
    """The function ``(root, **options)`` that downloads a data set into a folder.

    Args:
        dataset: One of :data:`DATASETS`.

    Raises:
        ValueError: If the data set is unknown or cannot be downloaded.
    """
    resolve(DATASETS, dataset, "dataset")
    fetch: Callable[..., None] | None = getattr(_module(dataset), "download", None)
    if fetch is None:
        raise ValueError(f"Data set {dataset!r} has no download; these have: {', '.join(downloadable())}.")
    return fetch


def downloadable() -> list[str]:
    """The data sets that :func:`download` can fetch."""
    return [name for name in DATASETS if hasattr(_module(name), "download")]


def download(dataset: str, root: str | Path, **options: Any) -> None:
    """Download a data set into a folder.

    Args:
        dataset: One of :data:`DATASETS`.
        root: The folder, created where needed.
        options: The data set's own options; see ``download`` in ``hist2st_pyg.datasets.<dataset>``.

    Raises:
        ValueError: If the data set is unknown or cannot be downloaded.
    """
    downloader(dataset)(root, **options)
