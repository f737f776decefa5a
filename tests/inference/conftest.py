"""Slides and a model in a folder, and their prediction as a cohort."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from _helpers.cohorts import SLIDES
from _helpers.sage_model import model as tiny
from PIL import Image

from hist2st_pyg import Section
from hist2st_pyg.inference.cohort import CohortResult, predict_cohort


@pytest.fixture(scope="module")
def files(cohort: list[Section], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three slides and one that is cut off, and a model."""
    folder = tmp_path_factory.mktemp("slides")
    for section in cohort:
        image = section.require_image()
        with image.open() as region:
            Image.fromarray(region(0, 0, *image.size)).save(folder / f"{section.name}.png")
    (folder / "broken.png").write_bytes((folder / "A1.png").read_bytes()[:3000])
    tiny().save_pretrained(folder / "model")
    return folder


@pytest.fixture
def run(files: Path) -> Callable[..., CohortResult]:
    def call(*names: str, **options: Any) -> CohortResult:
        images = [files / f"{name}.png" for name in names or SLIDES]
        return predict_cohort(files / "model", images, "out", um_per_pixel=3.0, **options)

    return call
