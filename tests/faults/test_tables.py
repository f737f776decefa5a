"""Tables that are wrong (spots, labels, panels, gene sets, embeddings): refused by the file, the line and the value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from _helpers.faults import Case, Change, case, check, cut, put, rows

HD = "barcode,in_tissue,array_row,array_col,pxl_row_in_fullres,pxl_col_in_fullres\n"


def spots(id: str, text: str | bytes, said: str, name: str = "t.csv") -> Case:
    return case(f"spots: {id}", f"predict model a.png -o out.h5ad --spots {name}", said, put(name, text))


def labels(id: str, text: str | bytes, said: str, name: str = "t.csv") -> Case:
    return case(f"labels: {id}", f"regions p.h5ad --method paper --labels {name}", said, put(name, text))


def panel(id: str, text: str | bytes, said: str) -> Case:
    return case(f"panel: {id}", "train tiny.yaml --data.panel t.txt", said, put("t.txt", text))


def sets(id: str, text: str | bytes, said: str, name: str = "t.gmt") -> Case:
    return case(f"gene sets: {id}", f"pathways p.h5ad --gene_sets {name} --min_genes 3", said, put(name, text))


def parquet(**columns: object) -> Change:
    return lambda: pd.DataFrame(columns).to_parquet("t.parquet")


def npz(**arrays: object) -> Change:
    return lambda: np.savez("emb/S.npz", **arrays)  # type: ignore[arg-type]


EMBEDDED = (
    "train --data.name anndata --data.root ann --data.patients each_section --data.embedding emb --data.n_genes 4 "
    "--output out --wandb disabled --training.epochs 1 --training.n_views 0"
)
NAMES = np.array([f"s{i}" for i in range(12)])

AREA = '{"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [%s]}, "properties": {"classification": %s}}'
RING, TUMOR = "[[0, 0], [900, 0], [900, 900], [0, 900]]", '{"name": "Tumor"}'


def areas(id: str, text: str | bytes, said: str) -> Case:
    return labels(f"annotations, {id}", text, rf"t\.geojson.*{said}", "t.geojson")


def h5(**arrays: object) -> Change:
    def write() -> None:
        import h5py

        Path("emb/S.npz").unlink()
        with h5py.File("emb/S.h5", "w") as file:
            for name, value in arrays.items():
                file[name] = value

    return write


CASES: list[Case] = [
    areas("empty", "", "not JSON"),
    areas("no JSON", "{'type': 1}", "not JSON"),
    areas("a number", "7", "FeatureCollection"),
    areas("no features", '{"type": "FeatureCollection", "features": 3}', "FeatureCollection"),
    areas("none", '{"type": "FeatureCollection", "features": []}', "no area"),
    areas("no class", f"[{AREA % (RING, 'null')}]", "no area with a class"),
    areas("class of a number", f'[{AREA % (RING, chr(123) + chr(34) + "name" + chr(34) + ": 3}")}]', "text, got 3"),
    areas("text for a position", f"[{AREA % (RING.replace('900', chr(34) + 'x' + chr(34)), TUMOR)}]", "feature 0.*'x'"),
    areas("NaN", f"[{AREA % (RING.replace('900', 'NaN'), TUMOR)}]", "NaN"),
    areas("too large", f"[{AREA % (RING.replace('900', '1e999'), TUMOR)}]", "1e999"),
    areas("two points", f"[{AREA % ('[[0, 0], [1, 1]]', TUMOR)}]", "feature 0.*3 points"),
    areas("nested", "[" * 100_000, "deep"),
    areas("elsewhere", f"[{AREA % (RING.replace('900', '-900'), TUMOR)}]", "no spot lies in an annotated area"),
    areas("Latin-1", f"[{AREA % (RING, TUMOR.replace('Tumor', 'Drüse'))}]".encode("latin-1"), "UTF-8|utf-8"),
    spots("empty", "", r"t\.csv"),
    spots("header alone", "x,y\n", r"t\.csv"),
    spots("no column", "a,b\n1,2\n", r"t\.csv.*'a'"),
    spots("one column", "x\n1\n", r"t\.csv"),
    spots("text", "x,y\n1,two\n", r"t\.csv, line 2.*two"),
    spots("nothing", "x,y\n1,\n3,4\n", r"t\.csv, line 2"),
    spots("not finite", "x,y\n1,inf\n3,4\n", r"t\.csv.*inf"),
    spots("no number", "x,y\n1,nan\n3,4\n", r"t\.csv, line 2.*nan"),
    spots("unit", "x,y\n100px,100\n", r"t\.csv, line 2.*100px"),
    spots("decimal comma", "x;y\n100,5;100,5\n", r"t\.csv"),
    spots("long row", "x,y\n1,2,3,4\n", r"t\.csv"),
    spots("short row", "x,y\n1,2\n3\n", r"t\.csv"),
    spots("twice at a place", "x,y\n100,100\n100,100\n", r"t\.csv.*100"),
    spots("a name twice", "name,x,y\na,100,100\na,160,100\n", r"t\.csv.*'a'"),
    spots("a column twice", "x,x,y\n1,2,3\n", r"t\.csv.*'?x"),
    spots("half a place", "x,y,array_col\n100,100,1\n", r"t\.csv.*array_col"),
    spots("place of text", "x,y,array_col,array_row\n100,100,a,b\n", r"t\.csv, line 2.*a"),
    spots("place below 0", "x,y,array_col,array_row\n100,100,-1,0\n", r"t\.csv.*-1"),
    spots("place with a fraction", "x,y,array_col,array_row\n100,100,1.5,0\n", r"t\.csv, line 2.*1\.5"),
    spots("off the image", "x,y\n1e7,1e7\n", r"image"),
    spots("left of the image", "x,y\n-5000,-5000\n", r"image"),
    spots("UTF-16", "x,y\n1,2\n".encode("utf-16"), r"t\.csv.*UTF-8"),
    spots("Latin-1", "name,x,y\nfür,1,2\n".encode("latin-1"), r"t\.csv.*UTF-8"),
    spots("NUL", b"x,y\n1,\0\n", r"t\.csv"),
    spots("binary", bytes(range(256)) * 9, r"t\.csv"),
    spots("long field", "x,y\n1," + "9" * 200_000 + "\n", r"t\.csv"),
    spots("open quote", 'name,x,y\n"a,1,2\nb,3,4\n', r"t\.csv"),
    spots("image for spots", "text", r"t\.png", "t.png"),
    spots("HDF5 of text", "text", r"t\.h5ad", "t.h5ad"),
    spots("parquet of text", "text", r"t\.parquet", "t.parquet"),
    spots("JSON", '{"x": [1], "y": [2]}', r"t\.json", "t.json"),
    spots("Visium, nothing in the tissue", HD + "A-1,0,0,0,100,100\n", r"t\.csv.*in_tissue"),
    spots("Visium, in_tissue of 2", HD + "A-1,2,0,0,100,100\n", r"t\.csv.*in_tissue.*2"),
    spots("Visium, text", HD + "A-1,1,0,0,here,100\n", r"t\.csv, line 2.*here"),
    spots("Visium, barcode twice", HD + "A-1,1,0,0,100,100\nA-1,1,0,2,100,160\n", r"t\.csv.*A-1"),
    spots("Visium, no barcode", HD + ",1,0,0,100,100\n", r"t\.csv"),
    spots("Visium, half a header", "A-1,1,0,0,100\n", r"t\.csv"),
    spots("her2st, selected of text", "x\ty\tpixel_x\tpixel_y\tselected\n1\t1\t9\t9\tyes\n", r"t\.tsv.*yes", "t.tsv"),
    spots("her2st, none selected", "x\ty\tpixel_x\tpixel_y\tselected\n1\t1\t9\t9\t0\n", r"t\.tsv.*selected", "t.tsv"),
    spots("her2st, place of text", "x\ty\tpixel_x\tpixel_y\n1a\t1\t9\t9\n", r"t\.tsv, line 2.*1a", "t.tsv"),
    case("spots: cut parquet", "predict model a.png -o out.h5ad --spots t.parquet", r"t\.parquet",
         parquet(x=[100.0, 160.0], y=[100.0, 100.0]), cut("t.parquet")),
    case("spots: parquet of other columns", "predict model a.png -o out.h5ad --spots t.parquet", r"t\.parquet.*'a'",
         parquet(a=[1], b=[2])),
    case("spots: parquet of words", "predict model a.png -o out.h5ad --spots t.parquet", r"t\.parquet.*two",
         parquet(x=["1", "two"], y=["1", "2"])),
    case("spots: parquet of lists", "predict model a.png -o out.h5ad --spots t.parquet", r"t\.parquet",
         parquet(x=[[1.0], [2.0]], y=[[1.0], [2.0]])),
    case("spots: empty parquet", "predict model a.png -o out.h5ad --spots t.parquet", r"t\.parquet", parquet(x=[], y=[])),
    labels("empty", "", r"t\.csv"),
    labels("header alone", "spot,label\n", r"t\.csv"),
    labels("one column", "spot\n1x1\n", r"t\.csv"),
    labels("other spots", "spot,label\nA,fat\nB,fat\n", r"t\.csv.*'A'"),
    labels("a spot twice", "spot,label\n0x0,fat\n0x0,skin\n", r"t\.csv.*0x0"),
    labels("which column", "spot,a,b\n0x0,1,2\n", r"t\.csv.*'a', 'b'"),
    labels("no label", "spot,label\n0x0,\n1x0,\n", r"t\.csv"),
    labels("UTF-16", "spot,label\n0x0,fat\n".encode("utf-16"), r"t\.csv.*UTF-8"),
    labels("binary", bytes(range(256)), r"t\.csv"),
    labels("NUL", b"spot,label\n0x0,\0\n", r"t\.csv|label"),
    labels("place of text", "x\ty\tlabel\nhere\t1\tfat\n", r"t\.tsv.*here", "t.tsv"),
    labels("a place twice", "x\ty\tlabel\n0\t0\tfat\n0\t0\tskin\n", r"t\.tsv.*0x0", "t.tsv"),
    labels("other places", "x\ty\tlabel\n900\t900\tfat\n", r"t\.tsv.*900x900", "t.tsv"),
    panel("empty", "", r"t\.txt.*empty"),
    panel("blank lines", "\n\n  \n", r"t\.txt.*empty"),
    panel("a gene twice", "GENE1\nGENE2\nGENE1\n", r"t\.txt.*GENE1.*twice"),
    panel("other genes", "ERBB2\nFASN\n", r"ERBB2"),
    panel("UTF-16", "GENE1\n".encode("utf-16"), r"t\.txt.*UTF-8"),
    panel("Latin-1", "GÈNE\n".encode("latin-1"), r"t\.txt.*UTF-8"),
    panel("binary", bytes(range(128, 256)), r"t\.txt.*UTF-8"),
    case("panel: folder", "train tiny.yaml --data.panel her", r"her"),
    case("panel: of the paper", "train tiny.yaml --data.panel paper", r"synthetic|paper"),
    sets("empty", "", r"t\.gmt"),
    sets("no gene", "one\ttext\n", r"t\.gmt, line 1"),
    sets("a set twice", "one\tt\tGENE1\tGENE2\none\tt\tGENE3\n", r"t\.gmt, line 2.*'one'"),
    sets("other genes", "one\tt\tERBB2\tFASN\tGNAS\n", r"one"),
    sets("spaces for tabs", "one text GENE1 GENE2 GENE3\n", r"t\.gmt, line 1"),
    sets("UTF-16", "one\tt\tGENE1\tGENE2\n".encode("utf-16"), r"t\.gmt.*UTF-8"),
    sets("binary", bytes(range(256)), r"t\.gmt"),
    sets("kind", "one\tt\tGENE1\n", r"t\.txt", "t.txt"),
    sets("table without columns", "a,b\n1,2\n", r"t\.csv.*initial_alias", "t.csv"),
    sets("empty table", "", r"t\.csv", "t.csv"),
    sets("table in UTF-16", "initial_alias,name\na,GENE1\n".encode("utf-16"), r"t\.csv", "t.csv"),
    sets("table in Latin-1", "initial_alias,name\nè,GENE1\n".encode("latin-1"), r"t\.csv", "t.csv"),
    sets("NUL in a table", b"initial_alias,name\na,\0\n", r"t\.csv|'a'", "t.csv"),
    sets("long field", "initial_alias,name\na," + "G" * 200_000 + "\n", r"t\.csv", "t.csv"),
    case("embeddings: no folder", EMBEDDED.replace("emb ", "nowhere "), r"nowhere", needs="emb"),
    case("embeddings: none of the section", EMBEDDED, r"emb.*S\.npz", lambda: Path("emb/S.npz").unlink()),
    case("embeddings: text", EMBEDDED, r"S\.npz", put("emb/S.npz", "text")),
    case("embeddings: cut", EMBEDDED, r"S\.npz", cut("emb/S.npz")),
    case("embeddings: empty", EMBEDDED, r"S\.npz", put("emb/S.npz")),
    case("embeddings: no names", EMBEDDED, r"S\.npz.*barcodes", npz(embeddings=np.ones((12, 3)))),
    case("embeddings: objects", EMBEDDED, r"S\.npz", npz(embeddings=np.ones((12, 3)), barcodes=NAMES.astype(object))),
    case("embeddings: patches, none there", EMBEDDED, r"S\.h5.*coords", h5(features=np.ones((0, 3)), coords=np.ones((0, 2)))),
    case("embeddings: patches elsewhere", EMBEDDED, r"S\.h5.*12 of the 12 spots lie in none", h5(
        features=np.ones((2, 3)), coords=np.array([[90_000, 0], [90_100, 0]]))),
    case("embeddings: patches, NaN", EMBEDDED, r"S\.h5.*finite", h5(
        features=np.ones((2, 3)), coords=np.array([[0, np.nan], [1, 2]]))),
    case("embeddings: patches, text", EMBEDDED, r"S\.h5.*coords must be numbers", h5(
        features=np.ones((2, 3)), coords=np.array([[b"a", b"b"]] * 2))),
    case("embeddings: patches, other numbers", EMBEDDED, r"S\.h5.*features must be \[M, D\]", h5(
        features=np.ones((5, 3)), coords=np.zeros((2, 2)))),
    case("embeddings: patches without positions", EMBEDDED, r"S\.pt.*positions", lambda: Path("emb/S.npz").rename("emb/S.pt")),
    case("embeddings: one axis", EMBEDDED, r"S\.npz.*\[12\]", npz(embeddings=np.ones(12), barcodes=NAMES)),
    case("embeddings: fewer", EMBEDDED, r"S\.npz", npz(embeddings=np.ones((5, 3)), barcodes=NAMES)),
    case("embeddings: other names", EMBEDDED, r"S\.npz.*'s0'", npz(embeddings=np.ones((12, 3)), barcodes=NAMES[::-1] + "x")),
    case("embeddings: text values", EMBEDDED, r"S\.npz", npz(embeddings=np.full((12, 3), "a"), barcodes=NAMES)),
    case("embeddings: no width", EMBEDDED, r"S\.npz|emb", npz(embeddings=np.ones((12, 0)), barcodes=NAMES)),
    case("embeddings: not finite", EMBEDDED, r"S\b.*finite", npz(embeddings=np.full((12, 3), np.nan), barcodes=NAMES)),
    case("embeddings: complex", EMBEDDED, r"S\.npz", npz(embeddings=np.full((12, 3), 1j), barcodes=NAMES)),
    case("embeddings: HDF5 of text", EMBEDDED, r"S\.h5",
         lambda: Path("emb/S.npz").unlink(), put("emb/S.h5", "text")),
]  # fmt: skip


@pytest.mark.parametrize("case", rows(CASES, every=15))
def test_a_table_that_is_wrong_is_refused_in_one_line(
    case: Case, world: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    check(case, world, capfd)
