from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import closing
from functools import partial
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from hist2st_pyg.utils.executors import EXECUTORS, Failed, local, log_to
from hist2st_pyg.utils.executors import ray as on_ray


def work(calls: list[int], item: str) -> tuple[int, int, str]:
    """What tells processes apart, and how often this one was called."""
    calls.append(1)
    if item == "raises":
        raise ValueError("this one cannot be done")
    if item == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    return os.getpid(), len(calls), item


CALLS: list[int] = []


def call(item: str) -> tuple[int, int, str]:
    return work(CALLS, item)


def report(folder: Path, item: str) -> None:
    log_to(folder / "logs" / f"{item}.txt")
    print(f"said by {item}")
    os.system("echo said by another program; echo and to the other end >&2")


def meet(folder: Path, item: str) -> int:
    """Come back when four are here, so never where one waits for the other's end."""
    (folder / item).touch()
    late = time.monotonic() + 120
    while len(list(folder.iterdir())) < 4:
        assert time.monotonic() < late, "the others do not come"
        time.sleep(0.01)
    return os.getpid()


def leave_a_trace(folder: Path, item: str) -> None:
    time.sleep(0.5)
    (folder / item).touch()


def test_every_executor_does_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_worker_niceness", "0")  # else its workers starve on a busy machine
    items = ["a", "raises", "b", "dies", "c"]
    for name, run in EXECUTORS.items():
        outcomes = dict(run(call, items))
        assert sorted(outcomes) == sorted(items), name
        assert [outcomes[item][2] for item in "abc"] == ["a", "b", "c"], name  # type: ignore[index]
        raised, died = outcomes["raises"], outcomes["dies"]
        assert isinstance(raised, Failed)
        assert raised.reason == "ValueError: this one cannot be done"
        assert raised.text.startswith("Traceback")
        assert raised.text.endswith(f"{raised.reason}\n")
        assert isinstance(died, Failed)
        assert ("The process ended with status -9." if name == "local" else "The worker ended: ") in died.reason
        assert died.text == f"{died.reason}\n"


def test_a_process_serves_many_items_or_one() -> None:
    results = [result for _, result in local(call, list("abcd"))]
    assert len({result[0] for result in results if not isinstance(result, Failed)}) == 1
    assert [result[1] for result in results if not isinstance(result, Failed)] == [1, 2, 3, 4]
    results = [result for _, result in local(call, list("abcd"), fresh=True)]
    assert len({result[0] for result in results if not isinstance(result, Failed)}) == 4
    assert [result[1] for result in results if not isinstance(result, Failed)] == [1, 1, 1, 1]


@pytest.mark.parametrize("gpu", [True, False])
def test_nothing_is_imported_before_the_fork_where_cuda_is(gpu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is imported may open CUDA's driver, which then fails in every process that is forked (seen on an H100)."""
    preloaded: list[list[str]] = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    monkeypatch.setattr(ForkServerContext, "set_forkserver_preload", lambda self, names: preloaded.append(names))
    assert [item for item, _ in local(call, ["a"])] == ["a"]
    assert preloaded == [[] if gpu else ["hist2st_pyg.utils.executors", call.__module__]]


def test_jobs_run_at_a_time(tmp_path: Path) -> None:
    outcomes = [result for _, result in local(partial(meet, tmp_path), list("abcd"), jobs=4)]
    assert not [result for result in outcomes if isinstance(result, Failed)]
    assert len(set(outcomes)) == 4


def test_what_is_not_waited_for_is_ended(tmp_path: Path) -> None:
    with closing(local(partial(leave_a_trace, tmp_path), list("abcd"))) as outcomes:
        assert next(outcomes) == ("a", None)
        time.sleep(0.1)
    with closing(local(partial(leave_a_trace, tmp_path), list("xy"), jobs=2)) as outcomes:
        next(outcomes)
    time.sleep(0.7)
    assert {path.name for path in tmp_path.iterdir()} <= {"a", "x", "y"}


def test_output_goes_to_a_file(tmp_path: Path) -> None:
    assert [result for _, result in local(partial(report, tmp_path), ["a", "b"])] == [None, None]
    for item in "ab":
        said = (tmp_path / "logs" / f"{item}.txt").read_text()
        assert set(said.splitlines()) == {f"said by {item}", "said by another program", "and to the other end"}


def test_wrong_input(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="jobs must be 1 or more, got 0"):
        next(local(call, ["a"], jobs=0))
    with pytest.raises(ValueError, match="gpus=1 needs the executor 'ray'"):
        next(local(call, ["a"], gpus=1))
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"pip install 'hist2st_pyg\[ray\]'"):
        next(on_ray(call, ["a"]))


SCRIPT = """from posixpath import basename
from hist2st_pyg.utils.executors import local
{}print(list(local(basename, ["a/b"])))
"""
GUARD = 'Put the call below `if __name__ == "__main__":` in a script file'


def test_a_script_without_main_guard_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "bare.py").write_text(SCRIPT.format(""))
    (tmp_path / "guarded.py").write_text(SCRIPT.format('if __name__ == "__main__": '))
    bare, guarded = (
        subprocess.run([sys.executable, name], cwd=tmp_path, capture_output=True, text=True, check=False)
        for name in ("bare.py", "guarded.py")
    )
    assert guarded.stdout == "[('a/b', 'b')]\n"
    assert bare.stdout == ""
    assert bare.stderr.splitlines()[-1].startswith(f"ValueError: {GUARD}")
    assert "bare.py)." in bare.stderr
    assert bare.stderr.count("Traceback") == 1  # and not those of the processes


def test_standard_input_is_no_script_that_a_process_imports() -> None:
    command = [sys.executable, "-"]
    ended = subprocess.run(command, input=SCRIPT.format(""), capture_output=True, text=True, check=False)
    assert ended.stderr.splitlines()[-1].startswith(f"ValueError: {GUARD}")
    assert "<stdin> is not a file" in ended.stderr
