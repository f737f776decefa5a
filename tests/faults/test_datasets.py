"""Data sets that are wrong, damaged or incomplete: refused by the file and what is wrong in it."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from _helpers.faults import Case, adata, case, check, cut, drop, edit, hdf5, json_file, put, rows
from scipy.sparse import csr_matrix

HER, CNT, SEL = "info her --dataset her2st", "her/data/ST-cnts/A1.tsv", "her/data/ST-spotfiles/A1_selection.tsv"
LBL = "her/data/ST-pat/lbl/A1_labeled_coordinates.tsv"
CSCC, STD = "info cscc --dataset cscc", "cscc/GSM4284316_P2_ST_rep1_stdata.tsv.gz"
SPT = "cscc/GSM4284316_spot_data-selection-P2_ST_rep1.tsv.gz"
VIS, H5, POS = (
    "info visium --dataset visium",
    "visium/filtered_feature_bc_matrix.h5",
    "visium/spatial/tissue_positions.csv",
)
SCL = "visium/spatial/scalefactors_json.json"
HD, BINS = "info hd --dataset visium_hd", "hd/binned_outputs/square_008um"
ANN, HEST = "info ann --dataset anndata", "info hest --dataset hest"


def set_to(key: str, value: object):  # type: ignore[no-untyped-def]
    """HDF5: a data set with another value."""

    def change(file):  # type: ignore[no-untyped-def]
        del file[key]
        file[key] = value

    return change


def obsm(value: object):  # type: ignore[no-untyped-def]
    def change(read):  # type: ignore[no-untyped-def]
        read.obsm["spatial"] = value

    return change


CASES: list[Case] = [
    case("her2st: no counts", HER, r"ST-cnts|her\b", drop("her/data/ST-cnts")),
    case("her2st: no section", HER, r"her.*no sections", drop(CNT)),
    case("her2st: no spots", HER, r"A1_selection\.tsv", drop(SEL)),
    case("her2st: counts empty", HER, r"A1\.tsv", put(CNT)),
    case("her2st: header alone", HER, r"A1\.tsv", put(CNT, "\tGENE1\tGENE2\n")),
    case("her2st: counts of text", HER, r"A1\.tsv.*10x14.*GENE1.*many", edit(CNT, "10x14\t5", "10x14\tmany")),
    case("her2st: counts below 0", HER, r"A1\.tsv.*10x14.*GENE1.*-5", edit(CNT, "10x14\t5", "10x14\t-5")),
    case("her2st: counts with a fraction", HER, r"A1\.tsv.*10x14.*GENE1.*5\.5", edit(CNT, "10x14\t5", "10x14\t5.5")),
    case("her2st: counts not finite", HER, r"A1\b.*(inf|finite)", edit(CNT, "10x14\t5", "10x14\tinf")),
    case("her2st: counts missing", HER, r"A1\.tsv.*10x14.*GENE1", edit(CNT, "10x14\t5", "10x14\t")),
    case("her2st: counts beyond floats", HER, r"A1\b.*(1e300|finite|10x14)", edit(CNT, "10x14\t5", "10x14\t1e300")),
    case("her2st: short row", HER, r"A1\.tsv", edit(CNT, "10x14\t5\t1\t0", "10x14\t5")),
    case("her2st: long row", HER, r"A1\.tsv", edit(CNT, "10x14\t5\t1\t0", "10x14\t5\t1\t0\t8\t9")),
    case("her2st: a gene twice", HER, r"A1\.tsv.*GENE1", edit(CNT, "GENE2", "GENE1")),
    case("her2st: a gene without a name", HER, r"A1\.tsv.*gene", edit(CNT, "GENE2", "")),
    case("her2st: a spot twice", HER, r"A1\.tsv.*10x13", edit(CNT, "11x13", "10x13")),
    case("her2st: a spot of another name", HER, r"A1\.tsv.*barcode", edit(CNT, "11x13", "barcode")),
    case("her2st: commas", HER, r"A1\.tsv", edit(CNT, "\t", ",")),
    case("her2st: counts in UTF-16", HER, r"A1\.tsv", put(CNT, "\tG\n1x1\t1\n".encode("utf-16"))),
    case("her2st: packed, cut", HER, r"A1\.tsv\.gz", drop(CNT), put(CNT + ".gz", gzip.compress(b"\tG\n" * 99)[:30])),
    case("her2st: packed, no gzip", HER, r"A1\.tsv\.gz", drop(CNT), put(CNT + ".gz", "text")),
    case("her2st: packed and not", HER, r"A1\.tsv.*A1\.tsv\.gz", put(CNT + ".gz", gzip.compress(b"\tG\n1x1\t1\n"))),
    case("her2st: spots of text", HER, r"A1_selection\.tsv.*here", edit(SEL, "60.0", "here")),
    case("her2st: spots without a column", HER, r"A1_selection\.tsv.*pixel_x", edit(SEL, "pixel_x", "px")),
    case("her2st: spots empty", HER, r"A1_selection\.tsv", put(SEL)),
    case("her2st: a place twice", HER, r"A1_selection\.tsv.*10x13", edit(SEL, "11\t13", "10\t13")),
    case("her2st: selected of 2", HER, r"A1_selection\.tsv.*selected", edit(SEL, "60.0\t60.0\t1", "60.0\t60.0\t2")),
    case("her2st: no spot in common", HER, r"A1", put(SEL, "x\ty\tpixel_x\tpixel_y\n1\t1\t9\t9\n")),
    case("her2st: labels without a column", HER, r"labeled_coordinates\.tsv.*label", edit(LBL, "\tlabel", "\ttext")),
    case("her2st: labels of a place twice", HER, r"labeled_coordinates\.tsv", edit(LBL, "11.1\t12.8", "10.02\t13.21")),
    case("her2st: two images", HER, r"ST-imgs", lambda: Path("her/data/ST-imgs/A/A1/b.png").write_bytes(b"")),
    case("her2st: section", f"{HER} --sections [B7]", r"'B7'.*A1"),
    case("cscc: no counts", CSCC, r"cscc", drop(STD)),
    case("cscc: no spots", CSCC, r"selection|spot", drop(SPT)),
    case("cscc: cut", CSCC, r"stdata\.tsv\.gz", cut(STD)),
    case("cscc: counts below 0", CSCC, r"stdata\.tsv\.gz.*10x14.*-5", edit(STD, "10x14\t5", "10x14\t-5")),
    case("cscc: a gene twice", CSCC, r"stdata\.tsv\.gz.*GENE1", edit(STD, "GENE2", "GENE1")),
    case("cscc: spots of text", CSCC, r"selection.*here", edit(SPT, "60.0", "here")),
    case("cscc: no gzip", CSCC, r"stdata\.tsv\.gz", put(STD, "text")),
    case("visium: no counts", VIS, r"filtered_feature_bc_matrix", drop(H5)),
    case("visium: no positions", VIS, r"tissue_positions", drop(POS)),
    case("visium: no scale factors", VIS, r"scalefactors_json", drop(SCL)),
    case("visium: counts of text", VIS, r"filtered_feature_bc_matrix\.h5", put(H5, "text")),
    case("visium: counts cut", VIS, r"filtered_feature_bc_matrix\.h5", cut(H5)),
    case("visium: no matrix", VIS, r"bc_matrix\.h5.*matrix", hdf5(H5, lambda file: file.pop("matrix"))),
    case("visium: no barcodes", VIS, r"bc_matrix\.h5", hdf5(H5, lambda file: file["matrix"].pop("barcodes"))),
    case("visium: no features", VIS, r"bc_matrix\.h5", hdf5(H5, lambda file: file["matrix"].pop("features"))),
    case("visium: pointers", VIS, r"bc_matrix\.h5", hdf5(H5, set_to("matrix/indptr", np.arange(5)))),
    case("visium: indices", VIS, r"bc_matrix\.h5", hdf5(H5, lambda f: f["matrix/indices"].__setitem__(0, 999))),
    case("visium: indices beyond memory", VIS, r"bc_matrix\.h5", hdf5(H5, lambda f: f["matrix/indices"].__setitem__(0, 10**8))),
    case("visium: shape", VIS, r"bc_matrix\.h5", hdf5(H5, set_to("matrix/shape", np.array([3, 3])))),
    case("visium: shape of one", VIS, r"bc_matrix\.h5", hdf5(H5, set_to("matrix/shape", 7))),
    case("visium: counts below 0", VIS, r"bc_matrix\.h5|visium", hdf5(H5, lambda f: f["matrix/data"].__setitem__(0, -4))),
    case("visium: counts of words", VIS, r"bc_matrix\.h5", hdf5(H5, set_to("matrix/data", np.array([b"a"] * 9)))),
    case("visium: positions empty", VIS, r"tissue_positions\.csv", put(POS)),
    case("visium: positions of others", VIS, r"tissue_positions\.csv.*lacks", edit(POS, "-1", "-2")),
    case("visium: positions of text", VIS, r"tissue_positions\.csv", edit(POS, "-1,1,", "-1,yes,")),
    case("visium: positions without a column", VIS, r"tissue_positions\.csv.*in_tissue", edit(POS, "in_tissue", "inside")),
    case("visium: positions in UTF-16", VIS, r"tissue_positions\.csv", put(POS, "a,b\n".encode("utf-16"))),
    case("visium: scale factors empty", VIS, r"scalefactors_json", put(SCL)),
    case("visium: scale factors a list", VIS, r"scalefactors_json", put(SCL, "[]")),
    case("visium: scale factors deep", VIS, r"scalefactors_json", put(SCL, "[" * 5000 + "]" * 5000)),
    case("visium: scale of 0", VIS, r"tissue_hires_scalef.*0", json_file(SCL, lambda s: s.update(tissue_hires_scalef=0))),
    case("visium: scale of text", VIS, r"spot_diameter.*'w'", json_file(SCL, lambda s: s.update(spot_diameter_fullres="w"))),
    case("visium: scale of NaN", VIS, r"spot_diameter.*nan", put(SCL, '{"spot_diameter_fullres": NaN}')),
    case("visium: image", VIS + " --options '{image: nowhere.png}'", r"nowhere\.png"),
    case("visium: labels", VIS + " --options '{labels: nowhere.csv}'", r"nowhere\.csv"),
    case("visium: patients", VIS + " --options '{patients: {Z: 1}}'", r"'?Z|'visium'"),
    case("visium: resolution", VIS + " --options '{um_per_pixel: -1}'", r"um_per_pixel.*-1"),
    case("visium: resolution of text", VIS + " --options '{um_per_pixel: fine}'", r"um_per_pixel.*fine"),
    case("visium_hd: no bins", HD, r"square_008um", drop(BINS)),
    case("visium_hd: bins", HD + " --options '{bin_um: 3}'", r"bin_um.*3"),
    case("visium_hd: bins of text", HD + " --options '{bin_um: wide}'", r"bin_um.*wide"),
    case("visium_hd: positions of text", HD, r"tissue_positions\.parquet", put(BINS + "/spatial/tissue_positions.parquet", "t")),
    case("visium_hd: positions cut", HD, r"tissue_positions\.parquet", cut(BINS + "/spatial/tissue_positions.parquet")),
    case("visium_hd: no resolution", HD, r"microns_per_pixel",
         json_file(BINS + "/spatial/scalefactors_json.json", lambda s: s.pop("microns_per_pixel"))),
    case("anndata: text", ANN, r"S\.h5ad", put("ann/S.h5ad", "text")),
    case("anndata: empty", ANN, r"S\.h5ad", put("ann/S.h5ad")),
    case("anndata: cut", ANN, r"S\.h5ad", cut("ann/S.h5ad")),
    case("anndata: other HDF5", ANN, r"S\.h5ad", hdf5("ann/S.h5ad", lambda file: [file.pop(k) for k in list(file)])),
    case("anndata: newer encoding", ANN, r"S\.h5ad", hdf5("ann/S.h5ad", lambda f: f["X"].attrs.update({"encoding-type": "new"}))),
    case("anndata: foreign group", ANN, r"S\.h5ad", hdf5("ann/S.h5ad", lambda file: file.create_group("a"))),
    case("anndata: no X", ANN, r"S\b.*(X|counts)", hdf5("ann/S.h5ad", lambda file: file.pop("X"))),
    case("anndata: no positions", ANN, r"S\.h5ad.*spatial", adata("ann/S.h5ad", lambda a: a.obsm.pop("spatial"))),
    case("anndata: positions not finite", ANN, r"S\b.*(finite|nan)", adata("ann/S.h5ad", obsm(np.full((12, 2), np.nan)))),
    case("anndata: positions of one axis", ANN, r"S\b.*\[12, 1\]", adata("ann/S.h5ad", obsm(np.ones((12, 1))))),
    case("anndata: positions of four", ANN, r"S\b.*\[12, 4\]", adata("ann/S.h5ad", obsm(np.ones((12, 4))))),
    case("anndata: half a place", ANN, r"S\.h5ad.*array_row", adata("ann/S.h5ad", lambda a: a.obs.pop("array_row"))),
    case("anndata: place of text", ANN, r"S\b.*array_row", adata("ann/S.h5ad", lambda a: a.obs.__setitem__("array_row", "a"))),
    case("anndata: counts below 0", ANN, r"S\b.*-1", adata("ann/S.h5ad", lambda a: a.X.__setitem__((0, 0), -1))),
    case("anndata: log counts", ANN, r"S\b", adata("ann/S.h5ad", lambda a: a.X.__iadd__(0.5))),
    case("anndata: counts not finite", ANN, r"S\b.*(nan|finite)", adata("ann/S.h5ad", lambda a: a.X.__setitem__((0, 0), np.nan))),
    case("anndata: indices", ANN, r"S\.h5ad", lambda: _sparse("ann/S.h5ad"), hdf5("ann/S.h5ad", lambda f: f["X/indices"].__setitem__(0, 10**8))),
    case("anndata: spots twice", ANN, r"S\b.*s1", adata("ann/S.h5ad", lambda a: setattr(a, "obs_names", ["s1"] * 12))),
    case("anndata: genes twice", ANN, r"S\b.*GENE1", adata("ann/S.h5ad", lambda a: setattr(a, "var_names", ["GENE1"] * 6))),
    case("anndata: patients", ANN, r"S\b.*patient", adata("ann/S.h5ad", lambda a: a.obs.__setitem__("patient", list("AB") * 6))),
    case("anndata: patient", ANN, r"S\b.*patient", adata("ann/S.h5ad", lambda a: a.uns.update(patient={"a": 1}))),
    case("anndata: libraries", ANN, r"S\b.*librar", adata("ann/S.h5ad", lambda a: a.uns.update(spatial={"a": {}, "b": {}}))),
    case("anndata: layer", ANN + " --options '{counts_layer: raw}'", r"S\b.*'raw'"),
    case("anndata: labels", ANN + " --options '{label_key: region}'", r"S\b.*region"),
    case("anndata: no spots", ANN, r"S\b", lambda: _shrink("ann/S.h5ad", slice(0), slice(None))),
    case("anndata: no genes", ANN, r"S\b", lambda: _shrink("ann/S.h5ad", slice(None), slice(0))),
    case("anndata: image damaged", ANN, r"S\.png", put("ann/S.png", "text")),
    case("anndata: nothing", "info ann --dataset anndata", r"ann", drop("ann/S.h5ad"), drop("ann/S.png")),
    case("hest: metadata of text", HEST, r"T\.json", put("hest/metadata/T.json", "text")),
    case("hest: metadata a list", HEST, r"T\.json", put("hest/metadata/T.json", "[]")),
    case("hest: metadata deep", HEST, r"T\.json", put("hest/metadata/T.json", "[" * 9000)),
    case("hest: resolution of text", HEST, r"T\.json.*pixel_size", put("hest/metadata/T.json", '{"pixel_size_um_estimated": "w"}')),
    case("hest: counts cut", HEST, r"T\.h5ad", cut("hest/st/T.h5ad")),
    case("hest: no counts", HEST, r"hest", drop("hest/st")),
    case("hest: slide damaged", HEST, r"T\.tif", put("hest/wsis/T.tif", "text")),
    case("hest: section", HEST + " --sections [Z]", r"'Z'"),
    case("two data sets in one folder", "info her", r"her.*(cscc|visium|her2st)", put("her/x_stdata.tsv.gz"),
         put("her/GSM1_P2_ST_rep1_stdata.tsv.gz", "t"), put("her/spatial/tissue_positions.csv", "t"),
         put("her/filtered_feature_bc_matrix.h5", "t")),
    case("a folder of nothing", "info empty", r"empty", put("empty/note.txt", "t")),
    case("spatialdata: no store", "info empty --dataset spatialdata", r"empty", put("empty/zarr.json", "{}")),
    case("spatialdata: text", "info x.zarr --dataset spatialdata", r"x\.zarr", put("x.zarr/zarr.json", "text")),
    case("spatialdata: deep", "info x.zarr --dataset spatialdata", r"x\.zarr", put("x.zarr/zarr.json", "[" * 9000)),
]  # fmt: skip


def _shrink(path: str, spots: slice, genes: slice) -> None:
    import anndata

    read = anndata.read_h5ad(path)
    read[spots, genes].copy().write_h5ad(path)


def _sparse(path: str) -> None:
    import anndata

    read = anndata.read_h5ad(path)
    read.X = csr_matrix(read.X)
    read.write_h5ad(path)


@pytest.mark.parametrize("case", rows(CASES, every=15))
def test_a_data_set_that_is_wrong_is_refused_in_one_line(
    case: Case, world: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    check(case, world, capfd)


def test_the_slow_suite_has_three_hundred_bad_inputs_or_more() -> None:
    import importlib

    tables = ("arguments", "configuration", "datasets", "images", "models", "predictions", "tables")
    assert sum(len(importlib.import_module(f"faults.test_{table}").CASES) for table in tables) >= 300
