"""What a user of ``hist2st convert`` gives is checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from _helpers.original_weights import recorded, write_checkpoint

from hist2st_pyg.cli import main
from hist2st_pyg.cli.convert import FLAGS
from hist2st_pyg.compat import ORIGINALS, convert


@pytest.fixture
def checkpoint() -> Path:
    return write_checkpoint(recorded("hist2st_nb_max")[1])


def test_the_panel_and_the_sections_are_checked(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("genes.txt").write_text("A\nB\n")
    np.save("genes.npy", np.array(["A"], dtype=object))
    Path("twice.txt").write_text("A\nA\n")
    for arguments, message in (
        (["--genes", "genes.txt"], "genes.txt: the panel has 2 genes, but the weights have 12."),
        (["--genes", "genes.npy"], "genes.npy is a numpy file; those of the original programs are pickles"),
        (["--genes", "twice.txt"], "gene 'A' is in the panel twice"),
        (["--genes", "none.txt"], "none.txt"),
        (["--training_sections", "[A1]"], "A training section must be written as patient/section, got 'A1'."),
    ):
        assert main(["convert", str(checkpoint), "-o", "model", *arguments]) == 2
        assert message in capsys.readouterr().err
    assert not Path("model").exists()
    preprocessing = convert(checkpoint, genes=list("ABCDEFGHIJKL")).model.preprocessing
    assert preprocessing is not None
    assert preprocessing.genes == tuple("ABCDEFGHIJKL")


def test_a_configuration_is_json(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("broken.json").write_text("{")
    Path("list.json").write_text("[1]")
    Path("deep.json").write_text("[" * 5000)
    Path("twice.json").write_text('{"policy": "mean", "policy": "max"}')
    for name, message in (
        ("broken.json", "broken.json is not JSON: "),
        ("list.json", "list.json must hold arguments"),
        ("deep.json", "deep.json is nested too deep"),
        ("twice.json", "twice.json is not JSON: the key 'policy' is duplicated"),
        ("absent.json", "There is no file absent.json"),
    ):
        assert main(["convert", str(checkpoint), "-o", "model", "--config", name]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", FLAGS)
def test_a_flag_is_an_argument_of_a_published_program_and_of_its_type(name: str) -> None:
    assert FLAGS[name][0] in {original.known.get(name) for original in ORIGINALS.values()}
