"""Fixtures shared by all tests."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from hist2st_pyg import Section, figures, load_sections

ROOT = Path(__file__).parents[1]

settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real sections; the test is skipped where it is absent."""
    folder = Path(os.environ.get("HIST2ST_DATA", ROOT.parent / "shared"))
    if not (folder / "her2st").is_dir():
        pytest.skip(f"no real data at {folder}; set HIST2ST_DATA to the folder that holds her2st")
    return folder


@pytest.fixture(scope="session")
def cohort() -> list[Section]:
    """Three small synthetic sections of two patients."""
    return load_sections("synthetic", names=["A1", "A2", "B1"], patients=2, spots=48, genes=20, noise_genes=4)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test runs in an empty folder of its own, without a wandb key or network."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """Watch a function of ``figures``, which still draws: the arguments of its last call, by name."""

    def watch(name: str) -> dict[str, Any]:
        draw, seen = getattr(figures, name), dict[str, Any]()

        def note(*given: Any, **options: Any) -> Any:
            seen.clear()
            seen.update(inspect.signature(draw).bind(*given, **options).arguments)
            return draw(*given, **options)

        monkeypatch.setattr(figures, name, note)
        return seen

    return watch
