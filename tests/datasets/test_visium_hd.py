from __future__ import annotations

import logging
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import scanpy
from _helpers.spaceranger import GENES, HIRES, write_bins, write_visium
from scipy.sparse import csr_matrix

from hist2st_pyg import Section, load_sections, to_data

KEPT = [0, 1, 2, 3, 5]  # features that are no antibody


def load(path: Path, **options: Any) -> Section:
    (section,) = load_sections("visium_hd", path, **options)
    return section


def write(folder: Path, um: int = 8, side: int = 8, spots: int = 40) -> tuple[np.ndarray[Any, Any], pd.DataFrame]:
    counts = np.random.default_rng(um).poisson(2, (spots, len(GENES)))
    return counts, write_bins(folder, counts, side, um=um)


def test_a_section(tmp_path: Path) -> None:
    counts, table = write(tmp_path / "crc" / "outs")
    section = load(tmp_path / "crc")
    inside = table[table["in_tissue"] == 1]
    assert (section.name, section.patient, section.image, len(section)) == ("crc", None, None, 40)
    assert list(section.adata.obs_names) == list(inside["barcode"])
    assert list(section.adata.var_names) == ["GAPDH", "TBCE", "ACTB", "TBCE-1", "KRT5"]
    np.testing.assert_array_equal(section.adata.X.toarray(), counts[:, KEPT])
    np.testing.assert_array_equal(section.pos, inside[["pxl_col_in_fullres", "pxl_row_in_fullres"]])
    np.testing.assert_array_equal(section.grid, inside[["array_col", "array_row"]])
    assert section.um_per_pixel == 2.0
    assert section.spot_diameter == 4.0
    assert section.adata.uns["spatial"]["crc"]["scalefactors"]["bin_size_um"] == 8
    assert load(tmp_path / "crc", um_per_pixel=1.5).um_per_pixel == 1.5


def test_bins(tmp_path: Path) -> None:
    for um, spots in ((2, 50), (8, 40), (16, 30)):
        write(tmp_path / "A", um, spots=spots)
    assert len(load(tmp_path / "A")) == 40
    for um, spots in ((2, 50), (16, 30)):
        section = load(tmp_path / "A", bin_um=um)
        assert (len(section), section.um_per_pixel) == (spots, um / 4)
        assert section.adata.obs_names[0].startswith(f"s_{um:03d}um_")
    with pytest.raises(
        FileNotFoundError, match=r"no .*square_004um for bin_um=4; .* square_002um, square_008um, square_016"
    ):
        load(tmp_path / "A", bin_um=4)
    for wrong in (0, "8"):
        with pytest.raises(ValueError, match=f"bin_um must be a whole number of µm, such as 8, got {wrong!r}"):
            load(tmp_path / "A", bin_um=wrong)


def test_hires(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    write(tmp_path / "A")
    full, hires = load(tmp_path / "A"), load(tmp_path / "A", image="hires")
    np.testing.assert_allclose(hires.pos, HIRES * full.pos)
    assert hires.um_per_pixel == 2.0 / HIRES
    assert hires.spot_diameter == 4.0 * HIRES
    scales = hires.adata.uns["spatial"]["A"]["scalefactors"]
    assert (scales["microns_per_pixel"], scales["bin_size_um"], scales["tissue_hires_scalef"]) == (
        2.0 / HIRES,
        8.0,
        1.0,
    )
    assert "A: positions are pixels of its hires image, 0.25 of full resolution" in caplog.text
    assert to_data(hires, ["GAPDH"], patch_size=4, k=4).x.shape == (40, 3, 4, 4)


def test_images_labels_patients(tmp_path: Path) -> None:
    _, table = write(tmp_path / "data" / "A")
    write(tmp_path / "data" / "B" / "outs")
    hires = tmp_path / "data" / "A" / "binned_outputs" / "square_008um" / "spatial" / "tissue_hires_image.png"
    (tmp_path / "A.csv").write_text(f"Barcode,Region\n{table['barcode'][0]},fat\n")
    options: dict[str, Any] = {"image": {"A": hires, "B": hires}, "patients": {"A": "P", "B": "P"}}
    a, b = load_sections("visium_hd", tmp_path / "data", **options)
    assert (a.name, a.patient, b.name, b.patient) == ("A", "P", "B", "P")
    assert b.require_image().size == (13, 10)
    section = load(tmp_path / "data" / "A", labels=tmp_path / "A.csv")
    assert section.label is not None
    assert list(section.label) == ["fat", *["undetermined"] * 39]


def test_many_bins(tmp_path: Path) -> None:
    """120,000 bins, as pandas and scanpy read them; no copy of the matrix is dense."""
    bins, genes = 120_000, 1000
    rng = np.random.default_rng(0)
    which = rng.integers(genes, size=4 * bins)
    counts = csr_matrix((rng.integers(1, 9, which.size), which, np.arange(0, which.size + 1, 4)), (bins, genes))
    counts.sum_duplicates()
    names = [*GENES, *(f"G{i}" for i in range(genes - len(GENES)))]
    write_bins(tmp_path / "A", counts, 350, genes=names)
    folder = tmp_path / "A" / "binned_outputs" / "square_008um"

    start = time.perf_counter()
    tracemalloc.start()
    section = load(tmp_path / "A")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    seconds = time.perf_counter() - start

    matrix = scanpy.read_10x_h5(folder / "filtered_feature_bc_matrix.h5")
    matrix.var_names_make_unique()
    assert section.adata.shape == (bins, genes - 1)
    assert list(section.adata.obs_names) == list(matrix.obs_names)
    assert list(section.adata.var_names) == list(matrix.var_names)
    assert (section.adata.X != matrix.X).nnz == 0
    table = pd.read_parquet(folder / "spatial" / "tissue_positions.parquet").set_index("barcode").loc[matrix.obs_names]
    np.testing.assert_array_equal(section.pos, table[["pxl_col_in_fullres", "pxl_row_in_fullres"]])
    np.testing.assert_array_equal(section.grid, table[["array_col", "array_row"]])
    assert peak < 0.25 * bins * genes * 4, f"{peak / 1e6:.0f} MB"
    assert seconds < 20  # measured: 1


def test_missing_parts(tmp_path: Path) -> None:
    write(tmp_path / "A")
    folder = tmp_path / "A" / "binned_outputs" / "square_008um"
    positions = folder / "spatial" / "tissue_positions.parquet"
    table = pd.read_parquet(positions)
    table.drop(columns="array_row").to_parquet(positions)
    with pytest.raises(
        ValueError, match=r"tissue_positions\.parquet lacks the columns array_row; it has barcode, in_tissue, array_col"
    ):
        load(tmp_path / "A")
    table.assign(array_row=table["array_row"].astype(float).where(table["array_row"] > 0)).to_parquet(positions)
    with pytest.raises(ValueError, match=r"tissue_positions\.parquet, line \d+: array_row must be a number, got 'nan'"):
        load(tmp_path / "A")
    positions.write_bytes(b"not parquet")
    with pytest.raises(ValueError, match=r"tissue_positions\.parquet is damaged or not a parquet table"):
        load(tmp_path / "A")
    positions.unlink()
    with pytest.raises(FileNotFoundError, match=r"_008um has no positions: .* nor spatial/tissue_positions\.parquet"):
        load(tmp_path / "A")
    table.to_parquet(positions)
    scales = folder / "spatial" / "scalefactors_json.json"
    scales.write_text('{"spot_diameter_fullres": 4, "tissue_hires_scalef": 0.1}')
    with pytest.raises(ValueError, match=r"factors_json\.json: microns_per_pixel must be a positive number, got None"):
        load(tmp_path / "A")
    (folder / "filtered_feature_bc_matrix.h5").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"square_008um has no counts: there is neither filtered_feature_bc_matrix"
    ):
        load(tmp_path / "A")


def test_other_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no folder .*absent"):
        load(tmp_path / "absent")
    write_visium(tmp_path / "A")
    with pytest.raises(FileNotFoundError, match=r"no binned_outputs in it, .*with the data set 'visium'"):
        load(tmp_path / "A")


def test_bins_are_no_spots(tmp_path: Path) -> None:
    """A folder of bins has all that a section of spots has, but the pitch is another."""
    write(tmp_path / "A")
    with pytest.raises(ValueError, match=r"square_008um has bins .*parent of binned_outputs with 'visium_hd'"):
        load_sections("visium", tmp_path / "A" / "binned_outputs")
