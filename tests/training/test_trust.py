"""What training records of each gene, and that it reaches the prediction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _helpers.words import words

from hist2st_pyg import Section, load_model, train
from hist2st_pyg.data.preprocessing import SectionData
from hist2st_pyg.evaluation import noise_ceiling, pearson_per_gene
from hist2st_pyg.inference import predict_section
from hist2st_pyg.training import preset_config


def run_of(cohort: list[Section], model: dict[str, Any] | None = None, **data: Any) -> Path:
    config = preset_config(
        "small",
        data={"n_genes": 8, "patch_size": 28, **data},
        model=model or {"vision_kwargs": {"channels": [8], "out_channels": 16}},
        training={"epochs": 1, "batch_size": 4},
        wandb="off",
        output="run",
        accelerator="cpu",
    )
    return train(config, cohort)


MODELS: list[dict[str, Any] | None] = [None, {"name": "mean"}]


@pytest.mark.parametrize("arguments", MODELS, ids=["by gradient", "at once"])
def test_it_is_of_the_validation_spots_and_travels_with_the_prediction(
    cohort: list[Section], arguments: dict[str, Any] | None, tmp_path: Path
) -> None:
    model = load_model(run_of(cohort, arguments, train=["A1", "A2"], val=["B1"]))
    section = next(section for section in cohort if section.name == "B1")
    prediction = predict_section(model, section)
    assert model.preprocessing is not None
    data = model.preprocessing.add_measured(SectionData(), section)
    expected = pearson_per_gene(data.y.numpy(), prediction.X, data.gene_mask.numpy())
    np.testing.assert_allclose(prediction.var["val_pcc"], expected, atol=2e-4)
    ceiling = noise_ceiling(data.counts.numpy(), mask=data.gene_mask.numpy())
    np.testing.assert_allclose(prediction.var["val_ceiling"], ceiling, atol=1e-4)
    trained = [s.adata[:, prediction.var_names].X for s in cohort if s.name in ("A1", "A2")]
    counted = np.concatenate([np.asarray(x.todense() if hasattr(x, "todense") else x) > 0 for x in trained]).mean(0)
    np.testing.assert_array_equal(prediction.var["detected"], counted >= 0.1)
    assert prediction.var["detected"].dtype == bool
    again = load_model(model.save_pretrained(tmp_path / "copy"))
    assert again.gene_trust == model.gene_trust
    assert "Validation PCC: quartiles" in words((tmp_path / "copy" / "README.md").read_text())


def test_where_nothing_validates_there_is_no_score(cohort: list[Section]) -> None:
    run = run_of(cohort, val_share=0.0)
    prediction = predict_section(load_model(run), cohort[0])
    assert prediction.var[["val_pcc", "val_ceiling"]].isna().all(axis=None)
    assert prediction.var["detected"].any()
    assert "no gene has a validation PCC" in words((run / "model" / "README.md").read_text())


def test_a_model_of_before_loads_without_it_and_a_damaged_one_is_refused(cohort: list[Section]) -> None:
    run = run_of(cohort, {"name": "mean"})
    path = run / "model" / "config.json"
    description = json.loads(path.read_text())
    trust = description.pop("gene_trust")
    path.write_text(json.dumps(description))
    assert list(predict_section(load_model(run), cohort[0]).var.columns) == []
    path.write_text(json.dumps({**description, "gene_trust": {**trust, "val_pcc": [0.5]}}))
    with pytest.raises(ValueError, match="gene_trust must have one value per gene in each column"):
        load_model(run)
