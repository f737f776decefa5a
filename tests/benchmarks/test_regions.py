"""Regions of predictions, measured expression and positions, on made sections with known labels."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from anndata import AnnData
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from benchmarks import regions
from benchmarks.config import read_grid
from benchmarks.region_scores import against_labels, against_measured, clusterings, compare
from hist2st_pyg import Section
from hist2st_pyg.analysis.regions import find_regions, region_agreement
from hist2st_pyg.data.expression import expression_target, panel_counts
from hist2st_pyg.io.tables import UNLABELED


@pytest.fixture(scope="module")
def genes(cohort: list[Section]) -> list[str]:
    return [str(gene) for gene in cohort[0].adata.var_names[:12]]


def test_agreement_with_labels_is_the_mean_over_seeds(cohort: list[Section], genes: list[str]) -> None:
    section = cohort[0]
    assert section.label is not None
    truth = np.eye(4)[[["adipose", "immune", "stroma", "tumor"].index(label) for label in section.label]]
    result = against_labels(section, genes, {"oracle": truth}, seeds=2)
    assert list(result["scores"]) == ["oracle", "measured", "measured_variable", "positions"]
    assert result["labels"] == len(set(section.label))
    target = expression_target(section, panel_counts(section, genes)[0])
    for method in ("leiden", "kmeans"):
        found = [region_agreement(target, section.label, seed, method=method) for seed in range(2)]
        ari = [score["ari"] for score in found if score is not None]
        assert result["scores"]["measured"][method]["ari"] == pytest.approx(np.mean(ari))
        assert result["scores"]["measured"][method]["ari_sd"] == pytest.approx(np.std(ari))
    assert result["scores"]["oracle"]["kmeans"]["ari"] == 1
    positions = [KMeans(result["labels"], n_init=10, random_state=seed).fit_predict(section.pos) for seed in range(2)]
    expected = [adjusted_rand_score(section.label, found) for found in positions]
    assert result["scores"]["positions"]["kmeans"]["ari"] == pytest.approx(np.mean(expected))
    # The published procedure fixes the seed; here every spot has a label.
    assert result["scores"]["positions"]["paper"]["ari"] == pytest.approx(expected[0])
    assert all(set(scores) == {"kmeans", "leiden", "paper"} for scores in result["scores"].values())


def test_the_published_procedure_sees_labeled_spots_alone(cohort: list[Section], genes: list[str]) -> None:
    adata = cohort[0].adata.copy()
    adata.obs["label"] = adata.obs["label"].astype(object).replace("adipose", UNLABELED)
    section = replace(cohort[0], adata=adata)
    known = section.label != UNLABELED
    result = against_labels(section, genes, {}, seeds=2)
    target = expression_target(section, panel_counts(section, genes)[0])
    score = region_agreement(target, section.label, method="paper")
    assert score is not None
    assert result["scores"]["measured"]["paper"] == {**score, "ari_sd": 0, "regions": 3}
    found = KMeans(3, n_init=10, random_state=0).fit_predict(section.pos[known])
    expected = adjusted_rand_score(section.label[known], found)
    assert result["scores"]["positions"]["paper"]["ari"] == pytest.approx(expected)


def test_agreement_with_measured_regions(cohort: list[Section], genes: list[str]) -> None:
    section = cohort[0]
    target = expression_target(section, panel_counts(section, genes)[0])
    rng = np.random.default_rng(0)
    predictions = {"same": target, "noise": rng.normal(size=target.shape)}
    result = against_measured(section, genes, predictions, 3, seeds=2)
    assert list(result["scores"]) == ["same", "noise", "positions", "measured_again", "measured_halves"]
    assert result["regions_of_kmeans"] == 3
    for method in ("leiden", "kmeans"):
        scores = {name: of[method]["ari"] for name, of in result["scores"].items() if method in of}
        assert scores["same"] == 1
        assert abs(scores["noise"]) < 0.15
        assert scores["measured_halves"] < 1
    again = [find_regions(_adata(target), "kmeans", n_regions=3, seed=seed).obs["region"] for seed in range(2)]
    assert result["scores"]["measured_again"]["kmeans"]["ari"] == pytest.approx(adjusted_rand_score(*again))


def test_regions_are_counted() -> None:
    rng = np.random.default_rng(0)
    found = clusterings(rng.normal(size=(40, 6)), 5, 2)
    assert set(found) == {"kmeans", "leiden"}  # without labels there is no published number
    scores = compare({"kmeans": found["kmeans"]}, lambda _: found["kmeans"])
    assert scores["kmeans"] == {"ari": 1, "ari_sd": 0, "nmi": pytest.approx(1), "regions": 5}
    one = [np.zeros(40)] * 2
    assert compare({"kmeans": found["kmeans"]}, lambda _: one) == {}


def test_a_section_without_labels(cohort: list[Section], genes: list[str]) -> None:
    with pytest.raises(ValueError, match="Section 'A1' needs at least two different labels"):
        against_labels(replace(cohort[0], adata=_unlabeled(cohort[0])), genes, {}, seeds=1)


def test_folds_keep_patients_apart_unless_they_are_named(
    cohort: list[Section], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert regions.folds(cohort) == {"A1": ["B1"], "A2": ["B1"], "B1": ["A1", "A2"]}
    assert regions.folds([replace(cohort[0], image=None), *cohort[1:]]) == {"A2": ["B1"], "B1": ["A2"]}
    assert regions.folds(cohort[:2]) == {}  # nobody else to train on
    monkeypatch.setattr(regions, "FOLDS", {"A2": ("A1",), "B1": ("absent",)})
    assert regions.folds(cohort) == {"A2": ["A1"], "A1": ["B1"], "B1": ["A1", "A2"]}


def test_models_are_trained_as_the_accuracy_grid_trains_them(tmp_path: Path) -> None:
    configs = Path(regions.__file__).parent / "configs" / "accuracy"
    for name, file in (("paper_recipe", "paper.yaml"), ("small", "test.yaml"), ("ridge_neighbors", "test.yaml")):
        (cell,) = [
            cell
            for cell in read_grid(configs / file, tmp_path)
            if (cell.model, cell.fold.name, cell.seed) == (name, "b", 0)
        ]
        data = {"name": "her2st", "root": "her2st", "panel": "paper"}
        ours, theirs = regions.config_of(name, "B4", ["C2", "C3", "C4"], data, tmp_path), cell.config()
        assert (ours.preset, ours.model, ours.training) == (theirs.preset, theirs.model, theirs.training)
        assert (ours.data.train, ours.data.test, ours.data.val_share) == (theirs.data.train, theirs.data.test, 0)


def test_an_image_is_taken_from_the_folder_that_has_it(
    cohort: list[Section], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bare, without_label = replace(cohort[0], image=None), replace(cohort[2], image=None, adata=_unlabeled(cohort[2]))
    folders = {"first": [bare, cohort[1], without_label], "second": [cohort[0], replace(cohort[1], image=None)]}
    monkeypatch.setattr(regions, "FOLDERS", ("first", "second", "absent"))
    monkeypatch.setattr(regions, "load_sections", lambda _, root: folders[root.name])
    assert [s.name for s in regions.read(tmp_path)] == ["A1", "A2"]
    assert regions.read(tmp_path)[0].image is None  # the second folder is not there
    (tmp_path / "second").mkdir()
    found = regions.read(tmp_path)
    assert [s.name for s in found] == ["A1", "A2"]
    assert found[0] is cohort[0]
    assert found[1] is cohort[1]


def test_the_command_trains_predicts_and_writes(
    cohort: list[Section],
    genes: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(regions, "FOLDS", {"B1": ("A1",)})
    monkeypatch.setattr(regions, "load_sections", lambda *_: [replace(cohort[1], image=None), cohort[0], cohort[2]])
    panel = tmp_path / "panel.txt"
    panel.write_text("\n".join(genes))
    monkeypatch.setattr(regions, "paper_panel", lambda *_: genes)
    configured = regions.preset_config

    def small(*given: object, data: dict[str, object], **options: object) -> object:
        data = {**data, "panel": str(panel), "patch_size": 28}
        return configured(*given, data=data, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(regions, "preset_config", small)
    arguments = ["--data", str(tmp_path), "--results", "results", "--epochs", "1", "--seeds", "1"]
    assert regions.main([*arguments, "--models", "ridge_neighbors"]) == 0
    labels, measured = (json.loads(Path(f"results/{name}.json").read_text()) for name in ("labels", "measured"))
    assert set(labels["sections"]) == {"A1", "A2", "B1"}
    assert set(labels["sections"]["B1"]["scores"]["ridge_neighbors"]) == {"kmeans", "leiden", "paper"}
    assert [labels["sections"][name]["train"] for name in ("A1", "A2", "B1")] == [["B1"], None, ["A1"]]
    assert labels["models"] == measured["models"] == {"ridge_neighbors": {"model": {"name": "ridge_neighbors"}}}
    assert "ridge_neighbors" not in labels["sections"]["A2"]["scores"]  # no image
    assert measured["sections"]["B1"]["train"] == ["A1"]
    assert measured["sections"]["B1"]["regions_of_kmeans"] == labels["sections"]["B1"]["labels"]
    assert labels["seeds"] == 1
    out = capsys.readouterr().out
    assert "| B1 | `ridge_neighbors` |" in out
    score = measured["sections"]["B1"]["scores"]["positions"]
    kmeans, leiden = f"{score['kmeans']['ari']:.2f} ± 0.00", f"{score['leiden']['ari']:.2f} ± 0.00"
    assert f"| B1 | `positions` | {kmeans} | {leiden} ({score['leiden']['regions']:.0f}) |" in out
    score = labels["sections"]["B1"]["scores"]["measured"]["paper"]
    assert f" | {score['ari']:.3f} |" in next(line for line in out.splitlines() if "| B1 | `measured` |" in line)


def test_no_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert regions.main(["--data", str(tmp_path)]) == 2
    assert "benchmarks.regions: There is no paper_gene_panel_her2st.txt" in capsys.readouterr().err


def _unlabeled(section: Section) -> AnnData:
    adata = section.adata.copy()
    del adata.obs["label"]
    return adata


def _adata(values: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> AnnData:
    return AnnData(values.astype(np.float64))
