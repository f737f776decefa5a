"""The files of a sample of HEST-1k: metadata, positions, the slide and its picture."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from _helpers.hest_sample import (
    HEIGHT,
    NAMES,
    POS,
    WIDTH,
    load,
    picture,
    write_counts,
    write_metadata,
    write_sample,
)
from numpy.typing import NDArray
from PIL import Image

from hist2st_pyg.section import SectionRecord


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_sample(tmp_path / "hest")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"pixel_size_um_estimated": None, "pixel_size_um_embedded": 0.5}, (0.5, 110)),
        ({"pixel_size_um_estimated": float("nan"), "pixel_size_um_embedded": -1}, (None, None)),
        ({"pixel_size_um_estimated": "0.25", "spot_diameter": None}, (0.25, None)),
    ],
)
def test_resolution(root: Path, values: dict[str, Any], expected: tuple[float | None, float | None]) -> None:
    write_metadata(root, **{"spot_diameter": 55, **values})
    section = load(root)
    assert (section.um_per_pixel, section.spot_diameter) == expected
    assert load(root, um_per_pixel=2).um_per_pixel == 2


def test_metadata(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for value in (None, float("nan"), ""):
        write_metadata(root, patient=value)
        assert load(root).record == SectionRecord("A", None, "unknown")
    assert load(root, patients="each_section").record == SectionRecord("A", "A", "each_section")
    path = write_metadata(root, spot_diameter="wide")
    with pytest.raises(ValueError, match=r"A\.json: spot_diameter must be a number, got 'wide'"):
        load(root)
    for text in ("{", "[]"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"A\.json"):
            load(root)
    path.unlink()
    section = load(root)
    assert section.um_per_pixel is section.spot_diameter is None
    assert "has no metadata: there is no file" in caplog.text


def columns(x: NDArray[np.float64], y: NDArray[np.float64], names: tuple[str, str]) -> pd.DataFrame:
    return pd.DataFrame({names[0]: x, names[1]: y}, index=NAMES)


@pytest.mark.parametrize("names", [("x_pixel", "y_pixel"), ("pxl_col_in_fullres", "pxl_row_in_fullres")])
def test_columns_of_obs(root: Path, names: tuple[str, str]) -> None:
    write_counts(root, obsm={}, obs=columns(*POS.T, names))
    np.testing.assert_array_equal(load(root).pos, POS)
    write_counts(root, obsm={}, obs=columns(*POS.T[::-1], names))
    with pytest.raises(ValueError, match="hest A: x and y look swapped"):
        load(root)
    np.testing.assert_array_equal(load(root, swap_xy=True).pos, POS)


def test_columns_beside_positions(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """obsm is read; that obs says otherwise is logged, and which is right is seen on the slide."""
    pair = ("x_pixel", "y_pixel")
    for x, y, message in (
        (*POS.T, ""),
        (
            *POS.T[::-1],
            "hest A: obs x_pixel, y_pixel has x and y swapped compared with obsm['spatial'], which is read",
        ),
        (*(POS.T + 5), "hest A: obs x_pixel, y_pixel differs from obsm['spatial'], which is read"),
    ):
        caplog.clear()
        write_counts(root, obs=columns(x, y, pair))
        np.testing.assert_array_equal(load(root).pos, POS)
        assert [record.message for record in caplog.records] == [message][: len(message)]
    write_counts(root, obsm={"spatial": POS[:, ::-1]}, obs=columns(*POS.T, pair))
    with pytest.raises(ValueError, match="hest A: x and y look swapped"):
        load(root)


def test_no_positions(root: Path) -> None:
    write_counts(root, obsm={})
    with pytest.raises(
        ValueError, match=r"A\.h5ad has no obsm\['spatial'\] .* no x_pixel, y_pixel: array_col, array_row"
    ):
        load(root)
    write_counts(root, obsm={"spatial": np.where(np.isin(POS, POS[3]), np.nan, POS)})
    with pytest.raises(
        ValueError,
        match=r"A\.h5ad: obsm\['spatial'\] must hold finite numbers of at most 1e\+09, got \[40\.0, nan\] for spot",
    ):
        load(root)
    write_counts(root, obsm={"spatial": np.column_stack([POS, POS])})
    with pytest.raises(ValueError, match=r"A\.h5ad: obsm\['spatial'\] .* got shape \[96, 4\]"):
        load(root)
    write_counts(root, obsm={}, obs=columns(np.array(["left"] * 96), POS[:, 1], ("x_pixel", "y_pixel")))
    with pytest.raises(ValueError, match=r"A\.h5ad: obs x_pixel, y_pixel must hold finite numbers"):
        load(root)


def test_slides(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    Image.fromarray(picture()).save(root / "wsis" / "A.png")
    with pytest.raises(ValueError, match=r"A\.png and .*A\.tif are slides of the same sample; keep one"):
        load(root)
    (root / "wsis" / "A.tif").unlink()
    assert load(root).require_image().size == (WIDTH, HEIGHT)
    (root / "wsis" / "A.png").unlink()
    assert load(root).image is None
    assert "hest A: the order of x and y is not checked" in caplog.text
    assert "hest A: there is no slide, so the section has no image" in caplog.text


def small_picture(factor: int = 2) -> dict[str, Any]:
    small = np.asarray(Image.fromarray(picture()).reduce(factor))
    scale = {"tissue_downscaled_fullres_scalef": 1 / factor, "spot_diameter_fullres": 7.5}
    return {"spatial": {"ST": {"images": {"downscaled_fullres": small}, "scalefactors": scale}}}


def test_picture_in_the_file(root: Path) -> None:
    """Without a slide the order is checked on the small picture that HEST keeps with the counts."""
    (root / "wsis" / "A.tif").unlink()
    write_counts(root, obsm={"spatial": POS[:, ::-1]}, uns=small_picture())
    with pytest.raises(ValueError, match="hest A: x and y look swapped"):
        load(root)
    write_metadata(root)
    assert load(root, swap_xy=True).spot_diameter == 7.5
    write_metadata(root, fullres_px_width=2 * WIDTH, fullres_px_height=2 * HEIGHT)
    write_counts(root, obsm={"spatial": 2 * POS}, uns=small_picture())
    assert len(load(root)) == 96


@pytest.mark.parametrize("suffix", [".ome.tif", ".TIF", ".btf"])
def test_the_slide_is_found_by_any_of_its_suffixes(root: Path, suffix: str) -> None:
    (root / "wsis" / "A.tif").rename(root / "wsis" / f"A{suffix}")
    assert load(root).require_image().size == picture().shape[1::-1]
