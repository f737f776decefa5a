"""How a command ends: by one line and a status, whatever goes wrong."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hist2st_pyg.cli import doctor, main

CALL = [sys.executable, "-W", "ignore", "-c", "import sys; from hist2st_pyg.cli import main; sys.exit(main())"]


def fails_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``hist2st doctor`` end with an error."""

    def build(parser: argparse.ArgumentParser, arguments: list[str]) -> object:
        def run(parsed: object) -> None:
            raise error

        return run

    monkeypatch.setattr(doctor, "build", build)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("section 'A' has no image"), "section 'A' has no image"),
        (ValueError("first\n  second\n\nthird"), "first second third"),
        (FileNotFoundError("There is no file x."), "There is no file x."),
        (TypeError("gnn is an instance"), "gnn is an instance"),
        (ImportError("Ray is not installed"), "Ray is not installed"),
        (ValueError(), "ValueError (--debug shows the traceback)"),
        (AttributeError("no attribute 'x'\nmore"), "AttributeError: no attribute 'x' (--debug shows the traceback)"),
        (IndexError("out of range"), "IndexError: out of range (--debug shows the traceback)"),
        (RuntimeError("\n\n torch said\nand said"), "RuntimeError: torch said (--debug shows the traceback)"),
        (KeyError("gene"), "KeyError: 'gene' (--debug shows the traceback)"),
        (RecursionError("too deep"), "RecursionError: too deep (--debug shows the traceback)"),
        (yaml.YAMLError("bad"), "YAMLError: bad (--debug shows the traceback)"),
        (AssertionError(), "AssertionError (--debug shows the traceback)"),
        (MemoryError(), "MemoryError: not enough memory (--debug shows the traceback)"),
        (MemoryError("5 GiB"), "MemoryError: not enough memory: 5 GiB (--debug shows the traceback)"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"), "'utf-8' codec can't decode byte 0xff in position 0: bad"),
    ],
)
def test_an_error_is_one_line_and_status_2(
    error: Exception, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fails_with(error, monkeypatch)
    assert main(["doctor"]) == 2
    assert capsys.readouterr().err == f"hist2st doctor: {line}\n"


@pytest.mark.parametrize("arguments", [["--debug", "doctor"], ["doctor", "--debug"]])
def test_debug_shows_the_traceback_before_the_line(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fails_with(KeyError("gene"), monkeypatch)
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("Traceback (most recent call last):")
    assert error.endswith("hist2st doctor: KeyError: 'gene' (--debug shows the traceback)\n")


def test_ctrl_c_has_status_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fails_with(KeyboardInterrupt(), monkeypatch)
    assert main(["doctor"]) == 130
    assert capsys.readouterr().err == "hist2st doctor: interrupted\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fly"], "hist2st: argument command: invalid choice: 'fly'"),
        ([], 'hist2st: expected "command" to be one of'),
        (["doctor", "--foo", "1"], "hist2st doctor: unrecognized arguments: --foo 1"),
        (["train", "--training.epoch", "3"], "hist2st train: unrecognized arguments: --training.epoch 3"),
        (["train", "--training.epochs", "many"], 'hist2st train: Parser key "training.epochs": Expected a'),
        (["train", "--config"], "hist2st train: argument --config: expected one argument"),
        (["predict"], "hist2st predict: the following arguments are required"),
    ],
)
def test_a_wrong_argument_is_one_line_without_the_usage(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    error = capsys.readouterr().err
    assert error.startswith(message)
    assert error.count("\n") == 1


def test_sigterm_has_status_143_and_removes_temporary_files(tmp_path: Path) -> None:
    # The command stops itself where an output is half written.
    code = (
        "import os, signal, sys\n"
        "from hist2st_pyg.cli import main, doctor\n"
        "from hist2st_pyg.utils.files import atomic_path\n"
        "def run(parsed):\n"
        "    with atomic_path('out.txt') as path:\n"
        "        path.write_text('half')\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        signal.pause()\n"
        "doctor.build = lambda parser, arguments: run\n"
        "sys.exit(main(['doctor']))\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (143, "")
    assert not list(tmp_path.iterdir())


def test_the_handler_of_sigterm_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    fails_with(KeyError("gene"), monkeypatch)
    main(["doctor"])
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_reader_that_goes_away_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*CALL, "doctor"], stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_the_help_names_debug(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "--debug" in capsys.readouterr().out
