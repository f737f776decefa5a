from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from _helpers.local_server import Quiet, serving

from hist2st_pyg.datasets import her2st
from hist2st_pyg.io import download
from hist2st_pyg.io.download import MANIFEST, fetch, fetch_all, git_blob_id, read_manifest

CONTENT = bytes(range(256)) * 64


def blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class Server:
    """A web server whose manners the tests choose."""

    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    cut: int = 0  # this many answers stop half way
    busy: int = 0  # this many answers are 503
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    state = Server()

    class Handler(Quiet, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.asked.append((self.path, wanted))
            if self.path not in state.files or state.busy:
                state.busy = max(0, state.busy - 1)
                self.send_error(503 if self.path in state.files else 404)
                return
            content, start = state.files[self.path], 0
            if wanted and state.ranges:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                if start >= len(content):
                    self.send_error(416)
                    return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            body = content[start:]
            if state.cut:
                state.cut -= 1
                body = body[: len(body) // 2]
            self.wfile.write(body)

    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.0)
    with serving(Handler, monkeypatch) as state.url:
        yield state


def test_blob_id_is_gits(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    (tmp_path / "hello").write_bytes(b"hello\n")
    assert git_blob_id(tmp_path / "file") == blob_id(CONTENT)
    assert git_blob_id(tmp_path / "hello") == "ce013625030ba8dba906f756967f9e9ca394464a"  # documented by git


def test_blob_id_agrees_with_git(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    try:
        git = subprocess.run(["git", "hash-object", "file"], cwd=tmp_path, capture_output=True, text=True, check=True)
    except FileNotFoundError:
        pytest.skip("git is not installed")
    assert git_blob_id(tmp_path / "file") == git.stdout.strip()


def test_fetch(server: Server, tmp_path: Path) -> None:
    server.files["/a"] = CONTENT
    fetch(f"{server.url}/a", tmp_path / "deep" / "a", blob_id(CONTENT))
    assert (tmp_path / "deep" / "a").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a"]


@pytest.mark.parametrize("ranges", [True, False])
def test_resume(server: Server, tmp_path: Path, ranges: bool) -> None:
    server.files["/a"], server.ranges = CONTENT, ranges
    (tmp_path / "a.part").write_bytes(CONTENT[:1000])
    fetch(f"{server.url}/a", tmp_path / "a", blob_id(CONTENT))
    assert server.asked == [("/a", "bytes=1000-")]
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_resume_of_a_complete_part(server: Server, tmp_path: Path) -> None:
    server.files["/a"] = CONTENT
    (tmp_path / "a.part").write_bytes(CONTENT)
    fetch(f"{server.url}/a", tmp_path / "a", blob_id(CONTENT))
    assert (tmp_path / "a").read_bytes() == CONTENT


@pytest.mark.parametrize("stale", [b"something else", CONTENT + b"and more"])
def test_stale_part_is_given_up(server: Server, tmp_path: Path, stale: bytes) -> None:
    server.files["/a"] = CONTENT
    (tmp_path / "a.part").write_bytes(stale)
    fetch(f"{server.url}/a", tmp_path / "a", blob_id(CONTENT))
    assert (tmp_path / "a").read_bytes() == CONTENT
    assert server.asked[-1] == ("/a", None)


def test_cut_connection_is_resumed(server: Server, tmp_path: Path) -> None:
    server.files["/a"], server.cut = CONTENT, 2
    fetch(f"{server.url}/a", tmp_path / "a", blob_id(CONTENT))
    assert (tmp_path / "a").read_bytes() == CONTENT
    half = len(CONTENT) // 2
    assert [wanted for _, wanted in server.asked] == [None, f"bytes={half}-", f"bytes={half + half // 2}-"]


def test_cut_too_often_keeps_the_part(server: Server, tmp_path: Path) -> None:
    server.files["/a"], server.cut = CONTENT, download.ATTEMPTS
    with pytest.raises(ConnectionError, match=rf"/a failed {download.ATTEMPTS} times.*received \d+ of.*a\.part"):
        fetch(f"{server.url}/a", tmp_path / "a", blob_id(CONTENT))
    kept = (tmp_path / "a.part").read_bytes()
    assert kept
    assert CONTENT.startswith(kept)
    assert not (tmp_path / "a").exists()
    fetch(f"{server.url}/a", tmp_path / "a", blob_id(CONTENT))
    assert server.asked[-1] == ("/a", f"bytes={len(kept)}-")
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_busy_server(server: Server, tmp_path: Path) -> None:
    server.files["/a"], server.busy = CONTENT, 2
    fetch(f"{server.url}/a", tmp_path / "a", blob_id(CONTENT))
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_no_server(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match="failed 4 times"):
        fetch("http://127.0.0.1:9/a", tmp_path / "a", blob_id(CONTENT))


@pytest.mark.parametrize("resumed", [False, True])
def test_wrong_content(server: Server, tmp_path: Path, resumed: bool) -> None:
    server.files["/a"] = b"x" + CONTENT[1:]
    if resumed:
        (tmp_path / "a.part").write_bytes(b"xyz")
    with pytest.raises(ValueError, match=rf"expected git blob {blob_id(CONTENT)}, got {blob_id(server.files['/a'])}"):
        fetch(f"{server.url}/a", tmp_path / "a", blob_id(CONTENT))
    assert list(tmp_path.iterdir()) == []
    assert len(server.asked) == 1 + resumed


def test_missing_on_the_server(server: Server, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"{server.url}/a returned 404"):
        fetch(f"{server.url}/a", tmp_path / "a", blob_id(CONTENT))
    assert len(server.asked) == 1


def test_files_that_are_there(server: Server, tmp_path: Path) -> None:
    server.files = {"/data/a": b"new", "/data/b": b"b", "/data/c%20d": b"c"}
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "b").write_bytes(b"b")
    files = {"data/a": blob_id(b"new"), "data/b": blob_id(b"b"), "data/c d": blob_id(b"c")}
    fetch_all(tmp_path, server.url, files, overwrite=False, progress=False)
    assert [path for path, _ in server.asked] == ["/data/a", "/data/c%20d"]

    (tmp_path / "data" / "a").write_bytes(b"mine")
    with pytest.raises(ValueError, match=r"a differs from the manifest .*move it, or overwrite"):
        fetch_all(tmp_path, server.url, files, overwrite=False, progress=False)
    assert (tmp_path / "data" / "a").read_bytes() == b"mine"
    fetch_all(tmp_path, server.url, files, overwrite=True, progress=False)
    assert (tmp_path / "data" / "a").read_bytes() == b"new"


def listing(**changes: object) -> bytes:
    tree = [
        {"path": "data", "type": "tree", "sha": "0" * 40},
        {"path": "data/b", "type": "blob", "sha": "b" * 40},
        {"path": "data/a", "type": "blob", "sha": "a" * 40},
        {"path": "README.md", "type": "blob", "sha": "c" * 40},
    ]
    return json.dumps({"tree": tree, "truncated": False, **changes}).encode()


def test_manifest_from_listing(server: Server, tmp_path: Path) -> None:
    server.files["/tree?recursive=1"] = listing()
    expected = {"data/a": "a" * 40, "data/b": "b" * 40}
    assert read_manifest(tmp_path, None, f"{server.url}/tree?recursive=1", "data/") == expected
    assert (tmp_path / MANIFEST).read_text() == f"path\tgit_blob_sha1\ndata/a\t{'a' * 40}\ndata/b\t{'b' * 40}\n"
    assert read_manifest(tmp_path, None, "http://nowhere.invalid/", "data/") == expected
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        (None, FileNotFoundError, "tree returned 404"),
        (listing(truncated=True), ValueError, "cut short"),
        (b"<html>", ValueError, "not a tree listing"),
        (b"[]", ValueError, "not a tree listing"),
        (listing(tree=[]), ValueError, "not a manifest"),
        (listing(tree=[{"path": "data/../../x", "type": "blob", "sha": "a" * 40}]), ValueError, "leads out"),
    ],
)
def test_bad_listing(server: Server, tmp_path: Path, body: bytes | None, error: type[Exception], message: str) -> None:
    if body is not None:
        server.files["/tree"] = body
    with pytest.raises(error, match=message):
        read_manifest(tmp_path, None, f"{server.url}/tree", "data/")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "data/../../x", "data\\..\\x", "C:x"])
def test_manifest_paths_stay_inside(tmp_path: Path, path: str) -> None:
    (tmp_path / MANIFEST).write_text(f"path\tgit_blob_sha1\n{path}\t{'a' * 40}\n")
    with pytest.raises(ValueError, match=r"line 2: path .* leads out of the folder"):
        read_manifest(tmp_path, None, "unused", "data/")


def test_malformed_manifest(tmp_path: Path) -> None:
    (tmp_path / "m").write_text("file\tsha\n")
    with pytest.raises(ValueError, match=r"m is not a manifest: .* got 'file\\tsha'"):
        read_manifest(tmp_path, tmp_path / "m", "unused", "data/")
    (tmp_path / "m").write_text("path\tgit_blob_sha1\ndata/a\tabc\n")
    with pytest.raises(ValueError, match=r"line 2: a row must be a path, a tab and a git blob id, got 'data/a\\tabc'"):
        read_manifest(tmp_path, tmp_path / "m", "unused", "data/")
    with pytest.raises(FileNotFoundError, match="no manifest"):
        read_manifest(tmp_path, tmp_path / "absent", "unused", "data/")


def test_her2st_download(server: Server, tmp_path: Path) -> None:
    paths = [
        *(f"data/ST-cnts/{name}.tsv.gz" for name in ("C1", "C2")),
        *(f"data/ST-spotfiles/{name}_selection.tsv" for name in ("C1", "C2")),
        "data/ST-imgs/C/C2/5714_HE.jpg",
        "data/ST-pat/lbl/C1_labeled_coordinates.tsv",
        "data/ST-pat/lbl/README",
    ]
    contents = {path: path.encode() for path in paths}
    server.files = {f"/base/{path}": content for path, content in contents.items()}
    tree = [{"path": path, "type": "blob", "sha": blob_id(content)} for path, content in contents.items()]
    server.files["/tree"] = json.dumps({"tree": tree, "truncated": False}).encode()

    def download(sections: list[str] | None, parts: list[str]) -> list[str]:
        server.asked.clear()
        her2st.download(
            tmp_path,
            sections,
            parts,
            base_url=f"{server.url}/base/",
            listing_url=f"{server.url}/tree",
            progress=False,
        )
        return [path.removeprefix("/base/") for path, _ in server.asked if path != "/tree"]

    assert download(["C2"], ["counts", "spots"]) == [paths[1], paths[3]]
    assert download(["C2"], list(her2st.PARTS)) == [paths[4]]
    assert download(None, list(her2st.PARTS)) == [paths[0], paths[5], paths[2]]
    assert all((tmp_path / path).read_bytes() == contents[path] for path in paths[:-1])
    with pytest.raises(ValueError, match=r"manifest has no section 'Z9'. Available: C1, C2"):
        download(["Z9"], ["counts"])
    with pytest.raises(ValueError, match="parts must be a list of some of counts, spots, images, labels, got"):
        download(None, ["pictures"])


def test_real_files_match_their_manifest(real_data: Path) -> None:
    root = real_data / "her2st"
    entries = read_manifest(root, None, "unused", "data/")
    present = [path for path in entries if (root / path).is_file() and "/C" in path]
    assert len(present) > 5
    assert {path: git_blob_id(root / path) for path in present} == {path: entries[path] for path in present}


def test_a_link_in_the_folder_does_not_lead_out_of_it(server: Server, tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "data").mkdir(parents=True)
    outside.mkdir()
    server.files = {"/data/imgs/a": CONTENT, "/data/b": CONTENT}
    (root / "data" / "imgs").symlink_to(outside)
    with pytest.raises(ValueError, match=r"root/data/imgs/a would be written to .*outside: a link leads out of .*root"):
        fetch_all(root, server.url, {"data/imgs/a": blob_id(CONTENT)}, overwrite=True, progress=False)
    (outside / "kept").write_text("mine")
    (root / "data" / "b.part").symlink_to(outside / "kept")
    (root / "data" / "b").symlink_to(outside / "kept")
    fetch_all(root, server.url, {"data/b": blob_id(CONTENT)}, overwrite=True, progress=False)
    assert (root / "data" / "b").read_bytes() == CONTENT
    assert {path.name: path.read_text() for path in outside.iterdir()} == {"kept": "mine"}
    (tmp_path / "linked").symlink_to(root)  # the folder itself may be a link
    fetch_all(tmp_path / "linked", server.url, {"data/b": blob_id(CONTENT)}, overwrite=False, progress=False)
