"""Download gzip files from servers that publish no hashes.

A file is checked by its git blob id if a manifest has it, else by the checksum and the length in the gzip file itself
and by the length that the server states.
"""

from __future__ import annotations

import gzip
import logging
import shutil
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from hist2st_pyg.io.download import CHUNK_BYTES, DROPPED, TIMEOUT_SECONDS, _refused, fetch_checked, git_blob_id
from hist2st_pyg.utils.files import atomic_path
from hist2st_pyg.utils.progress import tqdm

logger = logging.getLogger(__name__)

PACKED_SUFFIX = ".gz"


def fetch_packed(
    root: Path,
    base_url: str,
    paths: Iterable[str],
    unpacked: Iterable[str] = (),
    blob_ids: Mapping[str, str] | None = None,
    *,
    overwrite: bool = False,
    progress: bool = True,
) -> None:
    """Download gzip files into one folder; existing correct files are kept.

    An unpacked file counts as existing; it can be checked only by its git blob id.

    Args:
        root: The folder.
        base_url: The URL to which the paths are appended.
        paths: Paths on the server, ending in ``.gz``; a file keeps its name without the folders.
        unpacked: Those of ``paths`` that are stored unpacked.
        blob_ids: File name (packed or unpacked) -> git blob id, where known.
        overwrite: Replace files that differ.
        progress: Show a progress bar.

    Raises:
        FileNotFoundError: If the server does not have a file.
        ValueError: If an existing file differs and ``overwrite`` is not set, or if the server's file is damaged.
        ConnectionError: If the connection fails repeatedly; the next call resumes there.
    """
    unpack, known = set(unpacked), blob_ids or {}
    for path in tqdm(list(paths), desc="download", unit="file", disable=None if progress else True):
        packed = root / PurePosixPath(path).name
        plain = packed.with_suffix("")
        url = f"{base_url.rstrip('/')}/{quote(path)}"
        if _is_there(plain, known.get(plain.name), None, overwrite):
            continue
        here = _is_there(packed, known.get(packed.name), url, overwrite)
        if not here:
            fetch_gzip(url, packed, known.get(packed.name))
        if path in unpack:
            _unpack(packed, plain, known.get(plain.name))
            if not here:
                packed.unlink()
        else:
            plain.unlink(missing_ok=True)  # the unpacked file that differed


def fetch_gzip(url: str, path: str | Path, blob_id: str | None = None) -> None:
    """Download one gzip file and check it; until then it is ``<name>.part``, from which a later call resumes.

    Args:
        url: The URL.
        path: The file to write.
        blob_id: Its git blob id, where known.

    Raises:
        FileNotFoundError: If the server does not have it.
        ValueError: If the server's file is not a complete gzip file, or has another id.
        ConnectionError: If the connection fails repeatedly or the server refuses; the part is kept.
    """

    def problem_of(part: Path) -> str | None:
        problem = _difference(part, blob_id) or _damage(part)
        return f"the expected file: {problem}" if problem else None

    fetch_checked(url, Path(path), problem_of)


def _is_there(path: Path, blob_id: str | None, url: str | None, overwrite: bool) -> bool:
    """Whether a file exists and is correct; raises an error if it differs and may not be replaced."""
    if not path.exists():
        return False
    wrong = _difference(path, blob_id)
    if wrong is None and blob_id is None and url is not None:
        size, expected = path.stat().st_size, _length(url)
        wrong = f"{size} bytes, the server's {expected}" if expected not in (None, size) else _damage(path)
    if wrong is None:
        return True
    if not overwrite:
        raise ValueError(f"{path} differs from the server's file or the manifest ({wrong}); move it, or overwrite.")
    return False


def _unpack(packed: Path, plain: Path, blob_id: str | None) -> None:
    with atomic_path(plain) as temporary:
        with gzip.open(packed) as source, temporary.open("wb") as target:
            shutil.copyfileobj(source, target, CHUNK_BYTES)
        if wrong := _difference(temporary, blob_id):
            raise ValueError(f"{packed} holds another file than the manifest's {plain.name}: {wrong}; move it.")


def _difference(path: Path, blob_id: str | None) -> str | None:
    """How a file differs from the manifest; None if it does not, or the manifest lacks it."""
    if blob_id is None or (got := git_blob_id(path)) == blob_id:
        return None
    return f"expected git blob {blob_id}, got {got}"


def _damage(path: Path) -> str | None:
    """The problem of a gzip file that does not match its own checksum and length; None if it does."""
    if path.stat().st_size == 0:
        return "it is not a complete gzip file (it is empty)"
    try:
        with gzip.open(path) as file:
            while file.read(CHUNK_BYTES):
                pass
    except (OSError, EOFError, zlib.error) as error:
        return f"it is not a complete gzip file ({error})"
    return None


def _length(url: str) -> int | None:
    """The length of a file in bytes as the server states it, else None."""
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity"}, method="HEAD")
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
            length = response.headers.get("Content-Length")
    except urllib.error.HTTPError as error:
        raise _refused(url, error) from error
    except DROPPED as error:
        raise ConnectionError(f"{url} cannot be reached: {error}. Try again later.") from error
    return None if length is None else int(length)
