from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from _helpers.offline_runs import read_offline_run

from benchmarks.cell import main, run_cell
from benchmarks.config import read_grid
from hist2st_pyg import load_model
from hist2st_pyg.evaluation.model_scores import evaluate
from hist2st_pyg.training import read_sections
from hist2st_pyg.utils.jobs import failure


def test_a_cell_is_written_and_tracked(grid_file: Path, tmp_path: Path) -> None:
    (cell,) = [c for c in read_grid(grid_file) if (c.model, c.fold.name, c.seed) == ("tiny", "B", 1)]
    path = run_cell(cell, tmp_path / "results", tmp_path / "work", "offline")
    text = path.read_text()
    assert str(tmp_path) not in text
    assert "NaN" not in text
    result = json.loads(text)
    assert {
        "dataset", "split", "fold", "model", "seed", "config", "versions", "patients", "sections", "panel_sha256",
        "chosen_epoch", "metrics", "per_gene", "seconds", "processor_seconds", "peak_mb", "parameters",
    } <= set(result)  # fmt: skip
    assert [result[key] for key in ("dataset", "split", "fold", "model", "seed", "task")] == [
        "made", "leave_one_patient_out", "B", "tiny", 1, "prediction",
    ]  # fmt: skip
    assert result["patients"] == {"train": ["A"], "val": ["A"], "test": ["B"]}
    assert result["patient_sources"] == {"given": ["A1", "A2", "B1"]}
    assert result["sections"] == {"train": ["A1"], "val": ["A2"], "test": ["B1"]}
    genes = list(result["per_gene"])
    assert result["panel_sha256"] == hashlib.sha256("\n".join(genes).encode()).hexdigest()
    assert {
        "pcc_mean", "pcc_median", "pcc_pooled", "ceiling_pcc_mean", "share_of_ceiling", "rmse", "n_genes", "n_constant",
        "pcc_mean_variable_50", "coverage_50", "moran_true", "gsc", "ssc_halves", "ssim_mean", "spearman_mean",
    } <= set(result["metrics"])  # fmt: skip
    assert result["metrics"]["n_genes"] == 6
    assert len(result["curves"]) == result["epochs"]
    assert result["chosen_epoch"] == int(np.argmax([row["val/pcc"] for row in result["curves"]]))
    assert result["val_pcc"] == pytest.approx(max(row["val/pcc"] for row in result["curves"]), abs=1e-4)
    assert result["flops"] > 0
    assert result["processor_seconds"] > 0
    assert result["peak_mb"] > 100
    assert set(result["seconds"]) == {"prepare", "fit", "evaluate"}

    # The same numbers as from the saved model by hand: there is one way to evaluate.
    model = load_model(tmp_path / "work" / cell.place)
    by_hand = evaluate(model, read_sections(cell.config().data, ["B1"]))
    assert by_hand["pcc_mean"] == result["metrics"]["pcc_mean"]
    assert by_hand["per_gene"] == pytest.approx(result["per_gene"], abs=1e-4)

    offline = read_offline_run(tmp_path / "work" / cell.place)
    assert offline.config["data"]["n_genes"] == 6
    assert offline.config["seed"] == 1
    assert (offline.group, offline.job_type) == ("tiny", "tiny")
    assert len([row for row in offline.history if "val/pcc" in row]) == result["epochs"]
    assert any("train/loss" in row for row in offline.history)
    logged = {name: value for row in offline.history for name, value in row.items()}
    assert (logged["test/per_gene/_type"], logged["test/per_gene/nrows"]) == ("table-file", 6)
    assert logged["test/B1_maps/_type"] == "image-file"
    assert offline.artifacts >= {"model", "result"}
    assert offline.summary["test/pcc_mean"] == pytest.approx(result["metrics"]["pcc_mean"])


def test_a_cell_removes_no_folder_that_it_did_not_make(grid_file: Path, tmp_path: Path) -> None:
    cell = read_grid(grid_file)[0]
    folder = tmp_path / "work" / cell.place
    folder.mkdir(parents=True)
    (folder / "precious.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"was not made by an earlier benchmark \(it has no \.cell\)"):
        run_cell(cell, tmp_path / "results", tmp_path / "work", "off")
    assert (folder / "precious.txt").read_text() == "mine"


def test_a_failed_cell_leaves_its_traceback(grid_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = read_grid(grid_file)[0]
    path = cell.result(tmp_path)
    arguments = [str(grid_file), "--results", str(tmp_path), "--work", str(tmp_path / "work"), "--wandb", "off"]

    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("the lamp is off")

    with monkeypatch.context() as patch:
        patch.setattr("benchmarks.cell.train", broken)
        assert main(arguments) == 1
    assert "RuntimeError: the lamp is off" in failure(path).read_text()
    assert not path.exists()
    assert main(arguments) == 0  # what was left does not stand in the way
    assert path.exists()
    assert not failure(path).exists()


def test_cells_are_chosen_by_name_or_number(
    grid_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = [str(grid_file), "--results", str(tmp_path / "r"), "--work", str(tmp_path / "w"), "--wandb", "off"]
    assert main([str(grid_file), "--count"]) == 0
    assert capsys.readouterr().out.strip() == "12"
    assert main([*common, "--fold", "B", "--model", "mean", "--seed", "1"]) == 0
    assert (tmp_path / "r/made/leave_one_patient_out/B/mean/1.json").is_file()
    assert main([*common, "--index", "1"]) == 0
    assert (tmp_path / "r/made/leave_one_patient_out/A/ridge_neighbors/0.json").is_file()
    capsys.readouterr()
    assert main([*common, "--index", "12"]) == 2
    assert "--index must be from 0 to 11, got 12" in capsys.readouterr().err
    assert main([*common, "--model", "resnet"]) == 2
    assert "There is no model 'resnet'" in capsys.readouterr().err
