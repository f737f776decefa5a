from __future__ import annotations

import logging
from pathlib import Path

import gseapy.parser
import pytest

from hist2st_pyg.analysis.gene_sets import panel_sets, read_gene_sets

GO = '"initial_alias","converted_alias","name","description","namespace"\n'


def test_gmt_is_read_as_gseapy_reads_it() -> None:
    Path("sets.gmt").write_text("HYPOXIA\thttp://x\tVEGFA\tCA9\tVEGFA\n\nEMT\tna\tVIM\t\tFN1\n")
    found = read_gene_sets("sets.gmt")
    assert found == {"HYPOXIA": ["VEGFA", "CA9"], "EMT": ["VIM", "FN1"]}
    theirs = gseapy.parser.read_gmt("sets.gmt")
    assert {name: set(genes) for name, genes in found.items()} == {k: set(v) - {""} for k, v in theirs.items()}


def test_her2st_s_go_sets() -> None:
    rows = [
        '"GO:1","ENSG1","SP100","SP100 nuclear antigen [Source:HGNC, Acc]","GO"',
        '"GO:1","ENSG2","None","nothing","GO"',
        '"GO:1","ENSG3","SP100","again","GO"',
        '"GO:2","ENSG4","IFI35","x","GO"',
    ]
    Path("go.csv").write_text(GO + "\n".join(rows) + "\n")
    assert read_gene_sets("go.csv") == {"GO:1": ["SP100"], "GO:2": ["IFI35"]}


def test_real_go_sets(real_data: Path) -> None:
    sets = read_gene_sets(real_data / "her2st" / "data" / "go-sets")
    assert {name: len(genes) for name, genes in sets.items()} == {"GO:0034340": 99, "GO:0060337": 95, "GO:0071357": 95}
    assert {"ISG15", "MX2"} <= set(sets["GO:0034340"])


def test_a_folder_of_files() -> None:
    Path("sets").mkdir()
    Path("sets/a.gmt").write_text("A\tna\tVIM\n")
    Path("sets/b.csv").write_text(GO + '"B","E","FN1","d","GO"\n')
    Path("sets/README").write_text("not one")
    assert read_gene_sets("sets") == {"A": ["VIM"], "B": ["FN1"]}
    Path("sets/c.gmt").write_text("B\tna\tVIM\n")
    with pytest.raises(ValueError, match=r"c\.gmt: duplicate gene set 'B'"):
        read_gene_sets("sets")
    Path("empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty holds no gene sets \(\.csv, \.gmt\)"):
        read_gene_sets("empty")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("sets.json", "{}", r"sets\.json is not a file of gene sets; its name must end in one of \.csv, \.gmt"),
        ("sets.gmt", "A\tna\tVIM\nB\tna\n", "line 2: expected name, description, genes"),
        ("sets.gmt", "A\tna\tVIM\nA\tna\tFN1\n", "line 2: duplicate gene set 'A'"),
        ("sets.gmt", "A VIM FN1\n", "line 1: expected name"),
        ("sets.gmt", "\n", "holds no gene set"),
        ("sets.csv", "set,gene\nA,VIM\n", "has the columns set, gene; gene sets need initial_alias and name"),
        ("sets.csv", "", "has the columns none"),
    ],
)
def test_files_that_are_not_right(name: str, text: str, message: str) -> None:
    Path(name).write_text(text)
    with pytest.raises(ValueError, match=message):
        read_gene_sets(name)


def test_no_file_and_no_text() -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no file of gene sets nowhere\.gmt"):
        read_gene_sets("nowhere.gmt")
    Path("sets.gmt").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(ValueError, match=r"sets\.gmt is not a text file in UTF-8"):
        read_gene_sets("sets.gmt")


def test_sets_of_too_few_genes_are_left_out_and_told(caplog: pytest.LogCaptureFixture) -> None:
    sets = {"A": ["G1", "G2", "G1", "G9"], "B": ["G3", "G9"], "C": ["G9"]}
    with caplog.at_level(logging.WARNING):
        assert panel_sets(sets, ["G1", "G2", "G3"], 2) == {"A": ["G1", "G2"]}
    assert "2 gene sets have fewer than 2 genes in the panel: B (1), C (0)" in caplog.text
    assert set(panel_sets(sets, ["G1", "G2", "G3"], 0)) == {"A", "B"}  # a set without a gene says nothing


def test_no_set_is_left() -> None:
    with pytest.raises(
        ValueError, match=r"None of 2 gene sets has 5 genes in the panel of 2 \('G1', \.\.\.\); 'A' has the most"
    ):
        panel_sets({"A": ["G1", "G2", "G3"], "B": ["X"]}, ["G1", "G2"])
    with pytest.raises(ValueError, match="None of 0 gene sets"):
        panel_sets({}, ["G1", "G2"])
