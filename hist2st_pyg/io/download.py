"""Downloads that resume, retry, and are checked against git's own hashes.

A library such as pooch checks files by hashes of their content and restarts an interrupted download. The hosts of these
data publish git's blob ids, which hash a file's length with its content, and files of 100 MB have to resume.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import logging
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from hist2st_pyg.utils.files import write_text
from hist2st_pyg.utils.progress import tqdm

logger = logging.getLogger(__name__)

MANIFEST = "MANIFEST.tsv"
HEADER = "path\tgit_blob_sha1"
TIMEOUT_SECONDS = 60.0  # seconds without a byte
ATTEMPTS = 4
PAUSE_SECONDS = 1.0  # seconds before the first repetition; doubled each time
CHUNK_BYTES = 1 << 20
DROPPED = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)


def git_blob_id(path: str | Path) -> str:
    """The id under which git stores a file: SHA-1 of ``blob <size>``, a zero byte, and the content.

    Args:
        path: The file.
    """
    path = Path(path)
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def fetch(url: str, path: str | Path, blob_id: str) -> None:
    """Download one file and check it; until then it is ``<name>.part``, from which a later call resumes.

    Args:
        url: The URL.
        path: The file to write.
        blob_id: Its git blob id.

    Raises:
        FileNotFoundError: If the server does not have it.
        ValueError: If the server's file has another id.
        ConnectionError: If the connection fails repeatedly or the server refuses; the part is kept.
    """

    def problem_of(part: Path) -> str | None:
        got = git_blob_id(part)
        return f"the file in the manifest: expected git blob {blob_id}, got {got}" if got != blob_id else None

    fetch_checked(url, Path(path), problem_of)


def fetch_checked(url: str, path: Path, problem_of: Callable[[Path], str | None]) -> None:
    """Download one file; until it is checked it is ``<name>.part``, from which a later call resumes.

    Args:
        url: The URL.
        path: The file to write.
        problem_of: Returns what a downloaded file should be and is not, for the error; None if it is correct.

    Raises:
        FileNotFoundError: If the server does not have it.
        ValueError: If the server's file is wrong; nothing is kept.
        ConnectionError: If the connection fails repeatedly or the server refuses; the part is kept.
    """
    part = path.with_name(f"{path.name}.part")
    if part.is_symlink():  # writing would follow it
        part.unlink()
    path.parent.mkdir(parents=True, exist_ok=True)
    resumed = part.exists()
    _fetch_part(url, part)
    problem = problem_of(part)
    if problem and resumed:
        logger.info("%s: the part of an earlier download does not match; starting again", path)
        part.unlink()
        _fetch_part(url, part)
        problem = problem_of(part)
    if problem:
        part.unlink()
        raise ValueError(f"{path}: {url} is not {problem}. Nothing was kept.")
    part.replace(path)


def fetch_all(root: Path, base_url: str, files: Mapping[str, str], *, overwrite: bool, progress: bool) -> None:
    """Download files into a folder; existing correct files are kept.

    Args:
        root: The folder.
        base_url: The URL to which the paths are appended.
        files: Path below the folder -> git blob id.
        overwrite: Replace files that differ.
        progress: Show a progress bar.

    Raises:
        ValueError: If a file exists with other content and ``overwrite`` is not set, a link leads out of the folder,
            or as :func:`fetch`.
    """
    missing: dict[str, str] = {}
    for path, blob_id in files.items():
        target = inside(root, path)
        if target.is_file() and git_blob_id(target) == blob_id:
            continue
        if target.exists() and not overwrite:
            raise ValueError(
                f"{target} differs from the manifest (expected git blob {blob_id}); move it, or overwrite."
            )
        missing[path] = blob_id
    logger.info("%d of %d files already exist", len(files) - len(missing), len(files))
    for path, blob_id in tqdm(missing.items(), desc="download", unit="file", disable=not progress):
        fetch(f"{base_url.rstrip('/')}/{quote(path)}", root / path, blob_id)


def inside(root: Path, path: str) -> Path:
    """The place of a file below a folder.

    Raises:
        ValueError: If a link in the folder leads out of it.
    """
    target = root / path
    if not target.parent.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"{target} would be written to {target.parent.resolve()}: a link leads out of {root}.")
    return target


def read_manifest(root: Path, manifest: str | Path | None, listing_url: str | None, folder: str) -> dict[str, str]:
    """Read the manifest; if there is none, make it from GitHub's tree listing and save it.

    Args:
        root: The folder of ``MANIFEST.tsv``.
        manifest: Another manifest to use instead.
        listing_url: GitHub's recursive tree listing of the commit; None if the files are not on GitHub.
        folder: Only files below this folder are listed.

    Returns:
        Path -> git blob id; empty if there is neither a manifest nor a listing.

    Raises:
        FileNotFoundError: If ``manifest`` does not exist, or the listing is not on the server.
        ValueError: If the manifest or listing is malformed, or a path leads out of the folder.
        ConnectionError: If the listing's server cannot be reached or refuses.
    """
    source = Path(manifest) if manifest is not None else root / MANIFEST
    if manifest is not None and not source.is_file():
        raise FileNotFoundError(f"There is no manifest {source}.")
    if source.is_file():
        return _parse(source.read_text(encoding="utf-8"), str(source))
    if listing_url is None:
        return {}
    text = "\n".join([HEADER, *(f"{path}\t{sha}" for path, sha in _listing(listing_url) if path.startswith(folder))])
    entries = _parse(text, listing_url)
    write_text(source, text + "\n")
    return entries


def _parse(text: str, source: str) -> dict[str, str]:
    header, *rows = text.splitlines() or [""]
    if header != HEADER or not rows:
        raise ValueError(f"{source} is not a manifest: a header (path, git_blob_sha1) and rows, got {header!r}.")
    entries: dict[str, str] = {}
    for number, row in enumerate(rows, start=2):
        path, _, sha = row.partition("\t")
        if len(sha) != 40 or not set(sha) <= set("0123456789abcdef"):
            raise ValueError(f"{source}, line {number}: a row must be a path, a tab and a git blob id, got {row!r}.")
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or "\\" in path or ":" in path:
            raise ValueError(f"{source}, line {number}: path {path!r} leads out of the folder.")
        entries[path] = sha
    return entries


def _listing(url: str) -> list[tuple[str, str]]:
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response:
            listing = json.load(response)
    except urllib.error.HTTPError as error:
        raise _refused(url, error) from error
    except DROPPED as error:
        raise ConnectionError(f"{url} cannot be reached: {error}. Try again later, or give a manifest.") from error
    except ValueError as error:
        raise ValueError(f"{url} is not a tree listing of GitHub: {error}. Give a manifest instead.") from error
    if not isinstance(listing, dict) or not isinstance(listing.get("tree"), list):
        raise ValueError(f"{url} is not a tree listing of GitHub: it has no list 'tree'. Give a manifest instead.")
    if listing.get("truncated"):
        raise ValueError(f"{url} is cut short by the server. Give a manifest instead.")
    return sorted((str(entry["path"]), str(entry["sha"])) for entry in listing["tree"] if entry.get("type") == "blob")


def _refused(url: str, error: urllib.error.HTTPError) -> OSError:
    kind = FileNotFoundError if error.code in (404, 410) else ConnectionError
    return kind(f"{url} returned {error.code} {error.reason}.")


def _fetch_part(url: str, part: Path) -> None:
    """Download the rest of ``part``, with repetitions."""
    for attempt in range(ATTEMPTS):
        try:
            _append(url, part)
            return
        except urllib.error.HTTPError as error:
            if error.code == 416:  # the part is as long as the file, or longer; its hash decides
                return
            if error.code < 500 and error.code != 429:
                raise _refused(url, error) from error
            problem: Exception = error
        except DROPPED as error:
            problem = error
        if attempt + 1 < ATTEMPTS:
            time.sleep(PAUSE_SECONDS * 2**attempt)
    raise ConnectionError(
        f"{url} failed {ATTEMPTS} times, last: {problem}. The downloaded part is kept in {part}; the next call "
        "resumes there."
    ) from problem


def _append(url: str, part: Path) -> None:
    start = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_SECONDS) as response:
        # A server that ignores the range sends the whole file (200); then start from zero.
        resumed = response.status == 206
        expected = response.headers.get("Content-Length")
        received = 0
        with part.open("ab" if resumed else "wb") as file:
            while chunk := response.read(CHUNK_BYTES):
                file.write(chunk)
                received += len(chunk)
    if expected is not None and received != int(expected):
        raise ConnectionError(f"received {received} of {expected} bytes")
