"""Matrices as Space Ranger writes them."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import pytest
from _helpers.spaceranger import write_h5, write_visium

from hist2st_pyg.io.tenx_matrix import read_counts

KEPT = [0, 1, 2, 3, 5]  # features that are no antibody


def test_named_matrix(tmp_path: Path) -> None:
    """10x Genomics' public data have the sample's name before the file's."""
    write_visium(tmp_path / "A")
    h5 = tmp_path / "A" / "filtered_feature_bc_matrix.h5"
    named = h5.rename(h5.with_name(f"V1_Brain_{h5.name}"))
    assert read_counts(tmp_path / "A")[0].n_vars == len(KEPT)
    shutil.copy(named, h5.with_name(f"V2_Brain_{h5.name}"))
    with pytest.raises(ValueError, match=r"A holds 2 matrices .*V1_Brain_.*V2_Brain_.*; keep one"):
        read_counts(tmp_path / "A")


def test_wrong_matrices(tmp_path: Path) -> None:
    made = write_visium(tmp_path / "A")
    h5 = tmp_path / "A" / "filtered_feature_bc_matrix.h5"
    with h5py.File(h5, "a") as file:
        del file["matrix/indptr"]
    with pytest.raises(ValueError, match=r"filtered_feature_bc_matrix\.h5 is not a matrix .*: it has no matrix/indptr"):
        read_counts(tmp_path / "A")
    h5.write_bytes(b"not HDF5")
    with pytest.raises(ValueError, match=r"filtered_feature_bc_matrix\.h5 is damaged or not a matrix of counts"):
        read_counts(tmp_path / "A")
    write_h5(h5, made.counts, made.barcodes)
    with h5py.File(h5, "a") as file:
        file["matrix/indices"][0] = 10**8
    with pytest.raises(ValueError, match=r"matrix\.h5 is damaged or not a matrix of counts .*: indices must be < "):
        read_counts(tmp_path / "A")
    write_h5(h5, made.counts, made.barcodes)
    with h5py.File(h5, "a") as file:
        file["matrix/features/feature_type"][...] = b"Antibody Capture"
    with pytest.raises(ValueError, match=r"matrix\.h5 has no feature of the type 'Gene Expression'"):
        read_counts(tmp_path / "A")


def test_wrong_mtx(tmp_path: Path) -> None:
    write_visium(tmp_path / "A", mtx=True)
    folder = tmp_path / "A" / "filtered_feature_bc_matrix"
    (folder / "matrix.mtx.gz").write_bytes(b"not gzip")
    with pytest.raises(ValueError, match=r"matrix\.mtx\.gz is damaged or not a gzip file"):
        read_counts(tmp_path / "A")
    (folder / "features.tsv.gz").unlink()
    with pytest.raises(FileNotFoundError, match=r"feature_bc_matrix has no features\.tsv\.gz; a matrix consists of"):
        read_counts(tmp_path / "A")
