"""What ``hist2st doctor`` says of a whole installation and of a broken one."""

from __future__ import annotations

import sys
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from hist2st_pyg.cli import main
from hist2st_pyg.cli.doctor import DEVELOPERS


def test_every_package_of_the_metadata_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    required = requires("hist2st_pyg") or []
    assert all(Requirement(r).name in out for r in required if not any(f'extra == "{e}"' in r for e in DEVELOPERS))
    assert "does not load" not in out
    assert "sums over neighbors: torch" in out
    assert "threads" in out


def test_a_missing_package_has_its_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hist2st_pyg.cli.doctor.installed_version", lambda name: None)
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "  scanpy is missing: pip install 'scanpy'\n" in out
    assert "  ray is missing (optional: ray): pip install 'hist2st_pyg[ray]'\n" in out
    assert "hypothesis" not in out


def test_a_package_that_does_not_load_is_said_with_its_error(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "gseapy.py").write_text("raise OSError('undefined symbol: _ZN3c10\\nmore')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "gseapy", raising=False)
    assert main(["doctor"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "gseapy" in line]
    assert "(optional: pathways) does not load, OSError: undefined symbol: _ZN3c10: pip install" in line


def test_a_version_below_the_bound_is_said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hist2st_pyg.cli.doctor.installed_version", lambda name: "0.0.1")
    assert main(["doctor"]) == 0
    assert "  scanpy 0.0.1 does not satisfy >=1.10.3: pip install 'scanpy'\n" in capsys.readouterr().out
