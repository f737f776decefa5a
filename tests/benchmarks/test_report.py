"""The report of made results: its numbers against calculations by hand, its page in a browser."""

from __future__ import annotations

import html
import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy.stats import wilcoxon

from benchmarks import report
from benchmarks.config import EXPLICIT
from benchmarks.reporting.cells import grouped, read_cells, read_failures
from benchmarks.reporting.comparison import CHOSEN, compared, pictured
from benchmarks.reporting.facts import SPLITS as DESCRIBED
from benchmarks.reporting.facts import describe, facts, verdict, warnings
from benchmarks.reporting.markdown import report_markdown, with_table
from benchmarks.reporting.methods import read_methods
from benchmarks.reporting.page import report_page
from benchmarks.reporting.tables import fold_table, main_table, more_table, readme_rows, statistics_table
from hist2st_pyg import models
from hist2st_pyg.data.splits import SPLITS

GENES = [f"GENE{i}" for i in range(12)]
MODELS = {"ridge_neighbors": 0.20, "sage": 0.26, "gat": 0.24, "depth_only": 0.30}
TASKS = {"depth_only": "diagnostic"}
SECTIONS = {"A": ["A1", "A2"], "B": ["B1"]}
Results = Callable[..., Path]


def make_cell(fold: str, model: str, seed: int, **changes: Any) -> dict[str, Any]:
    """A result with random numbers, the same for the same arguments."""
    rng = np.random.default_rng([ord(fold[0]), list(MODELS).index(model), seed])
    test = {}
    for section in SECTIONS[fold]:
        measured = np.random.default_rng(sum(map(ord, section)))
        ceiling = measured.uniform(0.4, 0.7, len(GENES)).round(3)
        pcc = (MODELS[model] + rng.normal(0, 0.05, len(GENES))).round(4)
        grid = np.stack(np.meshgrid(np.arange(8) * 100.0, np.arange(6) * 100.0), -1).reshape(-1, 2)
        maps = {
            gene: {"true": measured.normal(1, 0.5, 48).round(3).tolist(), "predicted": rng.normal(1, 0.2, 48).tolist()}
            for gene in GENES[:3]
        }
        per_gene = dict(zip(GENES, pcc.tolist(), strict=True)) | {"GENE11": None}
        mean = float(np.mean(pcc[:-1]))
        test[section] = {
            "metrics": {"pcc_mean": mean, "ceiling_pcc_mean": float(ceiling.mean()), "n_spots": 48, "n_constant": 1},
            "per_gene": per_gene,
            "ceiling": dict(zip(GENES, ceiling.tolist(), strict=True)),
            "map": {"pos": grid.tolist(), "genes": maps},
        }
    pcc_mean = float(np.mean([result["metrics"]["pcc_mean"] for result in test.values()]))
    ceiling_mean = float(np.mean([result["metrics"]["ceiling_pcc_mean"] for result in test.values()]))
    genes = {g: None if g == "GENE11" else float(np.mean([r["per_gene"][g] for r in test.values()])) for g in GENES}
    trained = model in ("sage", "gat")
    # On fold A validation prefers gat although sage is better in the test.
    val = (0.31 if model == ("gat" if fold == "A" else "sage") else 0.29) + 0.001 * seed if trained else None
    curve = [{"epoch": e, "train/loss": 1 / (e + 1), "val/pcc": 0.3 * e / 60 + 0.001 * seed} for e in range(61)]
    return {
        "dataset": "made", "split": "leave_one_patient_out", "fold": fold, "model": model, "seed": seed, "grid": "made",
        "task": TASKS.get(model, "prediction"),
        "config": {
            "data": {}, "model": {"name": "hist2st" if trained else model},
            "training": {"epochs": 60, "patience": 20, "max_minutes": None}, "preset": "small",
        },
        "versions": {"code": "0123456789ab", "hist2st_pyg": "0.1.0"}, "device": "cpu", "threads": 1,
        "patients": {"train": ["C"], "val": ["D"], "test": [fold]},
        "sections": {"train": ["C1"], "val": ["D1"], "test": SECTIONS[fold]},
        "panel_sha256": "ab" * 32, "chosen_epoch": 57 if trained else None, "val_pcc": val,
        "metrics": {
            "pcc_mean": pcc_mean, "pcc_median": pcc_mean + 0.01, "spearman_mean": pcc_mean - 0.01,
            "pcc_pooled": pcc_mean + 0.1, "rmse": 1 - pcc_mean, "ceiling_pcc_mean": ceiling_mean,
            "share_of_ceiling": pcc_mean / ceiling_mean, "coverage_50": 0.52 if trained else None, "ari": None,
            "n_genes": 12, "n_constant": 1,
        },
        "per_gene": genes, "test": test, "curves": curve if trained else [],
        "seconds": {"prepare": 1.0, "fit": 30.0 + seed if trained else 0.5, "evaluate": 2.0},
        "peak_mb": 900.0, "parameters": 100_000 if trained else 0, "flops": 1e9 if trained else None,
        "encoder_weights": "random: no weights file" if model == "gat" else None,
        **changes,
    }  # fmt: skip


def write_cell(folder: Path, cell: dict[str, Any]) -> Path:
    place = folder / cell["dataset"] / cell["split"] / cell["fold"] / cell["model"] / f"{cell['seed']}.json"
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(json.dumps(cell))
    return place


def write_results(folder: Path, skip: tuple[tuple[str, str, int], ...] = (), **changes: Any) -> Path:
    for fold, model, seed in itertools.product(SECTIONS, MODELS, (0, 1)):
        if (fold, model, seed) not in skip:
            write_cell(folder, make_cell(fold, model, seed, **changes))
    return folder


@pytest.fixture
def results(tmp_path: Path) -> Results:
    return partial(write_results, tmp_path / "results")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole report, to be looked at by several tests."""
    folder = tmp_path_factory.mktemp("report")
    return report.report(write_results(folder / "results"), folder / "report")


@pytest.fixture
def group(results: Results) -> Any:
    folder = results()
    (found,) = grouped(read_cells(folder), read_failures(folder))
    return found


def row_of(table: Any, model: str) -> dict[str, Any]:
    (row,) = [row for row in table.rows if row.model == model]
    return dict(zip([column.key for column in table.columns], row.entries, strict=True))


def pcc(fold: str, model: str, seed: int) -> float:
    return float(make_cell(fold, model, seed)["metrics"]["pcc_mean"])


def test_the_main_table_is_what_a_calculation_by_hand_gives(group: Any) -> None:
    table = main_table(group)
    assert [row.model for row in table.predictions] == ["sage", "gat", "ridge_neighbors"]
    assert [(row.model, row.task) for row in table.others] == [("depth_only", "diagnostic")]
    a, b = [pcc("A", "sage", 0), pcc("A", "sage", 1)], [pcc("B", "sage", 0), pcc("B", "sage", 1)]
    row = row_of(table, "sage")
    assert row["fold_A"].text == f"{np.mean(a):.3f} ± {np.std(a, ddof=1):.3f}"
    assert row["fold_B"].value == pytest.approx(np.mean(b))
    folds = [np.mean(a), np.mean(b)]
    # Fold A tests two sections, fold B one.
    mean = (2 * folds[0] + folds[1]) / 3
    assert row["pcc_mean"].text == f"{mean:.3f} ± {np.std(folds, ddof=1):.3f}"
    shares = [make_cell(fold, "sage", seed)["metrics"]["share_of_ceiling"] for fold in "AAB" for seed in (0, 1)]
    assert row["share_of_ceiling"].text == f"{100 * np.mean(shares):.0f} %"
    assert row["rmse"].value == pytest.approx(1 - mean)
    assert row["seconds_fit"].text == "30.5"
    assert row["cells"].text == "4 of 4"


def test_more_metrics_leave_out_what_no_model_has(group: Any) -> None:
    table = more_table(group)
    keys = [column.key for column in table.columns]
    assert "ari" not in keys
    assert "pcc_mean_detected" not in keys
    assert row_of(table, "sage")["coverage_50"].text == "52 %"
    assert row_of(table, "ridge_neighbors")["coverage_50"].text == "–"
    assert row_of(table, "sage")["parameters"].text == "100,000"
    assert row_of(table, "gat")["flops"].text == "1"
    assert row_of(table, "gat")["chosen_epoch"].text == "58"  # counted from 1


def test_results_from_before_a_metric_are_shown_beside_those_that_have_it(results: Results) -> None:
    folder = results()
    for path in folder.glob("*/*/*/sage/*.json"):
        cell = json.loads(path.read_text())
        cell["metrics"] |= {"gsc": 0.25, "gsc_halves": 0.5, "ssc": -0.125, "ssc_halves": 0.75}
        path.write_text(json.dumps(cell))
    (group,) = grouped(read_cells(folder))
    table = more_table(group)
    shown = {column.key: column for column in table.columns}
    for key, text in (("gsc", "0.250"), ("gsc_halves", "0.500"), ("ssc", "−0.125"), ("ssc_halves", "0.750")):
        assert row_of(table, "sage")[key].text == text
        assert row_of(table, "gat")[key].text == "–"
        assert shown[key].better == (0 if "halves" in key else 1)


def test_one_fold_is_averaged_over_seeds(results: Results) -> None:
    (group,) = grouped(cell for cell in read_cells(results()) if cell["fold"] == "A")
    table = main_table(group)
    assert [column.key for column in table.columns][:3] == ["pcc_mean", "share_of_ceiling", "pcc_median"]
    seeds = [pcc("A", "gat", 0), pcc("A", "gat", 1)]
    assert row_of(table, "gat")["pcc_mean"].text == f"{np.mean(seeds):.3f} ± {np.std(seeds, ddof=1):.3f}"


def test_many_folds_have_a_table_of_their_own(results: Results) -> None:
    cells = [make_cell("A", m, 0) | {"fold": f"F{i}"} for m in ("sage", "ridge_neighbors") for i in range(6)]
    (group,) = grouped(cells)
    assert "fold_F0" not in [column.key for column in main_table(group).columns]
    table = fold_table(group)
    assert table is not None
    assert [column.key for column in table.columns] == [f"fold_F{i}" for i in range(6)]
    assert row_of(table, "sage")["fold_F3"].text == f"{pcc('A', 'sage', 0):.3f}"
    assert [column.key for column in readme_rows(group, None).columns] == ["pcc_mean", "share_of_ceiling"]


def test_missing_and_failed_cells_are_told(results: Results) -> None:
    folder = results(skip=(("B", "gat", 1), ("B", "sage", 0), ("B", "sage", 1)))
    failed = folder / "made" / "leave_one_patient_out" / "B" / "sage" / "0.failed.txt"
    failed.parent.mkdir(exist_ok=True)
    failed.write_text('Traceback (most recent call last):\n  File "x"\nRuntimeError: loss | is nan\n')
    (group,) = grouped(read_cells(folder), read_failures(folder))
    table = main_table(group)
    assert row_of(table, "gat")["cells"].text == "3 of 4"
    assert row_of(table, "gat")["fold_B"].text == f"{pcc('B', 'gat', 0):.3f} (n=1)"
    # A mean over other folds than those of the other models would not compare with theirs.
    assert row_of(table, "sage")["pcc_mean"].text == "–"
    assert table.rows[-2].model == "sage"
    assert warnings(group) == [
        "Without a mean over folds, because folds are missing: sage (B).",
        "1 cell failed; the last line of each traceback is below.",
    ]
    text = report_markdown([group], [compared(group, "ridge_neighbors")], [[]], ["genes.csv"])
    assert "- `B/sage/0`: RuntimeError: loss \\| is nan" in text
    failed.write_text("RuntimeError: <script>alert(1)</script>\n")
    (group,) = grouped(read_cells(folder), read_failures(folder))
    text = report_markdown([group], [None], [[("<b>", "figures/a b<.png")]], ["genes.csv"])
    assert "RuntimeError: &lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "![&lt;b&gt;](figures/a%20b%3C.png)" in text
    assert "<script>" not in text


def test_a_split_that_leaks_says_so(results: Results) -> None:
    patients = {"train": ["A", "B"], "val": ["C"], "test": ["A"]}
    folder = results(split="leave_one_section_out", patients=patients)
    groups = grouped(read_cells(folder))
    for text in (
        report_page(groups, [None], [[]], ["genes.csv"]),
        report_markdown(groups, [None], [[]], ["genes.csv"]),
    ):
        assert (
            "These results leak patients: patient A of the test sections also trains or validates (2 of 2 folds)."
            in text
        )
        assert "as in Zeng et al. 2022" in text
    assert "**Leaks patients.**" in report.readme_table(report.read_cells(folder))


DECLARED = {"each_section": ["A1", "A2", "B1", "C1", "D1"]}


@pytest.mark.parametrize(
    ("split", "changes", "true"),
    [
        ("leave_one_patient_out", {}, True),
        ("leave_one_patient_out", {"patient_sources": {"given": ["A1", "B1"], "dataset": ["C1"]}}, True),
        ("leave_one_patient_out", {"patient_sources": DECLARED}, False),
        ("k_fold_patients", {"patient_sources": DECLARED}, False),
        ("explicit", {"patient_sources": DECLARED}, False),
        ("explicit_sections", {"patient_sources": DECLARED}, True),
        ("leave_one_section_out", {"patient_sources": {"unknown": ["A1", "B1"]}}, True),
        # Of an earlier version: its patients were the sections, unless its configuration gave them.
        ("leave_one_patient_out", {"patients": {"train": ["C1"], "val": ["D1"], "test": ["A1"]}}, False),
    ],
)
def test_a_split_by_patient_is_claimed_where_patients_are_known(
    results: Results, split: str, changes: dict[str, Any], true: bool
) -> None:
    (group,) = grouped(read_cells(results(split=split, **changes)))
    assert (describe(group) == DESCRIBED[split]) is true
    text = report_markdown([group], [None], [[]], ["genes.csv"])
    assert ("Whether those are of other patients is not known" in " ".join(text.split())) is not true


def test_the_report_says_how_patients_are_known(results: Results) -> None:
    (group,) = grouped(read_cells(results()))
    assert dict(facts(group))["Patients"] == "The data set names the patients"
    config = make_cell("A", "sage", 0)["config"]
    given = config | {"data": {"patients": {"A1": "A"}}}
    (group,) = grouped(read_cells(results(config=given)))
    assert dict(facts(group))["Patients"] == "The user named the patients"
    (group,) = grouped(read_cells(results(patient_sources={"unknown": ["A1", "B1"], "given": ["C1"]})))
    assert dict(facts(group))["Patients"] == ("The patients are not known (A1, B1). The user named the patients (C1)")
    assert warnings(group) == [
        "It is not known whose sections A1, B1 are: a patient may train and be tested, and scores are then higher than "
        "for one that was never seen."
    ]


def test_no_warning_without_a_reason(group: Any) -> None:
    assert warnings(group) == []


def test_what_does_not_compare_is_told(results: Results) -> None:
    folder = results()
    write_cell(folder, make_cell("A", "sage", 0, panel_sha256="cd" * 32, versions={"code": "fedcba-dirty"}))
    cell = make_cell("B", "sage", 0)
    write_cell(folder, cell | {"test": {"B2": cell["test"]["B1"]}})
    (group,) = grouped(read_cells(folder))
    assert warnings(group) == [
        "Fold A: the models were scored on different gene panels; their means do not compare.",
        "Fold B: the models were tested on different sections; their means do not compare.",
        "The results were made by 2 states of the code: 0123456789ab, fedcba-dirty.",
        "Some results were made by code with changes that are in no commit (-dirty).",
    ]


def test_every_split_is_described() -> None:
    assert set(DESCRIBED) == {*SPLITS, *EXPLICIT}


def test_facts_name_sections_budget_and_ceiling(group: Any) -> None:
    found = dict(facts(group))
    assert found["Folds"] == "2 (A, B), seeds 0, 1"
    assert found["Test sections"] == "3, 144 spots (48 a section)"
    assert found["Genes"] == "12, panel abababab; 1 constant in the target, left out"
    assert found["Budget"] == "60 epochs, patience 20"
    assert found["Training"] == "0–31 s a cell, cpu, threads: 1"
    ceiling = make_cell("B", "sage", 0)["metrics"]["ceiling_pcc_mean"]
    assert found["Attainable PCC"].endswith(f"B {ceiling:.3f}")


def test_differences_are_paired_and_over_seeds(group: Any) -> None:
    comparison = compared(group, "ridge_neighbors")
    assert comparison is not None
    means = {
        model: [
            np.mean([[make_cell(f, model, s)["test"][name]["per_gene"][g] for g in GENES[:-1]] for s in (0, 1)])
            for f, name in (("A", "A1"), ("A", "A2"), ("B", "B1"))
        ]
        for model in ("sage", "ridge_neighbors")
    }
    difference = np.subtract(means["sage"], means["ridge_neighbors"])
    row = row_of(statistics_table(comparison), "sage")
    assert row["difference"].value == pytest.approx(difference.mean())
    # The main table's means differ by the same.
    pcc_mean = {model: row_of(main_table(group), model)["pcc_mean"].value for model in means}
    assert pcc_mean["sage"] - pcc_mean["ridge_neighbors"] == pytest.approx(difference.mean())
    low, middle, high = row["difference"].interval
    assert low < middle < high
    assert row["difference"].text == f"{middle:+.3f} [{low:+.3f}, {high:+.3f}]".replace("-", "−")
    assert row["p_wilcoxon"].value == pytest.approx(wilcoxon(difference).pvalue)
    assert row["n_sections"].text == "3"
    assert re.fullmatch(r"[+−]\d+\.\d\d \[[+−]\d+\.\d\d, [+−]\d+\.\d\d\]", row["effect_size"].text)
    assert "its p is at least 0.2500" in statistics_table(comparison).caption
    assert "depth_only" not in comparison.table.index


def test_validation_chooses_the_variant_in_each_fold(group: Any) -> None:
    comparison = compared(group, "ridge_neighbors")
    assert comparison is not None
    assert comparison.chosen == {"A": "gat", "B": "sage"}
    assert comparison.row == CHOSEN
    reached = np.mean([pcc(f, m, s) for f, m in (("A", "gat"), ("A", "gat"), ("B", "sage")) for s in (0, 1)])
    text = verdict(group, comparison)
    assert f"(`gat` in A; `sage` in B), reaches PCC {reached:.3f}, " in text
    # Sections count alike: two of gat's fold, one of sage's.
    gat, sage, ridge = (
        [np.mean([make_cell(f, m, s)["test"][n]["metrics"]["pcc_mean"] for s in (0, 1)]) for f, n in sections]
        for m, sections in (
            ("gat", [("A", "A1"), ("A", "A2")]),
            ("sage", [("B", "B1")]),
            ("ridge_neighbors", [("A", "A1"), ("A", "A2"), ("B", "B1")]),
        )
    )
    expected = np.mean(np.subtract([*gat, *sage], ridge))
    assert comparison.table.loc[CHOSEN, "mean_difference"] == pytest.approx(expected)


def test_without_validation_nothing_is_chosen(results: Results) -> None:
    (group,) = grouped(read_cells(results(val_pcc=None)))
    comparison = compared(group, "ridge_neighbors")
    assert verdict(group, comparison) == (
        "No hist2st variant can be chosen by validation: a fold has none with a validation PCC."
    )
    chosen, how = pictured(group, comparison)
    assert chosen == {"A": "sage", "B": "sage"}
    assert how.startswith("the model with the highest test PCC")


def test_a_model_that_never_met_the_reference_is_not_compared(results: Results) -> None:
    skip = tuple((fold, model, seed) for fold, model in (("A", "sage"), ("B", "ridge_neighbors")) for seed in (0, 1))
    (group,) = grouped(read_cells(results(skip=skip)))
    comparison = compared(group, "ridge_neighbors")
    assert comparison is not None
    assert "sage" not in comparison.table.index
    assert compared(group, "mlp") is None
    (alone,) = grouped(cell for cell in group.cells if cell["model"] == "sage")
    assert compared(alone, "sage") is None


def test_what_is_written(page: Path) -> None:
    figures = {path.name for path in (page.parent / "figures").iterdir()}
    start = "made_leave_one_patient_out_"
    assert figures == {
        f"{start}{name}.png" for name in ("sections", "genes", "curves", "cost", "maps_A_A1", "maps_A_A2", "maps_B_B1")
    }
    for name in figures:
        with Image.open(page.parent / "figures" / name) as image:
            assert len(image.convert("RGB").getcolors(1 << 24) or []) > 20
    text = (page.parent / "report.md").read_text()
    assert set(re.findall(r"\]\(figures/([^)]+)\)", text)) == figures
    assert "1. Encoder weights: random: no weights file" in text
    assert "| `gat` <sup>1</sup> |" in text
    assert "*Not comparable with the rows above* (diagnostic)." in text
    assert "\n| `depth_only` |" in text
    assert "p, genes" in text
    # No stars in place of numbers, nothing that is not a number, no path of this machine.
    assert not re.search(r"\*{1,3} \||nan|None", text)
    assert str(page.parent) not in text


def test_the_page_loads_nothing_but_its_pictures(page: Path) -> None:
    text = page.read_text()
    assert "default-src 'none'" in text
    loaded = set(re.findall(r"""(?:src|href)\s*=\s*["'](?!#|data:)([^"']+)""", text))
    pictures = {f"figures/{path.name}" for path in (page.parent / "figures").iterdir()}
    assert loaded == {*pictures, "genes/made_leave_one_patient_out.csv"}
    assert not re.search(r"https?://", text)


def test_the_table_of_genes_is_the_mean_over_sections_of_the_mean_over_seeds(page: Path) -> None:
    table = pd.read_csv(page.parent / "genes" / "made_leave_one_patient_out.csv", index_col="gene")
    assert sorted(table.columns) == sorted(["attainable PCC", *MODELS])
    assert list(table.index) == sorted(GENES)
    expected = np.mean([make_cell(f, "sage", s)["per_gene"]["GENE3"] for f in "AAB" for s in (0, 1)])
    assert table.loc["GENE3", "sage"] == pytest.approx(expected, abs=1e-4)
    assert np.isnan(table.loc["GENE11", "sage"])
    ceilings = [
        make_cell(f, "sage", 0)["test"][name]["ceiling"]["GENE3"] for f, name in (("A", "A1"), ("A", "A2"), ("B", "B1"))
    ]
    assert table.loc["GENE3", "attainable PCC"] == pytest.approx(np.mean(ceilings), abs=1e-4)


def test_names_are_escaped(results: Results) -> None:
    text = report_page(grouped(read_cells(results(encoder_weights="</script><b>"))), [None], [[]], ["genes.csv"])
    assert "&lt;/script&gt;&lt;b&gt;" in text
    assert "</script><b>" not in text


def test_the_readme_is_rewritten(results: Results, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- table: benchmarks.report -->\nold\n<!-- end of table -->\nafter\n")
    folder = results()
    arguments = [str(folder), "-o", str(tmp_path / "report"), "--readme", str(readme)]
    assert report.main(arguments) == 0
    table = report.readme_table(report.read_cells(folder))
    assert readme.read_text() == (f"before\n<!-- table: benchmarks.report -->\n{table}\n<!-- end of table -->\nafter\n")
    assert with_table(readme.read_text(), table) == readme.read_text()
    assert "| model | fold A | fold B | all 2 folds | of ceiling | difference from `ridge_neighbors` [95 %] |" in table
    seeds = [pcc("A", "gat", 0), pcc("A", "gat", 1)]
    assert f"\n| `gat` | {np.mean(seeds):.3f} ± {np.std(seeds, ddof=1):.3f} | " in table
    assert table.splitlines()[-1].startswith("| `ridge_neighbors` |")
    assert table.endswith("| – |")
    assert "depth_only" not in table
    with pytest.raises(ValueError, match="needs the lines '<!-- table: benchmarks"):
        with_table("no table", table)


def test_the_committed_pictures_are_those_of_the_committed_report() -> None:
    folder = report.HERE / "report"
    named = set(re.findall(r"\(figures/([^)]+)\)", (folder / "report.md").read_text(encoding="utf-8")))
    assert {path.name for path in (folder / "figures").iterdir()} == named


def test_errors_name_the_file_and_what_is_wrong(results: Results, tmp_path: Path, capsys: Any) -> None:
    assert report.main([str(tmp_path / "none")]) == 2
    assert "There is no result in" in capsys.readouterr().err
    folder = results()
    with pytest.raises(ValueError, match=r"No result has the reference 'mlp'\. Choose one of: gat, ridge_neighbors, s"):
        report.report(folder, tmp_path, "mlp")
    place = folder / "made" / "leave_one_patient_out" / "A" / "sage" / "0.json"
    cell = make_cell("A", "sage", 0)
    for text, message in (
        ("{", r"0\.json is not JSON"),
        (json.dumps({k: v for k, v in cell.items() if k != "curves"}), r"0\.json lacks curves"),
        (json.dumps(cell | {"task": "guess"}), r"0\.json: unknown task 'guess'\. Choose from: prediction"),
        (json.dumps(cell | {"seed": 3}), r"0\.json holds seed=3, which contradicts"),
    ):
        place.write_text(text)
        with pytest.raises(ValueError, match=message):
            report.read_cells(folder)
    (group,) = grouped([cell | {"split": "by_coin"}])
    with pytest.raises(ValueError, match=r"Unknown split='by_coin'\. Choose one of: explicit"):
        describe(group)


@pytest.fixture
def browser() -> Callable[..., tuple[str, str]]:
    found = next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
    )
    if found is None:
        pytest.skip("the page is looked at in Chromium, which is not installed (Debian: apt-get install chromium)")

    def run(address: str, *arguments: str) -> tuple[str, str]:
        command = [
            found, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr",
            "--virtual-time-budget=5000", *arguments, address,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        return done.stdout, done.stderr

    return run


def order(page: str, table: int = 0) -> list[str]:
    body = re.findall(r"<table.*?</table>", page, re.DOTALL)[table].split("<tbody>")[1].split("</tbody>")[0]
    return re.findall(r'<tr data-model="([^"]+)"', body)


def test_the_page_works_in_a_browser(page: Path, browser: Callable[..., tuple[str, str]], tmp_path: Path) -> None:
    address = page.resolve().as_uri()
    seen, log = browser(address, "--dump-dom", f"--user-data-dir={tmp_path / 'profile'}")
    assert "CONSOLE" not in log
    assert order(seen) == ["sage", "gat", "ridge_neighbors"]
    assert re.search(r'<th scope="col" data-key="pcc_mean"[^>]*aria-sort="descending"', seen)

    for wanted, expected, direction in (
        ("rmse", ["sage", "gat", "ridge_neighbors"], "ascending"),
        ("-rmse", ["ridge_neighbors", "gat", "sage"], "descending"),
        ("model", ["gat", "ridge_neighbors", "sage"], "ascending"),
    ):
        seen, log = browser(f"{address}#sort={wanted}", "--dump-dom", f"--user-data-dir={tmp_path / 'profile'}")
        assert "CONSOLE" not in log
        assert order(seen) == expected
        assert re.search(rf'data-key="{wanted.strip("-")}"[^>]*aria-sort="{direction}"', seen)


@pytest.mark.parametrize("width", [1280, 500])
def test_the_page_is_not_blank_and_does_not_overflow(
    page: Path, browser: Callable[..., tuple[str, str]], tmp_path: Path, width: int
) -> None:
    shot = tmp_path / "shot.png"
    options = (f"--screenshot={shot}", f"--window-size={width},2400", f"--user-data-dir={tmp_path / 'profile'}")
    browser(page.resolve().as_uri(), *options)
    with Image.open(shot) as image:
        assert image.size == (width, 2400)
        pixels = np.asarray(image.convert("RGB"), dtype=int)
    paper = pixels[2, 2]
    drawn = np.abs(pixels - paper).sum(axis=-1) > 30
    assert 0.02 < drawn.mean() < 0.8
    # The page's margins stay free: only tables scroll, each in its own box.
    assert not drawn[:, -8:].any()
    assert drawn[1200:].any()


def test_published_methods_say_what_is_changed(results: Results, tmp_path: Path) -> None:
    known = {method.key: method for method in read_methods()}
    assert {"hist2st", "histogene", "stnet", "triplex", "hggep"} <= set(known) <= set(models.MODELS)
    page = report.report(results(), tmp_path / "report")
    text = (tmp_path / "report" / "report.md").read_text()
    _, table = text.split("## Published methods")
    assert f"| `hist2st` | {known['hist2st'].published} | {known['hist2st'].changed} |" in table
    assert "`triplex`" not in table  # no result is of it
    _, table = page.read_text().split('id="methods"')
    assert html.escape(known["hist2st"].changed.replace("`", "")) in table


def test_a_row_of_a_method_that_lacks_a_cell_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "methods.md"
    path.write_text(
        "# Methods\n\n| method | as published | changed | source |\n|---|---|---|---|\n| `mean` | all | |\n"
    )
    with pytest.raises(ValueError, match=r"methods\.md, line 5: a method needs three cells: published, changed"):
        read_methods(path)
