from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hist2st_pyg import Hist2ST, Recipe, Section, evaluate, predict_section
from hist2st_pyg.evaluation import summarise


@pytest.fixture
def model() -> Hist2ST:
    built = Hist2ST(
        3, patch_size=28, vision="cnn", vision_kwargs={"channels": [8], "out_channels": 16}, transformer_layers=0,
        position="none", gnn="none", likelihood=None,
    )  # fmt: skip
    built.recipe = Recipe(("GENE1", "GENE2", "ABSENT"), patch_size=28, pitch=64.0)
    built.training_sections = {"train": ["A/A1"], "val": []}
    return built.eval()


def test_numbers_are_those_of_the_arrays(model: Hist2ST, cohort: list[Section], tmp_path: Path) -> None:
    assert model.recipe is not None
    result = evaluate(model, cohort[:2], figures=tmp_path / "figures")
    data = model.recipe.to_data(cohort[0])
    predicted = predict_section(model, cohort[0]).X
    expected = summarise(data.y.numpy(), predicted, model.recipe.genes, data.gene_mask.numpy())
    assert result["sections"]["A1"] == expected
    assert expected["n_missing"] == 1
    assert expected["per_gene"]["ABSENT"] is None
    means = [result["sections"][name]["pcc_mean"] for name in ("A1", "A2")]
    assert result["pcc_mean"] == pytest.approx(np.mean(means))
    assert result["seen_in_training"] == ["A1"]
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {
        "A1_maps.png", "A1_pcc.png", "A2_maps.png", "A2_pcc.png",
    }  # fmt: skip


def test_no_sections(model: Hist2ST) -> None:
    with pytest.raises(ValueError, match="no sections to evaluate"):
        evaluate(model, [])
