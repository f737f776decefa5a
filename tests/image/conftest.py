"""Fixtures of the tests of images."""

from __future__ import annotations

from pathlib import Path

import pytest
from _helpers.image_files import WRITERS, picture

from hist2st_pyg.image import HistologyImage, open_image


@pytest.fixture(params=["array", *WRITERS])
def any_image(request: pytest.FixtureRequest, tmp_path: Path) -> HistologyImage:
    """The picture in memory and in each kind of file."""
    if request.param == "array":
        return open_image(picture())
    WRITERS[request.param](tmp_path / request.param)
    return open_image(tmp_path / request.param)
