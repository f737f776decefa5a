from __future__ import annotations

import gzip
import io
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from _helpers.geo_server import COUNTS, GSM, IMAGE, NAME, SPOT_FILE, SPOTS, TABLE, Server, geo_server, picture
from PIL import Image

from hist2st_pyg.cli import main
from hist2st_pyg.datasets import cscc, load_sections, paper_panel
from hist2st_pyg.image import FileImage


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A made-up section as GEO's archive is unpacked, its image unpacked as well."""
    root = tmp_path / "GSE144240_RAW"
    root.mkdir()
    (root / f"{GSM}_{NAME}_stdata.tsv.gz").write_bytes(gzip.compress(COUNTS.encode()))
    (root / f"{GSM}_spot_data-selection-{NAME}.tsv.gz").write_bytes(gzip.compress(SPOTS.encode()))
    (root / f"{GSM}_{NAME}.jpg").write_bytes(picture())
    return root


def test_samples() -> None:
    assert len(cscc.SAMPLES) == 12
    assert list(cscc.SAMPLES)[:4] == ["P2_ST_rep1", "P2_ST_rep2", "P2_ST_rep3", "P5_ST_rep1"]
    assert (cscc.SAMPLES["P2_ST_rep1"], cscc.SAMPLES["P9_ST_rep2"]) == ("GSM4284316", "GSM4284323")
    assert cscc.SAMPLES["P10_ST_rep3"] == "GSM4284327"


def test_section(root: Path) -> None:
    (section,) = load_sections("cscc", root)
    assert (section.name, section.patient, section.label) == (NAME, "P2", None)
    # The published programs join the two tables by place and keep what is in both.
    counts = pd.read_csv(io.StringIO(COUNTS), sep="\t", index_col=0)
    spots = pd.read_csv(io.StringIO(SPOTS), sep="\t")
    spots.index = pd.Index([f"{x}x{y}" for x, y in zip(spots["x"], spots["y"], strict=True)])
    joined = counts.join(spots, how="inner").loc[section.adata.obs_names]
    assert len(joined) == len(section) == 3
    np.testing.assert_array_equal(section.adata.X.toarray(), joined[["KRT1", "KRT2", "KRT5"]])
    np.testing.assert_array_equal(section.pos, joined[["pixel_x", "pixel_y"]])
    np.testing.assert_array_equal(section.grid, joined[["x", "y"]])
    assert list(section.adata.var_names) == ["KRT1", "KRT2", "KRT5"]
    assert section.require_image().size == (50, 40)
    # A step of the array is 200 µm and about 300 px, a spot is 100 µm.
    assert section.um_per_pixel == pytest.approx(200 / 300.25, rel=1e-4)
    assert section.spot_diameter == pytest.approx(150.1, rel=1e-3)


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: name.removeprefix(f"{GSM}_"),
        lambda name: f"P2/{name}",
        lambda name: f"images/{name}" if name.endswith("jpg") else f"tables/deep/{name}",
        lambda name: name.replace(f"{NAME}.jpg", "P2_rep1.JPG"),
        lambda name: "P2_rep1.jpeg" if name.endswith("jpg") else name,
    ],
)
def test_names_and_folders(root: Path, tmp_path: Path, rename: Callable[[str], str]) -> None:
    (expected,) = load_sections("cscc", root)
    for path in root.iterdir():
        target = tmp_path / "other" / rename(path.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
        if path.suffix == ".gz" and "/" not in rename(path.name):
            target.with_suffix("").write_bytes(gzip.decompress(target.read_bytes()))
            target.unlink()
    (section,) = load_sections("cscc", tmp_path / "other", [NAME])
    np.testing.assert_array_equal(section.adata.X.toarray(), expected.adata.X.toarray())
    np.testing.assert_array_equal(section.pos, expected.pos)
    assert section.require_image().size == (50, 40)


def test_several_sections(root: Path) -> None:
    for path in list(root.iterdir()):
        shutil.copy(path, root / path.name.replace("4284316", "4284326").replace(NAME, "P10_ST_rep2"))
    (root / f"{GSM}_{NAME}.jpg").unlink()
    # Visium's files of the same series, and others.
    for name in ("GSM4565823_P4_rep1_barcodes.tsv.gz", "GSM4565823_P4_rep1_tissue_hires_image.png.gz", "notes.txt"):
        (root / name).touch()
    sections = load_sections("cscc", root)
    assert [(s.name, s.patient) for s in sections] == [("P10_ST_rep2", "P10"), (NAME, "P2")]
    assert isinstance(sections[0].image, FileImage)
    assert sections[0].image.path.name == "GSM4284326_P10_ST_rep2.jpg"
    assert sections[1].image is None
    with pytest.raises(
        ValueError, match=r"cscc in .* has no section 'P3_ST_rep1'\. Available: P10_ST_rep2, P2_ST_rep1"
    ):
        load_sections("cscc", root, ["P3_ST_rep1"])


def test_selected(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A spot file may say which spots are selected; else all are. Counts of the whole array are no reason to warn."""
    caplog.set_level(logging.INFO)
    load_sections("cscc", root)
    (record,) = [record for record in caplog.records if "dropped" in record.message]
    assert record.levelno == logging.INFO
    assert record.message == "cscc P2_ST_rep1: 2 of 5 spots dropped: 2 with counts but not in the spot file"
    caplog.clear()
    header, *rows = SPOTS.splitlines()
    marked = [f"{header}\tselected", *(f"{row}\t{int(i > 0)}" for i, row in enumerate(rows)), "12\t12\t0\t0\t1\t1\t1"]
    path = root / f"{GSM}_spot_data-selection-{NAME}.tsv.gz"
    path.write_bytes(gzip.compress("\n".join(marked).encode()))
    (section,) = load_sections("cscc", root)
    assert list(section.adata.obs_names) == ["10x13", "11x13"]
    (record,) = [record for record in caplog.records if "dropped" in record.message]
    assert record.levelno == logging.WARNING  # one of three selected spots was not measured
    assert "1 not selected, 1 selected but without counts, 2 with counts but not" in record.message


def test_packed_image(root: Path) -> None:
    image = root / f"{GSM}_{NAME}.jpg"
    packed = image.with_name(f"{image.name}.gz")
    packed.write_bytes(gzip.compress(image.read_bytes()))
    (section,) = load_sections("cscc", root)
    assert section.require_image().size == (50, 40)
    image.unlink()
    with pytest.raises(ValueError, match=rf"{packed.name} is compressed; images must .*Unpack it: gunzip {packed}"):
        load_sections("cscc", root)


def test_two_of_one(root: Path) -> None:
    image = root / f"{GSM}_{NAME}.jpg"
    Image.open(image).save(image.with_suffix(".png"))
    with pytest.raises(ValueError, match=r"rep1\.jpg and .*rep1\.png are one section's image; keep one"):
        load_sections("cscc", root)
    image.unlink()
    assert load_sections("cscc", root)[0].require_image().size == (50, 40)
    (root / f"{NAME}_stdata.tsv").write_text(COUNTS)
    with pytest.raises(ValueError, match=r"stdata\.tsv\.gz and .*stdata\.tsv are one section's counts; keep one"):
        load_sections("cscc", root)


def test_wrong_files(root: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"is not the cscc data set: no file .*hist2st download cscc"):
        load_sections("cscc", tmp_path / "absent")
    path = root / f"{GSM}_spot_data-selection-{NAME}.tsv.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-10])
    with pytest.raises(ValueError, match=rf"{path.name} is damaged or not .*"):
        load_sections("cscc", root)
    path.write_bytes(gzip.compress(SPOTS.replace("pixel_x", "px").encode()))
    with pytest.raises(ValueError, match=rf"{path.name} lacks the columns pixel_x; it has x, y, new_x"):
        load_sections("cscc", root)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=rf"stdata\.tsv\.gz has no spot_data-selection-{NAME}\.tsv in"):
        load_sections("cscc", root)


def test_paper_panel(root: Path, real_data: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no paper_gene_panel_cscc\.txt .*one gene per line.*'variable'"):
        paper_panel("cscc", root)
    panel = root / "paper_gene_panel_cscc.txt"
    panel.write_text("KRT2\nKRT1\n")
    assert paper_panel("cscc", root) == ["KRT2", "KRT1"]
    panel.write_text("KRT2\nKRT1\nKRT2\n")
    with pytest.raises(ValueError, match=r"panel_cscc\.txt: gene 'KRT2' is in the panel twice"):
        paper_panel("cscc", root)
    genes = paper_panel("cscc", real_data / "her2st")
    assert len(genes) == len(set(genes)) == 171


def test_recognizes(root: Path, tmp_path: Path) -> None:
    assert cscc.is_dataset(root)
    assert cscc.is_dataset(root.parent)
    assert not cscc.is_dataset(tmp_path / "absent")
    assert not cscc.is_dataset(root / f"{GSM}_{NAME}.jpg")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "HC_1_stdata.tsv").touch()
    assert not cscc.is_dataset(tmp_path / "other")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with geo_server(monkeypatch) as state:
        yield state


def test_download(server: Server, tmp_path: Path) -> None:
    assert main(["download", "cscc", "--root", "data", "--sections", f"[{NAME}]", "--base_url", server.url]) == 0
    data = tmp_path / "data"
    assert server.names() == [path.rsplit("/", 1)[1] for path in (TABLE, SPOT_FILE, IMAGE)]
    assert sorted(path.name for path in data.iterdir()) == [
        f"{GSM}_{NAME}.jpg",
        f"{GSM}_{NAME}_stdata.tsv.gz",
        f"{GSM}_spot_data-selection-{NAME}.tsv.gz",
    ]
    assert (data / f"{GSM}_{NAME}.jpg").read_bytes() == picture()
    (section,) = load_sections("cscc", data)
    assert section.require_image().size == (50, 40)
    # What is there is left alone; packed files are compared with the server's length.
    server.asked.clear()
    cscc.download(data, [NAME], base_url=server.url, progress=False)
    assert server.names() == []
    assert len(server.names("HEAD")) == 2
    server.asked.clear()
    cscc.download(data, parts=["spots"], base_url=server.url, progress=False)
    assert len(server.names()) == 11


def test_download_arguments(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has no section 'P4_ST_rep1'\. Available: P10_ST_rep1, .*P9_ST_rep3"):
        cscc.download(tmp_path, ["P4_ST_rep1"], base_url=server.url)
    for parts in (["labels"], [], "counts"):
        with pytest.raises(ValueError, match=r"parts must be a list of some of counts, spots, images, got"):
            cscc.download(tmp_path, parts=parts, base_url=server.url)
    (tmp_path / f"{GSM}_{NAME}_stdata.tsv.gz").write_bytes(server.files[TABLE])
    with pytest.raises(ConnectionError, match=r"_stdata\.tsv\.gz cannot be reached"):
        cscc.download(tmp_path, [NAME], base_url="http://127.0.0.1:9/", progress=False)
    assert server.asked == []
