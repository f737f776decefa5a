"""A section of a Spatial Transcriptomics array: counts and spots are joined by place."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from _helpers.her2st_files import SPOTS, write_section

from hist2st_pyg.datasets import load_sections


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_section(tmp_path / "clone")


def test_dropped_spots_are_logged(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    spots = root / "data" / "ST-spotfiles" / "A1_selection.tsv"
    spots.write_text(SPOTS.replace("3901.0\t1", "3901.0\t0").replace("12\t14\t", "13\t14\t"))
    (section,) = load_sections("her2st", root)
    assert list(section.adata.obs_names) == ["10x13", "10x14"]
    (record,) = [record for record in caplog.records if "dropped" in record.message]
    assert record.levelno == logging.WARNING
    assert record.message == (
        "her2st A1: 3 of 5 spots dropped: 1 not selected, 1 selected but without counts, "
        "1 with counts but not in the spot file"
    )
    assert any("1 spots are not in A1_labeled_coordinates.tsv" in record.message for record in caplog.records)


def test_spots_without_neighbors_have_no_scale(root: Path) -> None:
    spots = "".join(line for line in SPOTS.splitlines(keepends=True) if not line.startswith(("10\t13", "11")))
    (root / "data" / "ST-spotfiles" / "A1_selection.tsv").write_text(spots)
    (section,) = load_sections("her2st", root)
    assert len(section) == 2
    assert section.um_per_pixel is None
    assert section.spot_diameter is None


def test_files_that_do_not_belong_together(root: Path) -> None:
    path = root / "data" / "ST-spotfiles" / "A1_selection.tsv"
    path.write_text("x\ty\tpixel_x\tpixel_y\tselected\n1\t1\t5\t5\t1\n")
    with pytest.raises(ValueError, match=r"A1\.tsv and .*A1_selection\.tsv share no selected spot"):
        load_sections("her2st", root)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"no file .*A1_selection\.tsv"):
        load_sections("her2st", root)
