from __future__ import annotations

import errno
import fcntl
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from hist2st_pyg.training.lock import LOCK, run_lock


def hold(folder: Path) -> None:
    with run_lock(folder):
        pass


def test_one_at_a_time_and_the_other_is_told_who() -> None:
    folder = Path("new/run")
    with run_lock(folder):
        who = rf"process {os.getpid()} on {socket.gethostname()} since \d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d"
        with pytest.raises(BlockingIOError, match=rf"new/run is in use by {who}.*; wait until"):
            hold(folder)
        hold(Path("other"))
    hold(folder)
    assert (folder / LOCK).read_bytes() == b""


def test_what_a_killed_process_left_holds_nobody() -> None:
    Path("run").mkdir()
    Path("run", LOCK).write_text("process 1 on elsewhere since 2000-01-01T00:00:00\n" * 3)
    with run_lock(Path("run")):
        assert Path("run", LOCK).read_text().startswith(f"process {os.getpid()} on ")
        assert len(Path("run", LOCK).read_text().splitlines()) == 1


def test_a_file_system_without_locks_is_told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def none(*args: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", none)
    with run_lock(Path("run")):
        assert "run cannot be locked (No locks available): its file system has no locks" in caplog.text
