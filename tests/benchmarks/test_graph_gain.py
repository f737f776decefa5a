"""The gain of graph layers over none: one thing changes at a time, and rows give the curves that are drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import graph_gain
from benchmarks.graph_gain import NO_EDGES, Setting
from hist2st_pyg import load_sections, make_datamodule


def test_one_value_changes_at_a_time_and_each_setting_is_there_once() -> None:
    base = Setting(spots=50, field=1.0, sections=2)
    found = graph_gain.settings({"spots": [20, 50], "field": [3.0], "sections": [1]}, base)
    assert found == [base, Setting(20, 1.0, 2), Setting(50, 3.0, 2), Setting(50, 1.0, 1)]


@pytest.mark.parametrize(("layer", "edges"), [("none", True), ("sage", True), (NO_EDGES, False)])
def test_the_control_is_a_layer_on_a_graph_without_edges(layer: str, edges: bool) -> None:
    config = graph_gain.config_of(Setting(spots=16, field=2.0, sections=1), layer, seed=0, epochs=1)
    assert (config.model["gnn"], config.data.scales) == ("none" if layer == "none" else "sage", (1.0, 2.0))
    sections = load_sections("synthetic", names=["A1", *graph_gain.TEST], patients=26, sections_per_patient=1, spots=16)
    (data,) = make_datamodule(config, sections).data("train")
    assert (data.edge_index.shape[1] > 0) == edges


def made_rows() -> list[dict[str, Any]]:
    return [
        {"spots": spots, "field": 1.0, "sections": 4, "seed": seed, "layer": layer, "pcc": pcc + seed / 10}
        for spots in (36, 144)
        for seed in (0, 1)
        for layer, pcc in (("none", 0.25), (NO_EDGES, 0.25), ("sage", 0.25 + spots / 1000))
    ]


def test_a_gain_is_of_the_same_cohort_and_is_what_is_drawn() -> None:
    assert graph_gain.gains(made_rows(), Setting(), "sage") == pytest.approx([0.144, 0.144])
    result = {
        "base": vars(Setting()),
        "values": {"spots": [36], "field": [], "sections": []},
        "layers": ["none", NO_EDGES, "sage"],
        "seeds": [0, 1],
        "rows": made_rows(),
    }
    assert graph_gain.ranges(result) == {NO_EDGES: [0, 0], "sage": [0.036, 0.144]}
    panel = graph_gain.drawn(result, []).axes[0]
    lines = {curve.get_label(): list(curve.lines[0].get_ydata()) for curve in panel.containers}
    assert lines["sage"] == pytest.approx([0.036, 0.144])
    assert lines[NO_EDGES] == pytest.approx([0, 0])
    assert [label.get_text() for label in panel.get_xticklabels()] == ["36", "144"]


def made_cells(fold: str, **pcc: float) -> list[dict[str, Any]]:
    return [
        {"grid": "mob_small", "fold": fold, "model": f"hist2st_{layer}", "seed": seed, "metrics": {"pcc_mean": value}}
        for seed in (0, 1)
        for layer, value in pcc.items()
    ]


def test_a_real_gain_is_of_the_same_patient_and_seed() -> None:
    cells = [*made_cells("mouse1", none=0.25, sage=0.375), *made_cells("mouse2", sage=0.5)]
    cells.append({**cells[1], "grid": "another"})
    assert graph_gain.real_gains(cells, "sage") == {"bulb\nmouse1": [0.125, 0.125]}
    result = {"base": vars(Setting()), "values": {"spots": [36], "field": [], "sections": []}, "seeds": [0, 1]}
    panel = graph_gain.drawn({**result, "layers": ["none", NO_EDGES, "sage"], "rows": made_rows()}, cells).axes[-1]
    assert [label.get_text() for label in panel.get_xticklabels()] == ["bulb\nmouse1"]
    assert [list(curve.lines[0].get_ydata()) for curve in panel.containers] == [[0.125]]


def test_the_command_trains_writes_and_draws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(graph_gain, "BASE", Setting(spots=16, sections=1))
    monkeypatch.setattr(graph_gain, "GENES", 4)
    places = ["-o", str(tmp_path / "gain.json"), "--picture", str(tmp_path / "gain.png")]
    axes = ["--spots", "16", "--field", "1", "--sections", "1"]
    assert graph_gain.main(["--layers", "sage", "--seeds", "0", "--epochs", "1", *axes, *places]) == 0
    rows = json.loads((tmp_path / "gain.json").read_text())["rows"]
    assert [row["layer"] for row in rows] == ["none", NO_EDGES, "sage"]
    assert all(-1 <= row["pcc"] <= 1 and "code" in row for row in rows)
    assert (tmp_path / "gain.png").is_file()

    trained = []
    monkeypatch.setattr(graph_gain, "score", lambda config, _: trained.append(config.model["gnn"]) or 0.5)
    assert graph_gain.main(["--layers", "gat", "sage", "--seeds", "0", "--epochs", "1", *axes, *places]) == 0
    result = json.loads((tmp_path / "gain.json").read_text())
    assert trained == ["gat"], "a model with a row is not trained again"
    assert result["layers"] == ["none", NO_EDGES, "sage", "gat"]
    assert result["rows"][:3] == rows
    assert result["rows"][3]["pcc"] == 0.5
    assert set(result["range"]) == {NO_EDGES, "sage", "gat"}
    assert graph_gain.main(["--layers", "sage", "--seeds", "0", "--epochs", "1", *axes, *places, "--overwrite"]) == 0
    assert trained == ["gat", "none", "sage", "sage"]


def test_rows_of_other_epochs_are_not_mixed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "gain.json"
    path.write_text(json.dumps({"base": vars(graph_gain.BASE), "epochs": 60}))
    assert graph_gain.main(["--epochs", "2", "-o", str(path)]) == 2
    assert f"{path} was made with epochs 60, not 2; give another --output, or" in capsys.readouterr().err


def test_a_layer_without_rows_in_a_setting_has_no_point_there() -> None:
    rows = [row for row in made_rows() if row["layer"] != "sage" or row["spots"] == 36]
    assert graph_gain.gains(rows, Setting(), "sage") == []
    result = {
        "base": vars(Setting()), "values": {"spots": [36], "field": [], "sections": []}, "seeds": [0, 1],
        "layers": ["none", NO_EDGES, "sage"], "rows": rows,
    }  # fmt: skip
    assert graph_gain.ranges(result) == {NO_EDGES: [0, 0], "sage": [0.036, 0.036]}
    panel = graph_gain.drawn(result, []).axes[0]
    lines = {curve.get_label(): list(curve.lines[0].get_xdata()) for curve in panel.containers}
    assert lines == {NO_EDGES: [0, 1], "sage": [0]}


def test_a_layer_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert graph_gain.main(["--layers", "sagge", "-o", str(tmp_path / "gain.json")]) == 2
    assert "benchmarks.graph_gain: Unknown --layers='sagge'. Choose one of: gat, " in capsys.readouterr().err
    assert graph_gain.main(["--draw", "-o", str(tmp_path / "none.json")]) == 2
    assert "none.json" in capsys.readouterr().err
