from __future__ import annotations

import importlib.util
import json
import logging
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from _helpers.evaluated import GENES, build
from scipy.stats import pearsonr
from torch_geometric.data import Data

from hist2st_pyg import Preprocessing, Section, evaluate, predict_section
from hist2st_pyg.evaluation import model_scores, section_scores
from hist2st_pyg.evaluation.model_scores import scalars
from hist2st_pyg.inference import predict_spots
from hist2st_pyg.models.base import ExpressionModel
from hist2st_pyg.models.saved import Task
from hist2st_pyg.section import SectionRecord
from hist2st_pyg.utils.file_names import file_name


class Spy(ExpressionModel):
    """Predicts the panel's mean, and notes what it is given."""

    given: Data

    def forward(self, data: Data) -> dict[str, torch.Tensor]:
        self.given = data
        n = int(data.num_nodes or 0)
        return {"expression": torch.ones(n, len(GENES)), "embedding": torch.ones(n, 1)}


def spy(task: Task, section: Section) -> tuple[Spy, dict[str, Any]]:
    model = type("Spy", (Spy,), {"task": task})(len(GENES))
    model.preprocessing = Preprocessing(GENES, patch_size=28, pitch=64.0)
    return model, evaluate(model, [section])


def test_a_section_in_blocks_measures_as_a_whole(cohort: list[Section], monkeypatch: pytest.MonkeyPatch) -> None:
    model = build("nb")
    whole = evaluate(model, cohort[:1])
    monkeypatch.setattr(section_scores, "predict_spots", partial(predict_spots, block=10))
    parts = evaluate(model, cohort[:1])
    for name, value in scalars(whole).items():
        assert parts[name] == (value if value is None else pytest.approx(value, rel=1e-4)), name


def test_sections_of_training_are_told_before_any_work(
    cohort: list[Section], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(*_: Any, **__: Any) -> None:
        raise RuntimeError("work has begun")

    monkeypatch.setattr(model_scores, "measure_section", measure)
    with pytest.raises(RuntimeError, match="work has begun"):
        evaluate(build(), cohort[:2])
    assert "1 of the 2 sections were seen in training (A1): the scores measure the fit to them" in caplog.text
    caplog.clear()
    with pytest.raises(RuntimeError, match="work has begun"):
        evaluate(build(), cohort[1:2])
    assert not caplog.text
    with pytest.raises(RuntimeError, match="work has begun"):
        evaluate(build(), [replace(cohort[0], name="A1_b")])
    assert "seen in training (A1_b)" in caplog.text  # a stripe of a section that trained
    caplog.clear()
    with pytest.raises(RuntimeError, match="work has begun"):
        evaluate(build(), [replace(cohort[1], patient="GSE1/A")])
    assert "The model was trained on other sections of patient GSE1/A: " in caplog.text


def test_sections_are_averaged_and_pooled(cohort: list[Section], tmp_path: Path) -> None:
    model = build()
    result = evaluate(model, cohort[:2], figures=tmp_path / "figures")
    parts = [result["sections"][name] for name in ("A1", "A2")]
    for metric in ("pcc_mean", "ssim_mean", "share_of_ceiling", "n_spots", "ari"):
        assert result[metric] == pytest.approx(np.mean([part[metric] for part in parts]))
    assert set(scalars(result)) == {*scalars(parts[0]), "pcc_pooled"}
    for kind in ("per_gene", "ceiling"):
        assert result[kind]["GENE2"] == pytest.approx(np.mean([part[kind]["GENE2"] for part in parts]))
        assert result[kind]["ABSENT"] is None
    assert model.preprocessing is not None
    target = np.concatenate([model.preprocessing.to_data(section).y.numpy() for section in cohort[:2]])
    predicted = np.concatenate([predict_section(model, section).X for section in cohort[:2]])
    pooled = [pearsonr(target[:, g], predicted[:, g]).statistic for g in range(4)]
    assert result["pcc_pooled"] == pytest.approx(np.mean(pooled), abs=1e-6)
    assert result["seen_in_training"] == ["A1"]
    assert result["held_out"] is False
    assert "held_out" not in scalars(result)  # it is no metric
    assert result["patient_sources"] == {"dataset": ["A1", "A2"]}
    assert evaluate(model, [replace(cohort[0], name="other")])["held_out"] is True
    stripes = [SectionRecord("A1_t", "A", "given")]
    model.training_sections = {"train": stripes, "val": [SectionRecord("A2_v")]}
    result = evaluate(model, cohort[:2])
    assert (result["seen_in_training"], result["patients_seen_in_training"]) == (["A1", "A2"], [])
    model.training_sections["val"] = []
    result = evaluate(model, [replace(cohort[0], name="A1_h")])
    assert (result["seen_in_training"], result["patients_seen_in_training"]) == ([], ["A"])
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        "A1_maps.png", "A1_pcc.png", "A2_maps.png", "A2_pcc.png",
    }  # fmt: skip
    json.dumps(result, allow_nan=False)


def test_a_gene_is_pooled_over_the_sections_that_measured_it(cohort: list[Section]) -> None:
    model = build()
    assert model.preprocessing is not None
    without = cohort[1].adata[:, [gene for gene in cohort[1].adata.var_names if gene != "GENE2"]].copy()
    sections = [cohort[0], Section("A2", "A", without, cohort[1].image)]
    result = evaluate(model, sections)
    arrays = [
        (model.preprocessing.to_data(section).y.numpy(), predict_section(model, section).X) for section in sections
    ]
    pooled = []
    for g in range(4):
        used = arrays[:1] if g == 1 else arrays
        true, predicted = (np.concatenate([pair[i][:, g] for pair in used]) for i in range(2))
        pooled.append(pearsonr(true, predicted).statistic)
    assert result["pcc_pooled"] == pytest.approx(np.mean(pooled), abs=1e-6)
    assert result["per_gene"]["GENE2"] == result["sections"]["A1"]["per_gene"]["GENE2"]


def test_a_model_that_predicts_is_given_nothing_measured(cohort: list[Section]) -> None:
    model, _ = spy("prediction", cohort[0])
    assert model.preprocessing is not None
    expected = model.preprocessing.input_data(cohort[0])
    assert set(model.given.keys()) == set(expected.keys())
    for key in expected.keys():  # noqa: SIM118 - a Data iterates over pairs
        assert torch.equal(model.given[key], expected[key])


@pytest.mark.parametrize("task", ["interpolation", "diagnostic"])
def test_other_tasks_are_given_the_counts(task: Task, cohort: list[Section]) -> None:
    model, _ = spy(task, cohort[0])
    assert {"counts", "y", "size_factor"} <= set(model.given.keys())


def test_what_cannot_be_computed_is_none(cohort: list[Section]) -> None:
    _, result = spy("prediction", cohort[0])
    metrics = scalars(result)
    assert {name for name, value in metrics.items() if value is None} == {
        "moran_predicted", "coverage_50", "coverage_90",
    }  # fmt: skip
    for name in ("pcc_mean", "share_of_ceiling", "pcc_pooled", "gsc", "ssc", "ari", "ari_paper"):
        assert metrics[name] == 0, name
    assert metrics["n_constant_predictions"] == 4
    unlabeled = cohort[0].adata.copy()
    del unlabeled.obs["label"]
    without = evaluate(build(), [Section("A1", "A", unlabeled, cohort[0].image)])
    assert without["ari"] is without["ari_paper"] is None


def test_without_leiden_regions_are_left_out_with_a_warning(
    cohort: list[Section], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name == "igraph" else find_spec(name, *a))
    with caplog.at_level(logging.WARNING, logger="hist2st_pyg"):
        metrics = evaluate(build(), cohort[:1])
    assert metrics["ari"] is metrics["nmi"] is None
    assert metrics["ari_paper"] is not None
    assert "A1: ari and nmi need Leiden: pip install 'hist2st_pyg[cluster]'" in caplog.text


def test_a_section_with_embeddings_needs_no_image(cohort: list[Section], tmp_path: Path) -> None:
    adata = cohort[0].adata.copy()
    adata.obsm["numbers"] = np.random.default_rng(0).normal(size=(len(cohort[0]), 5))
    section = Section("A1", "A", adata)

    class Linear(Spy):
        def forward(self, data: Data) -> dict[str, torch.Tensor]:
            return {"expression": data.x, "embedding": data.x}

    model = Linear(len(GENES))
    model.preprocessing = Preprocessing(GENES, embedding="numbers", pitch=64.0)
    result = evaluate(model, [section], figures=tmp_path / "figures")
    assert result["pcc_mean"] is not None
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"A1_maps.png", "A1_pcc.png"}


def test_the_seed_decides_and_the_cache_changes_nothing(cohort: list[Section], tmp_path: Path) -> None:
    model = build("nb")
    first = evaluate(model, cohort[:1], cache=tmp_path / "cache")
    assert any((tmp_path / "cache").iterdir())
    assert evaluate(model, cohort[:1]) == first
    assert evaluate(model, cohort[:1], seed=1)["ceiling"] != first["ceiling"]


def test_no_sections() -> None:
    with pytest.raises(ValueError, match="sections is empty"):
        evaluate(build(), [])


def test_sections_of_the_same_name(cohort: list[Section]) -> None:
    with pytest.raises(ValueError, match="Section names must be unique, got 'A1' more than once"):
        evaluate(build(), [cohort[0], cohort[1], cohort[0]])


def test_a_gene_set_outside_the_panel(cohort: list[Section]) -> None:
    with pytest.raises(ValueError, match=r"gene_sets\['top'\] must hold genes of the model's panel of 5, got 'GENE9'"):
        evaluate(build(), cohort[:1], gene_sets={"top": ["GENE1", "GENE9"]})


def test_the_result_is_written_before_pictures_that_cannot_be_drawn(
    cohort: list[Section], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*arguments: object, **options: object) -> None:
        assert (tmp_path / "out.json").is_file()
        raise RuntimeError("no ink")

    section = replace(cohort[0], name="../<out>")
    monkeypatch.setattr(model_scores.figures, "true_and_predicted", broken)
    result = evaluate(build(), [section], output=tmp_path / "out.json", figures=tmp_path / "f")
    assert json.loads((tmp_path / "out.json").read_text())["pcc_mean"] == result["pcc_mean"]
    assert caplog.messages[-1] == f"../<out> in {tmp_path / 'f'} was not drawn: RuntimeError: no ink"
    monkeypatch.undo()
    evaluate(build(), [section], figures=tmp_path / "f" / "g", cache=tmp_path / "f" / "c")
    made = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file())
    name = file_name("../<out>")
    assert made[0].startswith(f"f/c/{name}-")
    assert made[1:] == [f"f/g/{name}_maps.png", f"f/g/{name}_pcc.png", "out.json"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "/proc/e.json"}, "/proc/e.json cannot be written"),
        ({"figures": "/proc/f"}, "/proc/f cannot be written"),
        ({"device": "foo"}, "device='foo': there is no such device"),
    ],
)
def test_what_cannot_be_right_is_refused_before_the_work(
    options: dict[str, Any], message: str, cohort: list[Section], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_scores, "measure_section", None)
    with pytest.raises((OSError, ValueError), match=message):
        evaluate(build(), cohort, **options)
