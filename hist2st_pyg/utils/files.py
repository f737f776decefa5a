"""Read files with errors that name them, and write them so that a crash never leaves a partial one."""

from __future__ import annotations

import io
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from hist2st_pyg.utils.hdf5 import write_anndata
from hist2st_pyg.utils.reading import check_hdf5, reading, unpacked_gzip
from hist2st_pyg.utils.staging import staged

if TYPE_CHECKING:
    from anndata import AnnData
    from pandas import DataFrame


H5AD = "an AnnData file (.h5ad) that this version of anndata reads"


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path that takes the place of ``path`` when the block ends without an error.

    Args:
        path: The file to write; its folder is created.

    Raises:
        OSError: If it cannot be written; the message names it and the reason.
    """
    path = Path(path)
    with staged(path) as folder:
        temporary = folder / path.name
        temporary.touch()
        yield temporary
        # Some libraries make private files; give outputs the permissions of any new file.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` to ``path`` atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any, *, indent: int | None = 2) -> None:
    """Write ``value`` to ``path`` as JSON, atomically; numbers that are not finite become ``null``.

    Args:
        path: The file.
        value: Plain or numpy values.
        indent: Spaces of each level; None writes one line for each key of a dict, for files with long lists.
    """
    plain = _plain(value)
    if indent is None and isinstance(plain, dict):
        rows = (f"{json.dumps(key)}: {json.dumps(item, allow_nan=False)}" for key, item in plain.items())
        write_text(path, "{\n" + ",\n".join(rows) + "\n}\n")
    else:
        write_text(path, json.dumps(plain, indent=indent, allow_nan=False) + "\n")


def _plain(value: Any) -> Any:
    """Convert numpy values, paths, tuples and non-finite floats to JSON's types."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def read_bytes(path: str | Path) -> bytes:
    """Read a text file's bytes, unpacked if its name ends in ``.gz``.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If a packed file is damaged or unpacks to too much.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder, not a text file.")
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    return b"".join(unpacked_gzip(path)) if path.suffix == ".gz" else path.read_bytes()


def read_text(path: str | Path) -> str:
    """Read a UTF-8 text file, packed or not, with or without the byte-order mark that spreadsheets write.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file has another encoding, or as :func:`read_bytes`.
    """
    try:
        return io.TextIOWrapper(io.BytesIO(read_bytes(path)), "utf-8-sig").read()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file in UTF-8: {error}. Save it as UTF-8.") from error


class _UniqueKeys(yaml.SafeLoader):
    """Loads YAML without executing code, rejects duplicate keys, and reads ``1e-3`` as a number, as JSON does."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        node = super().compose_mapping_node(anchor)
        first: dict[Any, int] = {}
        for key, _ in node.value:
            name, line = (key.tag, str(key.value)), key.start_mark.line + 1
            if name in first:
                problem = f"duplicate key {key.value!r}, first in line {first[name]}"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            first[name] = line
        return node


_UniqueKeys.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
)


def parse_yaml(text: str, name: str) -> Any:
    """Parse a YAML text into plain values.

    Args:
        text: The text.
        name: The source of the text, a file for example, which errors name.

    Raises:
        ValueError: If the text is not YAML, holds a tag or a duplicate key; the message has one line and names the
            line of the text.
    """
    try:
        return yaml.load(text, Loader=_UniqueKeys)
    except yaml.MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark is not None else ""
        raise ValueError(f"{name}{line}: {error.problem}.") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{name} is not YAML: {' '.join(str(error).split())}.") from error


def dotted(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Iterate over the values of nested mappings by their keys, joined by dots.

    >>> list(dotted({"data": {"k": 4, "name": "her2st"}, "seed": 0}))
    [('data.k', 4), ('data.name', 'her2st'), ('seed', 0)]
    """
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from dotted(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Read a configuration file.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is not YAML, repeats a key or is not a mapping.
    """
    values = parse_yaml(read_text(path), str(path))
    if not isinstance(values, dict):
        raise ValueError(f"{path} must hold keys and values, got {type(values).__name__}.")
    return values


def read_h5ad(path: str | Path) -> AnnData:
    """Read an AnnData file.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is not an AnnData file, is damaged, or holds an element that a newer anndata wrote.
    """
    import anndata
    from scipy.sparse import issparse

    if not Path(path).is_file():
        raise FileNotFoundError(f"There is no file {path}.")
    check_hdf5(path, H5AD)
    with reading(path, H5AD):
        adata = anndata.read_h5ad(path)
        matrices = [adata.X, *adata.layers.values(), *([adata.raw.X] if adata.raw is not None else [])]
        for matrix in matrices:
            if issparse(matrix):
                matrix.check_format(full_check=True)  # an index out of range would crash compiled code
        return adata


def write_h5ad(adata: AnnData, path: str | Path) -> None:
    """Write an AnnData atomically."""
    with atomic_path(path) as temporary:
        write_anndata(adata, temporary)


def read_parquet(path: str | Path) -> DataFrame:
    """Read a parquet table.

    Raises:
        ValueError: If the file is not parquet.
    """
    import pandas as pd

    with reading(path, "a parquet table"):
        return pd.read_parquet(path)
