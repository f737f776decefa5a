"""Names of sections, spots and genes, and the text of a slide, as an attacker would choose them: text they stay."""

from __future__ import annotations

import csv
import os
import re
from pathlib import Path

import anndata
import numpy as np
import pytest
import tifffile
from _helpers.faults import content, put, run, take
from _helpers.image_files import tissue

from hist2st_pyg import Section, load_model
from hist2st_pyg.data.patches import cut_patches
from hist2st_pyg.image import ArrayImage
from hist2st_pyg.section import SectionRecord


@pytest.mark.parametrize("described", ["bomb", "outside", "other file"])
def test_the_xml_of_a_slide_reads_nothing_else(described: str, world: Path) -> None:
    take(world, ["model", "s.csv"])
    put("secret.txt", "secret")()
    bomb = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12))
    xml = {
        "bomb": f'<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a0 "lol">{bomb}]><OME>&a11;</OME>',
        "outside": '<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a SYSTEM "secret.txt">]><OME>&a;</OME>',
        "other file": '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels '
        'DimensionOrder="XYCZT" Type="uint8" SizeX="400" SizeY="400" SizeC="3" SizeZ="1" SizeT="1" ID="Pixels:0"><TiffData '
        'IFD="0"><UUID FileName="../secret.tif">urn:uuid:1</UUID></TiffData></Pixels></Image></OME>',
    }[described]
    tifffile.imwrite("t.ome.tif", tissue(400, 400), photometric="rgb", description=xml, metadata=None)
    assert run("predict model t.ome.tif -o out.h5ad --spots s.csv") in (0, 2)
    if Path("out.h5ad").exists():
        assert b"secret" not in Path("out.h5ad").read_bytes()


@pytest.mark.parametrize(
    "name", ["../outside", "../../outside", "/tmp/outside-of-hist2st", "a/../../outside", "a\\..\\b", ".."]
)
def test_a_section_s_name_is_no_path(name: str, cohort: list[Section], tmp_path: Path) -> None:
    inner = tmp_path / "deep" / "inner"
    inner.mkdir(parents=True)
    os.chdir(inner)
    image, pos = ArrayImage(tissue(100, 90)), np.array([[50.0, 40.0], [60.0, 40.0]])
    section = Section(name, "P", cohort[0].adata.copy(), cohort[0].image)
    cut_patches(image, pos, 16, cache="cache", name=section.name)
    assert len(list((inner / "cache").iterdir())) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"deep"}
    assert {path.name for path in (tmp_path / "deep").iterdir()} == {"inner"}
    assert {path.name for path in inner.iterdir()} == {"cache"}
    assert not Path("/tmp/outside-of-hist2st").exists()


@pytest.mark.parametrize("cell", ["=cmd|'/C calc'!A0", "+1+1", "-2+3", "@SUM(1)", "\t=1", "\r=1"])
def test_a_spot_s_name_is_no_formula_in_a_table(cell: str, world: Path) -> None:
    take(world, ["p.h5ad"])
    read = anndata.read_h5ad("p.h5ad")
    read.obs_names = [cell, *read.obs_names[1:]]
    read.var_names = [cell, *read.var_names[1:]]
    read.write_h5ad("p.h5ad")
    assert run("confidence p.h5ad -o c.csv") == 0
    assert run("genes p.h5ad -o g.csv --regions tissue") == 0
    for name in ("c.csv", "g.csv", "g_markers.csv"):
        with Path(name).open(newline="") as file:
            fields = [field for row in csv.reader(file) for field in row]
        assert not [f for f in fields if f.startswith(("=", "+", "-", "@", "\t", "\r")) and not _number(f)], name


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def test_a_library_s_name_is_no_path_of_a_picture(world: Path) -> None:
    take(world, ["p.h5ad"])
    read = anndata.read_h5ad("p.h5ad")
    read.var_names = ["../../GENE", "a/b", "$\\frac{", *read.var_names[3:]]
    read.write_h5ad("p.h5ad")
    before = set(content(Path("..")))
    assert run("genes p.h5ad --figures f") == 0
    new = {Path(path).parts[1:] for path in set(content(Path(".."))) - before}
    assert all(parts[1:2] == ("f",) for parts in new), new


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "`<script>alert(1)</script>", "a`` `<script>x</script>"])
def test_a_name_is_text_in_a_model_card(text: str, world: Path) -> None:
    model = load_model(world / "model")
    model.training_sections = {"train": [SectionRecord(text, text, "dataset")], "val": []}
    model.save_pretrained("out")
    card = Path("out/README.md").read_text()
    assert "<script>" not in re.sub(
        r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", "", card
    )  # but for code, which is shown as it is
