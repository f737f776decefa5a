"""What a cohort's prediction came to."""

from __future__ import annotations

from pathlib import Path

from hist2st_pyg.inference.cohort import CohortResult

SLIDES = ("A1", "A2", "B1")


def outcomes(result: CohortResult) -> dict[str, str]:
    return {slide.name: slide.outcome for slide in result.slides}


def names(folder: str = "out") -> set[str]:
    return {path.name for path in Path(folder).iterdir()}


def times() -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in Path("out").glob("*.*")}
