from __future__ import annotations

from pathlib import Path

import anndata
import numpy as np
import pytest
from _helpers.full_disk import REASON, full_disk

from hist2st_pyg.utils.files import read_h5ad, write_h5ad


def test_what_is_written_is_what_anndata_writes(tmp_path: Path) -> None:
    adata = anndata.AnnData(np.random.default_rng(0).normal(size=(9, 4)).astype("f4"))
    adata.obs["word"] = ["a", "b", "c"] * 3
    adata.obs["word"] = adata.obs["word"].astype(object)
    adata.layers["sd"], adata.uns["list"] = adata.X, {"a": [1, 2]}
    write_h5ad(adata.copy(), tmp_path / "ours.h5ad")
    adata.write_h5ad(tmp_path / "theirs.h5ad", compression="gzip")
    ours, theirs = (read_h5ad(tmp_path / f"{name}.h5ad") for name in ("ours", "theirs"))
    np.testing.assert_array_equal(ours.X, theirs.X)
    np.testing.assert_array_equal(ours.layers["sd"], theirs.layers["sd"])
    assert ours.obs.equals(theirs.obs)
    assert ours.obs["word"].dtype == "category"
    assert list(ours.uns["list"]["a"]) == [1, 2]


def test_a_full_disk_is_one_error_and_nothing_else(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    adata = anndata.AnnData(np.random.default_rng(0).normal(size=(500, 100)))
    with full_disk(tmp_path / "disk") as disk:
        (disk / "a.h5ad").write_text("former")
        with pytest.raises(OSError, match=f"disk/a\\.h5ad cannot be written: {REASON}"):
            write_h5ad(adata, disk / "a.h5ad")
        assert (disk / "a.h5ad").read_text() == "former"
        assert len(list(disk.iterdir())) == 1
    assert capfd.readouterr().err == ""
