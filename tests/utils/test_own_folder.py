"""Only what was made here is replaced."""

from __future__ import annotations

from pathlib import Path

import pytest

from hist2st_pyg.utils.own_folder import replace_earlier


def test_an_earlier_one_is_replaced_and_a_new_one_made() -> None:
    folder = Path("a/b")
    replace_earlier(folder, ".made", "demo")
    (folder / "old.txt").touch()
    replace_earlier(folder, ".made", "demo")
    assert [path.name for path in folder.iterdir()] == [".made"]


def test_an_empty_folder_is_taken() -> None:
    Path("empty").mkdir()
    replace_earlier(Path("empty"), ".made", "demo")
    assert Path("empty/.made").is_file()


@pytest.mark.parametrize("what", ["run", "file", "link"])
def test_anything_else_stays(what: str) -> None:
    Path("run").mkdir()
    Path("run/summary.json").write_text("{}")
    Path("run/notes.txt").write_text("mine")
    Path("file").write_text("mine")
    replace_earlier(Path("made"), ".made", "demo")
    Path("link").symlink_to("made")
    with pytest.raises(FileExistsError, match=rf"^{what} was not made by an earlier demo .* choose another folder"):
        replace_earlier(Path(what), ".made", "demo")
    assert Path("run/notes.txt").read_text() == Path("file").read_text() == "mine"
    assert Path("made/.made").is_file()
