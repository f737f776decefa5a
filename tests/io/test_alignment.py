"""Positions against the picture: which order of x and y is right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from _helpers.hest_sample import (
    HEIGHT,
    POS,
    WIDTH,
    picture,
)

from hist2st_pyg.datasets import load_sections
from hist2st_pyg.io.alignment import in_order, placement


def test_order_by_a_picture(caplog: pytest.LogCaptureFixture) -> None:
    image = picture()
    truth = np.zeros((HEIGHT, WIDTH), dtype=bool)
    truth[10:210, 20:330] = True
    assert placement(np.array([[30.0, 30], [350, 250], [-1, 5], [30, 299.9]]), truth, (WIDTH, HEIGHT)) == placement(
        np.array([[60.0, 60], [700, 500], [-1, 5], [60, 599.9]]), truth, (2 * WIDTH, 2 * HEIGHT)
    )
    place = placement(np.array([[30.0, 30], [350, 250], [-1, 5], [30, 299.9]]), truth, (WIDTH, HEIGHT))
    assert (place.on_image, place.on_tissue) == (0.75, 0.25)
    # Where nothing stands out only the border tells.
    plain = np.full((HEIGHT, WIDTH, 3), 200, dtype=np.uint8)
    with pytest.raises(ValueError, match="x and y look swapped"):
        in_order(POS[:, ::-1], plain, (WIDTH, HEIGHT), None, "it")
    inside = POS[POS[:, 0] < HEIGHT]
    np.testing.assert_array_equal(in_order(inside[:, ::-1], plain, (WIDTH, HEIGHT), None, "it"), inside[:, ::-1])
    # A few spots are no evidence, but worth a warning.
    caplog.clear()
    few = np.concatenate([np.tile([[100.0, 100.0]], (200, 1)), [[100.0, 250.0]] * 4])
    np.testing.assert_array_equal(in_order(few, image, (WIDTH, HEIGHT), None, "it"), few)
    assert "it: 98.0% of the spots are on tissue and 100.0% on the image, with x and y swapped 100.0%" in caplog.text


def test_real_sections_are_in_order(real_data: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No real section is taken for swapped, and all are noticed when they are."""
    sections = load_sections("her2st", real_data / "her2st", ["C2", "C3", "C4"])
    folder = real_data / "sections"
    sections += load_sections("anndata", folder) if folder.is_dir() else []
    caplog.clear()
    for section in sections:
        image = section.require_image()
        small = image.thumbnail(512)
        in_order(section.pos, small, image.size, None, section.name)
        assert caplog.text == ""
        with pytest.raises(ValueError, match=f"{section.name}: x and y look swapped"):
            in_order(section.pos[:, ::-1], small, image.size, None, section.name)
        assert section.name in caplog.text
        caplog.clear()
