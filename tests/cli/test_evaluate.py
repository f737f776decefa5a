"""Predictions are compared with measured sections, those of the run's test first."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

import pytest
from _helpers.small_run import CONFIG, OPTIONS

from hist2st_pyg.cli import main
from hist2st_pyg.evaluation.model_scores import scalars


def test_the_sections_that_are_named_else_those_of_the_run_s_test(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    evaluate = ["evaluate", str(run), "--data.name", "synthetic", "--data.options", OPTIONS, "--data.sections", "B1"]
    assert main([*evaluate, "-o", "b1.json", "--figures", "compared"]) == 0
    given = capsys.readouterr().out
    assert main(["evaluate", str(run)]) == 0  # what the run kept for the test
    assert capsys.readouterr().out == given
    assert main(["evaluate", str(run), "--data.sections", "A1"]) == 0
    assert json.loads(capsys.readouterr().out)["seen_in_training"] == ["A1"]
    assert main(["evaluate", str(run / "model"), "--data.options", OPTIONS]) == 2
    assert "config.yaml, the configuration of a run; name the data set" in capsys.readouterr().err
    assert {path.name for path in Path("compared").iterdir()} == {"B1_maps.png", "B1_pcc.png"}
    printed, written = json.loads(given), json.loads(Path("b1.json").read_text())
    assert printed["pcc_mean"] == written["pcc_mean"]
    assert printed["sections"] == {"B1": scalars(written["sections"]["B1"])}
    assert printed["seen_in_training"] == []
    assert printed["held_out"] is True
    assert len(written["sections"]["B1"]["per_gene"]) == 8


def test_a_run_that_kept_no_test_sections_says_so_first(capsys: pytest.CaptureFixture[str]) -> None:
    Path("config.yaml").write_text(CONFIG.replace("  test: [B1]\n", ""))
    assert main(["train", "config.yaml", "--output", "run", "--training.epochs", "1"]) == 0
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging.getLogger(), "handlers", [logging.StreamHandler(sys.stderr)])
        assert main(["evaluate", "run"]) == 0
    out, err = capsys.readouterr()
    assert err.splitlines()[0] == "run has no test sections, so all sections are evaluated."
    assert "2 of the 2 sections were seen in training (A1, B1)" in err
    printed = json.loads(out)
    assert (printed["held_out"], printed["seen_in_training"]) == (False, ["A1", "B1"])
    assert next(iter(printed)) == "held_out"
