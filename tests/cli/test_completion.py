from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hist2st_pyg.cli import COMMANDS, main
from hist2st_pyg.cli.completion import SHELLS
from hist2st_pyg.nn import CONVS


def test_without_the_package_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 2
    assert "pip install 'hist2st_pyg[completion]'" in capsys.readouterr().err


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_knows_commands_and_keys(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    shtab = pytest.importorskip("shtab")
    assert shell in shtab.SUPPORTED_SHELLS
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert all(command in script for command in COMMANDS)
    assert "training.epochs" in script
    assert all(layer in script for layer in CONVS)


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_a_value(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("shtab")
    main(["completion", "bash"])
    Path("script").write_text(capsys.readouterr().out)
    commands = (
        "source ./script\n"
        "COMP_WORDS=(hist2st train --model.gnn ga)\n"
        "COMP_CWORD=3\n"
        "complete=$(complete -p hist2st | sed 's/.*-F \\([^ ]*\\).*/\\1/')\n"
        "$complete\n"
        'echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", commands], capture_output=True, text=True, check=True)
    assert done.stdout == "gat gatv2\n"
