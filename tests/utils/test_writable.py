from __future__ import annotations

from pathlib import Path

import pytest

from hist2st_pyg.utils.writable import check_file, check_folder


def test_what_can_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("former")
    (tmp_path / "folder").mkdir()
    for path in ("file", "new", "deep/new", "folder/new"):
        check_file(tmp_path / path)
    for path in ("folder", "new", "deep/new"):
        check_folder(tmp_path / path)
    check_file(None)
    check_folder(None)
    assert {path.name for path in tmp_path.rglob("*")} == {"file", "folder"}
    assert (tmp_path / "file").read_text() == "former"


def test_what_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    Path("folder").mkdir()
    for path, message in (
        ("", r"--output is empty; it must be a file\."),
        ("folder", r"--output is a folder, folder; it must be a file\."),
        ("new/", r"--output is a folder, new/; it must be a file\."),
        ("file/x", r"file/x cannot be written: there is a file where its folder has to be\."),
        ("/proc/x", r"/proc/x cannot be written: "),
        ("x" * 256, r"x cannot be written: File name too long\."),
    ):
        with pytest.raises((ValueError, OSError), match=message):
            check_file(path)
    for path, message in (
        ("", r"--figures is empty; it must be a folder\."),
        ("file", r"file cannot be written: there is a file where its folder has to be\."),
        ("/proc/x/y", r"/proc/x/y cannot be written: "),
    ):
        with pytest.raises((ValueError, OSError), match=message):
            check_folder(path)
