from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from _helpers.hest_sample import (
    COLUMN,
    COUNTS,
    HEIGHT,
    NAMES,
    POS,
    ROW,
    SIDE,
    UM,
    WIDTH,
    cut,
    load,
    write_counts,
    write_metadata,
    write_patches,
    write_sample,
    write_slide,
)
from anndata import read_h5ad

from hist2st_pyg.data.preprocessing import to_data
from hist2st_pyg.datasets import load_sections
from hist2st_pyg.datasets.hest import is_dataset
from hist2st_pyg.image import FileImage
from hist2st_pyg.image.mosaic import PatchMosaic


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_sample(tmp_path / "hest")


def test_section(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    section = load(root)
    assert (section.name, section.patient, section.um_per_pixel) == ("A", "Patient 1", UM)
    assert section.spot_diameter == pytest.approx(55 / UM)
    np.testing.assert_array_equal(section.adata.X.toarray(), COUNTS)
    np.testing.assert_array_equal(section.pos, POS)
    np.testing.assert_array_equal(section.grid, np.column_stack([COLUMN, ROW]))
    assert isinstance(section.image, FileImage)
    assert section.image.path == root / "wsis" / "A.tif"
    (record,) = [record for record in caplog.records if "on tissue" in record.message]
    assert record.levelno == logging.INFO
    assert record.message.startswith("hest A: 100.0% of the spots are on tissue and 100.0% on the image, with x and y")


def test_several_samples(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("C", "B"):
        write_counts(root, name)
        write_slide(root, name)
    write_metadata(root, "B", patient="Patient 1", dataset_title="another study")
    write_metadata(root, "C", patient=3.0)
    sections = load_sections("hest", root)
    assert [(s.name, s.patient) for s in sections] == [("A", "Patient 1"), ("B", "Patient 1"), ("C", "3")]
    assert {s.patient_source for s in sections} == {"dataset"}
    assert "hest: several studies have a patient 'Patient 1'" in caplog.text
    caplog.clear()
    patients = {"A": "P", "B": "Q"}
    assert [s.patient for s in load_sections("hest", root, ["B", "A"], patients=patients)] == ["Q", "P"]
    assert "several studies" not in caplog.text
    with pytest.raises(ValueError, match="patients has no entry for section 'C'"):
        load_sections("hest", root, patients=patients)
    with pytest.raises(ValueError, match=r"Data set 'hest' in .* has no section 'D'\. Available: A, B, C"):
        load_sections("hest", root, ["D"])
    with pytest.raises(FileNotFoundError, match="absent is not in HEST's layout"):
        load_sections("hest", root / "absent")


def test_options(root: Path) -> None:
    obs = pd.DataFrame({"region": pd.Categorical(["tumor", None] * 48)}, index=NAMES)
    write_counts(root, X=np.log1p(COUNTS), layers={"raw": COUNTS}, obs=obs)
    section = load(root, label_key="region", counts_layer="raw")
    assert section.label is not None
    assert list(section.label[:2]) == ["tumor", "undetermined"]
    np.testing.assert_array_equal(section.adata.X, COUNTS)
    np.testing.assert_array_equal(section.grid, np.column_stack([COLUMN, ROW]))  # from the positions
    with pytest.raises(ValueError, match=r"A\.h5ad has no obs\['kind'\] for the labels"):
        load(root, label_key="kind", counts_layer="raw")


def test_swapped_positions_are_refused(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_counts(root, obsm={"spatial": POS[:, ::-1]})
    with pytest.raises(
        ValueError, match=r"hest A: x and y look swapped: \d\d\.\d% of the spots are on tissue"
    ) as error:
        load(root)
    x, y = POS[:, ::-1].T
    by_hand = ((x > 20) & (x < 330) & (y > 10) & (y < 210)).mean()
    assert f"{by_hand:.1%} of the spots are on tissue and {(y < HEIGHT).mean():.1%} on the image" in str(error.value)
    assert "swapped 100.0% and 100.0%. Set swap_xy=True to swap them, or swap_xy=False" in str(error.value)
    assert [record.levelno for record in caplog.records if "on tissue" in record.message] == [logging.WARNING]
    caplog.clear()
    np.testing.assert_array_equal(load(root, swap_xy=True).pos, POS)
    assert caplog.text == ""
    section = load(root, swap_xy=False)
    np.testing.assert_array_equal(section.pos, POS[:, ::-1][POS[:, 0] < HEIGHT])
    assert "of the spots are on tissue" in caplog.text
    assert "hest A: 8 of 96 spots are not on the slide (400 x 300 px) and are dropped" in caplog.text


def test_insisting_on_the_wrong_order_is_logged(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    section = load(root, swap_xy=True)
    dropped = int((POS[:, 0] >= HEIGHT).sum())
    assert len(section) == len(POS) - dropped > 0
    assert f"hest A: {dropped} of 96 spots are not on the slide (400 x 300 px) and are dropped" in caplog.text
    assert "with x and y as in the file 100.0% and 100.0%" in caplog.text


def test_no_spot_on_the_slide(root: Path) -> None:
    write_counts(root, obsm={"spatial": POS + 1000})
    with pytest.raises(ValueError, match=r"hest A: all 96 spots are not on the slide \(400 x 300 px\)"):
        load(root)


def test_patches_in_place_of_the_slide(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_patches(root)
    assert not isinstance(load(root).image, PatchMosaic)
    assert not isinstance(load(root, use_patches=False).image, PatchMosaic)
    assert isinstance(load(root, use_patches=True).image, PatchMosaic)
    whole = to_data(load(root), ["g0", "g1"], 8, patch_um=112.0)
    (root / "wsis" / "A.tif").unlink()
    assert load(root, use_patches=False).image is None
    caplog.clear()
    section = load(root)
    assert "hest A: the image is made of 96 patches of 16 px; beyond them it is white" in caplog.text
    image = section.require_image()
    assert isinstance(image, PatchMosaic)
    assert image.path == path
    assert image.um_per_pixel == section.um_per_pixel == UM
    # A field of view of a patch gives the patch's own pixels.
    data = to_data(section, ["g0", "g1"], 8, patch_um=112.0)
    np.testing.assert_array_equal(data.x.numpy(), cut()[0].transpose(0, 3, 1, 2))
    assert np.abs(data.x.numpy().astype(int) - whole.x.numpy()).mean() < 2
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"hest A: there are no patches .*patches/A\.h5"):
        load(root, use_patches=True)


def test_spots_without_a_patch(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    (root / "wsis" / "A.tif").unlink()
    images, corners = cut()
    order = np.random.default_rng(0).permutation(96)[:90]
    barcodes = np.array(NAMES, dtype="S")[order]
    path = write_patches(root, img=images[order], coords=corners[order], barcode=None, barcodes=barcodes)
    section = load(root)
    assert list(section.adata.obs_names) == [NAMES[i] for i in sorted(order)]
    np.testing.assert_array_equal(section.pos, POS[np.sort(order)])
    np.testing.assert_array_equal(section.adata.X.toarray(), COUNTS[np.sort(order)])
    assert "hest A: 6 of 96 spots have no patch in A.h5 and are dropped" in caplog.text
    write_patches(root, barcode=[f"x{name}" for name in NAMES])
    with pytest.raises(
        ValueError, match=rf"hest A: no spot is among the barcodes of {path}, such as 'x000-1'; .*'000-1'"
    ):
        load(root)


def test_patches_that_are_not_around_spots(root: Path) -> None:
    (root / "wsis" / "A.tif").unlink()
    _, corners = cut()
    write_patches(root, coords=corners[:, ::-1])
    with pytest.raises(ValueError, match=r"cut around spots with x and y swapped \(median .* Set swap_xy=True"):
        load(root)
    write_counts(root, obsm={"spatial": POS[:, ::-1]})
    write_patches(root)
    with pytest.raises(ValueError, match=r"cut around spots with x and y swapped .* Set swap_xy=True"):
        load(root)
    np.testing.assert_array_equal(load(root, swap_xy=True).pos, POS)
    write_counts(root)
    with pytest.raises(ValueError, match=r"cut around spots with x and y as in the file .* Set swap_xy=False"):
        load(root, swap_xy=True)
    write_patches(root, coords=POS.astype(int))  # their centers
    with pytest.raises(
        ValueError, match=r"A\.h5 are not around their spots \(median distance 8\.0 px, their side 16\.0 px"
    ):
        load(root)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"img": None}, "A.h5 has no img or imgs or images; it has barcode, coords"),
        ({"coords": None}, "A.h5 has no coords; it has barcode, img"),
        ({"barcode": None}, "A.h5 has no barcode or barcodes; it has coords, img"),
        ({"img": np.zeros((96, 8, 8, 3))}, r"A.h5: img must be uint8 \[M, P, P, 3\], got float64 \[96, 8, 8, 3\]"),
        ({"img": np.zeros((96, 8, 9, 3), np.uint8)}, r"got uint8 \[96, 8, 9, 3\]"),
        ({"img": np.zeros((0, 8, 8, 3), np.uint8)}, r"got uint8 \[0, 8, 8, 3\]"),
        ({"coords": np.zeros((95, 2))}, r"has 96 patches, coords \[95, 2\] and 96 barcodes"),
        ({"barcode": NAMES[1:]}, r"has 96 patches, coords \[96, 2\] and 95 barcodes"),
    ],
)
def test_malformed_patches(root: Path, changes: dict[str, Any], message: str) -> None:
    write_patches(root, **changes)
    with pytest.raises(ValueError, match=message):
        load(root, use_patches=True)


def test_patches_of_unknown_width(root: Path) -> None:
    path = write_patches(root)
    write_metadata(root, pixel_size_um_estimated=None)
    with pytest.raises(ValueError, match=r"A\.h5 does not state the width of its patches .* set um_per_pixel"):
        load(root, use_patches=True)
    assert load(root, use_patches=True, um_per_pixel=UM).um_per_pixel == UM
    write_patches(root, attrs={"patch_size_src": SIDE})
    image = load(root, use_patches=True).require_image()
    assert isinstance(image, PatchMosaic)
    assert (image.side, image.um_per_pixel) == (SIDE, None)
    path.write_bytes(b"no HDF5")
    with pytest.raises(ValueError, match=r"A\.h5 is damaged or not an HDF5 file of patches"):
        load(root, use_patches=True)


def test_spots_at_the_border_are_no_swap(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A spot beyond the right border would be on the image with x and y swapped, but the tissue says otherwise."""
    pos = np.concatenate([[[WIDTH + 2.0, 150]], POS[POS[:, 0] < HEIGHT]])
    rows = [NAMES[0], *(f"n{i}" for i in range(len(pos) - 1))]
    write_counts(root, X=np.ones((len(pos), 5)), obs=pd.DataFrame(index=rows), obsm={"spatial": pos})
    assert len(load(root)) == len(pos) - 1
    assert "1 of 89 spots are not on the slide" in caplog.text


def test_recognizes(root: Path, tmp_path: Path) -> None:
    assert is_dataset(root)
    assert not is_dataset(root / "st")
    assert not is_dataset(tmp_path)
    assert not is_dataset(tmp_path / "absent")
    assert not is_dataset(root / "st" / "A.h5ad")
    write_counts(tmp_path / "bare")
    assert not is_dataset(tmp_path / "bare")


def test_real_sample(real_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file whose x_pixel is the row: it is refused, and swapped it is the corrected one."""
    source = real_data / "sections" / "hest_like_lung"
    if not source.is_dir():
        pytest.skip(f"no HEST-like sample at {source}")
    for folder, suffix in (("st", "h5ad"), ("wsis", "jpg"), ("metadata", "json")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"NCBI858.{suffix}").symlink_to(source.resolve() / f"NCBI858.{suffix}")
    assert is_dataset(tmp_path)
    with pytest.raises(
        ValueError, match=r"hest NCBI858: x and y look swapped: .* swapped 99\.5% and 100\.0%\. Set swap_xy"
    ):
        load_sections("hest", tmp_path)
    (section,) = load_sections("hest", tmp_path, swap_xy=True)
    corrected = read_h5ad(source / "section.h5ad")
    assert list(section.adata.obs_names) == list(corrected.obs_names)
    np.testing.assert_array_equal(section.pos, corrected.obsm["spatial"])
    np.testing.assert_array_equal(section.adata.X, corrected.X.toarray())
    assert section.require_image().size == (1431, 1249)
    assert (section.patient, section.um_per_pixel, section.spot_diameter) == (None, None, None)
