from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from _helpers.full_disk import REASON, full_disk

from hist2st_pyg.utils.files import atomic_path, write_text
from hist2st_pyg.utils.staging import locked, move_in, remove_unfinished, staged

WRITE_AND_WAIT = """
import sys, time
from hist2st_pyg.utils.staging import staged
with staged(sys.argv[1]) as folder:
    (folder / "half").write_text("half")
    print("writing", flush=True)
    time.sleep(600)
"""


def writer(path: Path) -> subprocess.Popen[str]:
    """A process in the middle of writing a file."""
    command = [sys.executable, "-c", WRITE_AND_WAIT, str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    return process


def test_the_next_writer_removes_what_a_killed_one_left_and_nothing_else(tmp_path: Path) -> None:
    mine = [tmp_path / name for name in (".file.txt", ".file.mine.txt", "unfinished-file.txt", ".other.unfinished-x")]
    for path in mine:
        path.write_text("")
    target = tmp_path / "file.txt"
    killed, running = writer(target), writer(target)
    try:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert len(list(tmp_path.glob(".file.txt.unfinished-*"))) == 2
        write_text(target, "whole")
        (left,) = tmp_path.glob(".file.txt.unfinished-*")
        assert (left / "half").read_text() == "half"  # of the running process
        assert all(path.exists() for path in mine)
    finally:
        running.kill()
        running.wait()
    remove_unfinished(tmp_path)
    remove_unfinished(tmp_path / "nowhere")
    assert set(tmp_path.iterdir()) == {target, *mine[:-1]}


def test_a_name_is_no_pattern(tmp_path: Path) -> None:
    (tmp_path / ".a.unfinished-x").mkdir()
    write_text(tmp_path / "*", "")
    assert (tmp_path / ".a.unfinished-x").exists()


def test_the_longest_name_that_a_file_may_have(tmp_path: Path) -> None:
    write_text(tmp_path / ("x" * 251 + ".txt"), "text")
    assert (tmp_path / ("x" * 251 + ".txt")).read_text() == "text"
    with pytest.raises(OSError, match=r"xxx\.txt cannot be written: File name too long\.$"):
        write_text(tmp_path / ("x" * 252 + ".txt"), "text")
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_is_named_and_the_former_file_stays(tmp_path: Path) -> None:
    with full_disk(tmp_path / "disk") as disk:
        write_text(disk / "file", "old")
        with pytest.raises(OSError, match=f"disk/file cannot be written: {REASON}\\.$"):
            write_text(disk / "file", "x" * 2**20)
        assert (disk / "file").read_text() == "old"
        assert [path.name for path in disk.iterdir()] == ["file"]


def test_what_is_staged_in_another_folder_is_named_by_its_place(tmp_path: Path) -> None:
    with full_disk(tmp_path / "disk") as disk:
        with (
            pytest.raises(OSError, match=f"^{disk}/model cannot be written: {REASON}\\.$"),
            staged(disk / "model") as f,
        ):
            write_text(f / "file", "x" * 2**20)
        assert not list(disk.iterdir())


def test_an_error_about_another_file_stays_as_it_is(tmp_path: Path) -> None:
    other = "No such file or directory: '/nowhere/file'"
    with pytest.raises(FileNotFoundError, match=other), atomic_path(tmp_path / "file"):
        Path("/nowhere/file").read_text()
    with pytest.raises(OSError, match=r"^not a gzip file$"), atomic_path(tmp_path / "file"):
        raise OSError("not a gzip file")


def test_a_file_in_the_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file/new cannot be written: there is a file where its folder has to be"):
        write_text(tmp_path / "file" / "new", "")


def test_a_folder_moves_in_over_what_another_process_wrote_meanwhile(tmp_path: Path) -> None:
    place = tmp_path / "place"
    for old in ("file", "folder", "another"):
        with staged(place) as folder:
            (folder / "new").mkdir()
            (folder / "new" / old).write_text("")
            if old == "file":
                place.write_text("")
            else:
                with pytest.raises(FileExistsError, match=r"process wrote .*place meanwhile; that output is kept"):
                    move_in(folder / "new", place, replace=False)
            move_in(folder / "new", place, replace=True)
        assert os.listdir(place) == [old]
    assert list(tmp_path.iterdir()) == [place]


def test_a_held_folder_is_waited_for(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from hist2st_pyg.utils.staging import locked\n"
        "print('ready', flush=True)\nwith locked(pathlib.Path(sys.argv[1])): print('held', flush=True)"
    )
    with locked(tmp_path):
        process = subprocess.Popen([sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        (tmp_path / "mine").write_text("")
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.2)
    assert process.communicate()[0] == "held\n"
