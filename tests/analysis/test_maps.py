from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hist2st_pyg import Hist2ST, Preprocessing, Section, predict, predict_section
from hist2st_pyg.analysis.maps import draw_prediction


@pytest.fixture(scope="module")
def model() -> Hist2ST:
    built = Hist2ST(
        3, patch_size=28, vision="cnn", vision_kwargs={"channels": [8], "out_channels": 16}, transformer_layers=0,
        position="none", gnn="none", likelihood=None,
    )  # fmt: skip
    built.preprocessing = Preprocessing(("GENE1", "GENE2", "ABSENT"), patch_size=28, pitch=64.0)
    return built.eval()


def test_pictures_of_a_prediction(model: Hist2ST, cohort: list[Section], tmp_path: Path) -> None:
    on_spots = predict_section(model, cohort[0])
    assert [path.name for path in draw_prediction(on_spots, tmp_path, ["GENE2"])] == ["A1_predicted.png"]
    on_grid = predict(model, cohort[0].require_image(), name="grid")
    assert [p.name for p in draw_prediction(on_grid, tmp_path)] == ["grid_predicted.png", "grid_tissue.png"]
    with pytest.raises(ValueError, match="'GENE9' is not in the model's panel of 3 genes"):
        draw_prediction(on_spots, tmp_path, ["GENE9"])


def test_the_genes_that_vary_most_are_drawn_where_the_spots_are(
    model: Hist2ST, cohort: list[Section], tmp_path: Path, drawn: Callable[[str], dict[str, Any]]
) -> None:
    seen = drawn("expression_maps")
    out = predict_section(model, cohort[0])
    spread = np.array([0.1, 3.0, 1.0])
    out.X = np.random.default_rng(0).normal(size=(out.n_obs, 3)) * spread
    draw_prediction(out, tmp_path, n_genes=2)
    assert list(seen["values"]) == ["GENE2", "ABSENT"]
    assert seen["title"] == "A1: predicted, the 2 of 3 genes that vary most"
    assert (seen["um_per_pixel"], seen["spot_diameter"]) == (cohort[0].um_per_pixel, cohort[0].spot_diameter)
    np.testing.assert_array_equal(seen["values"]["GENE2"], out.X[:, 1])
    np.testing.assert_array_equal(seen["pos"], cohort[0].pos)
    width, _ = cohort[0].require_image().size
    assert seen["image_scale"] == pytest.approx(seen["image"].shape[1] / width)
    draw_prediction(out, tmp_path, ["GENE1"])
    assert seen["title"] == "A1: predicted"
