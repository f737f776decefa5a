"""Turn errors of reading a file into one that names it, and limit the size to which a file may unpack."""

from __future__ import annotations

import errno
import gzip
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

UNPACKED_BYTES = 2**29
"""Bytes to which any file may unpack; the environment variable ``HIST2ST_UNPACKED_GIB`` raises the limit."""

UNPACKED_RATIO = 500
"""Beyond that, a file may unpack to this many times its size; blank parts of a slide compress about 300 times."""

TEXT_RATIO = 100
"""The same for a compressed text; a table of counts compresses 5 to 80 times."""

UNPACKED_VARIABLE = "HIST2ST_UNPACKED_GIB"


@contextmanager
def reading(path: str | Path, kind: str) -> Iterator[None]:
    """Turn any error of a reader on a damaged or foreign file into a ValueError of one line that names the file.

    Codecs, HDF5, zarr, parquet and image libraries raise their own error classes and built-in ones.

    Args:
        path: The file, or the folder of a store.
        kind: What the file should be, after "not": ``"an image"``.

    Raises:
        ValueError: If the block raised any other error than those below.
        OSError: If the operating system could not read the file.
        MemoryError: If the file does not fit into memory; the message names it.
        ImportError: If the block raised one.
    """
    try:
        yield
    except ImportError:
        raise
    except MemoryError as error:
        raise MemoryError(f"{path} does not fit into memory: {_line(error)}") from error
    except OSError as error:
        if error.errno in (None, errno.EINVAL):  # not from the operating system: from a library, or an invalid seek
            raise _damaged(path, kind, error) from error
        if error.filename is not None or str(path) in str(error):
            raise
        raise type(error)(f"{path} cannot be read: {_line(error)}") from error
    except Exception as error:
        if isinstance(error, ValueError) and str(error).startswith(str(path)):
            raise
        raise _damaged(path, kind, error) from error


def _damaged(path: str | Path, kind: str, error: Exception) -> ValueError:
    return ValueError(f"{path} is damaged or not {kind}: {_line(error)}")


def _line(error: BaseException) -> str:
    """An error's first line, and the element that anndata's note names."""
    first = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    notes = " ".join(getattr(error, "__notes__", ()))
    element = re.search(r"key '([^']*)' of .* from (\S+)", f"{error} {notes}")
    return f"{element[2].rstrip('/')}/{element[1]}: {first}" if element else first


def check_unpacked(path: str | Path, packed: int, unpacked: int, ratio: int | None = None) -> None:
    """Refuse a file that claims an implausible unpacked size, before unpacking it.

    Args:
        path: The file.
        packed: Its size in bytes.
        unpacked: The unpacked size that it claims, in bytes.
        ratio: The largest ratio of ``unpacked`` to ``packed``; :data:`UNPACKED_RATIO` when None.

    Raises:
        ValueError: If ``unpacked`` is above :data:`UNPACKED_BYTES` and above ``ratio`` times ``packed``.
    """
    if unpacked > most_unpacked(packed, UNPACKED_RATIO if ratio is None else ratio):
        raise ValueError(
            f"{path} has {packed:,} bytes and unpacks to {unpacked / 2**30:,.1f} GiB or more; it is damaged or made to "
            f"fill memory. If it is correct, set {UNPACKED_VARIABLE} to the GiB that a file may unpack to."
        )


def most_unpacked(packed: int, ratio: int) -> int:
    """The number of bytes to which a file of a size may unpack.

    Raises:
        ValueError: If the environment variable is not a number.
    """
    given = os.environ.get(UNPACKED_VARIABLE)
    try:
        least = UNPACKED_BYTES if given is None else int(float(given) * 2**30)
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"The environment variable {UNPACKED_VARIABLE} must be a number of GiB, got {given!r}."
        ) from error
    return max(least, ratio * packed)


def unpacked_gzip(path: Path) -> Iterator[bytes]:
    """Unpack a gzip file in pieces, up to the bound of :func:`check_unpacked`.

    Raises:
        ValueError: If it unpacks to more, or is damaged.
    """
    packed = path.stat().st_size
    most, unpacked = most_unpacked(packed, TEXT_RATIO), 0
    with reading(path, "a gzip file"), gzip.open(path) as file:
        while unpacked <= most and (piece := file.read(2**20)):
            unpacked += len(piece)
            yield piece
    check_unpacked(path, packed, unpacked, TEXT_RATIO)


def check_gzip(path: Path) -> None:
    """Check a gzip file by unpacking it in pieces; raises as :func:`unpacked_gzip`."""
    for _ in unpacked_gzip(path):
        pass


def check_hdf5(path: str | Path, kind: str) -> None:
    """Refuse an HDF5 file whose arrays together unpack to more than the bound of :func:`check_unpacked`.

    Args:
        path: The file.
        kind: What it should be, for the error.

    Raises:
        ValueError: If they do, or the file is not HDF5.
    """
    import h5py

    unpacked = 0

    def add(_: str, element: object) -> None:
        nonlocal unpacked
        if isinstance(element, h5py.Dataset):
            unpacked += element.size * element.dtype.itemsize if element.shape is not None else 0

    with reading(path, kind), h5py.File(path, "r") as file:
        file.visititems(add)
    check_unpacked(path, Path(path).stat().st_size, unpacked)
