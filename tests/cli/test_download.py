"""``hist2st download``."""

from __future__ import annotations

import pytest

from hist2st_pyg.cli import main
from hist2st_pyg.datasets import her2st


def test_download_passes_its_arguments_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, object] = {}

    def download(root: str, sections: list[str] | None = None, overwrite: bool = False, progress: bool = True) -> None:
        seen.update(root=root, sections=sections, overwrite=overwrite)

    monkeypatch.setattr(her2st, "download", download)
    assert main(["download", "her2st", "--root", "here", "--sections", "[C2, C3]"]) == 0
    assert seen == {"root": "here", "sections": ["C2", "C3"], "overwrite": False}


def test_download_of_a_data_set_that_has_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["download", "synthetic", "--root", "here"]) == 2
    assert "Data set 'synthetic' has no download; these have: cscc, her2st." in capsys.readouterr().err
