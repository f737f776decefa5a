from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from _helpers.made_prediction import made_prediction
from anndata import AnnData

from hist2st_pyg.datasets import her2st
from hist2st_pyg.io.labels import read_labels

HEADER = "Row.names\tx\ty\tpixel_x\tpixel_y\tlabel\n"


@pytest.fixture
def adata() -> AnnData:
    return made_prediction()[0]


def test_her2st_labels_are_joined_by_rounded_place(adata: AnnData, caplog: pytest.LogCaptureFixture) -> None:
    rows = [
        ("10x20", 2.021, 0.994, "invasive cancer"),
        ("11x20", 5.98, 7.02, "adipose tissue"),
        ("12x20", 40, 40, "elsewhere"),
    ]
    text = HEADER + "".join(f"{name}\t{x}\t{y}\t1.5\t2.5\t{label}\n" for name, x, y, label in rows)
    Path("C4_labeled_coordinates.tsv").write_text(text + "13x20\tNA\tNA\t1.0\t2.0\tundetermined\n")
    labels = read_labels("C4_labeled_coordinates.tsv", adata)
    known = {name: label for name, label in zip(adata.obs_names, labels, strict=True) if label != "undetermined"}
    assert known == {"2x1": "invasive cancer", "6x7": "adipose tissue"}
    assert "62 of 64 spots have no label" in caplog.text


def test_real_labels_are_those_of_the_data_set(real_data: Path) -> None:
    (section,) = her2st.load(real_data / "her2st", ["A1"])
    path = real_data / "her2st" / "data" / "ST-pat" / "lbl" / "A1_labeled_coordinates.tsv"
    assert section.label is not None
    np.testing.assert_array_equal(read_labels(path, section.adata), section.label)


@pytest.mark.parametrize(
    "text",
    [
        "barcode,x,label\n0x0,1,fat\n1x0,2,tumor\n",
        "Barcode,Regions\n1x0,tumor\n0x0,fat\n2x0,\n",
        "spot\tcluster\n0x0\tfat\n1x0\ttumor\n",
    ],
)
def test_labels_by_name(adata: AnnData, text: str, caplog: pytest.LogCaptureFixture) -> None:
    Path("labels.csv").write_text(text)
    labels = read_labels("labels.csv", adata)
    assert list(labels[:3]) == ["fat", "tumor", "undetermined"]
    with caplog.at_level(logging.WARNING):
        assert set(labels[3:]) == {"undetermined"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "spot,x,y\n0x0,1,2\n",
            r"has 2 columns beside the spot \('x', 'y'\); name one 'label', .* from her2st",
        ),
        ("spot,label\n0x0,fat\n0x0,fat\n", "spot '0x0' occurs more than once"),
        ("spot,label\n", "has a header but no spots"),
        ("spot,label\nAAAC-1,fat\n", "no labeled spot with the section: the file has 'AAAC-1', ..., the section"),
        ("", "labels.txt is empty"),
        (HEADER + "a\tb\t1\t1\t1\tfat\n", "line 2: x must be a number, got 'b'"),
        (HEADER + "a\t1\t1\t1\t1\tfat\nb\t1.1\t1\t1\t1\tfat\n", "array place 1x1 occurs more than once"),
        (HEADER + "a\t90\t90\t1\t1\tfat\n", "shares no labeled spot"),
        ("x\ty\tlabel\nNA\tNA\tNA\n", "the file has no spot with a place, the section"),
    ],
)
def test_files_that_are_not_right(adata: AnnData, text: str, message: str) -> None:
    Path("labels.txt").write_text(text)
    with pytest.raises(ValueError, match=message):
        read_labels("labels.txt", adata)


def test_no_file_and_no_text(adata: AnnData) -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no file nowhere\.csv"):
        read_labels("nowhere.csv", adata)
    Path("labels.csv").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ValueError, match="is not a text file"):
        read_labels("labels.csv", adata)


def test_places_need_the_array(adata: AnnData) -> None:
    Path("labels.tsv").write_text(HEADER + "a\t1\t1\t1\t1\tfat\n")
    del adata.obs["array_row"]
    with pytest.raises(ValueError, match=r"the section has no obs\['array_row'\]"):
        read_labels("labels.tsv", adata)
