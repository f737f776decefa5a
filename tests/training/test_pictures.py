"""The pictures of a training say what they show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hist2st_pyg import Hist2ST, Preprocessing, Section, SectionDataModule
from hist2st_pyg.training.pictures import draw_training

PREPROCESSING = Preprocessing(("GENE1", "GENE2", "GENE3"), patch_size=16, k=2)


@pytest.mark.parametrize(
    ("val", "val_share", "name", "section", "where"),
    [
        (["B1"], 0.0, "validation", "B1", "the spots that validated"),
        ([], 0.25, "validation", "A1", "the spots that validated"),
        ([], 0.0, "training", "A1", "what the model was trained on"),
    ],
)
def test_the_map_says_of_which_spots_its_correlations_are(
    val: list[str],
    val_share: float,
    name: str,
    section: str,
    where: str,
    cohort: list[Section],
    tmp_path: Path,
    drawn: Callable[[str], dict[str, Any]],
) -> None:
    seen = drawn("true_and_predicted")
    sections = {found.name: found for found in cohort}
    datamodule = SectionDataModule(
        PREPROCESSING, [sections["A1"]], [sections[of] for of in val], val_share=val_share, val_side=2.0
    )
    model = Hist2ST(
        3, patch_size=16, vision="cnn", vision_kwargs={"channels": [4], "out_channels": 8}, transformer_layers=0,
        position="none", gnn="sage", likelihood=None,
    )  # fmt: skip
    model.preprocessing = PREPROCESSING
    assert draw_training(tmp_path, model.eval(), datamodule) == {name: tmp_path / "figures" / f"{name}.png"}
    assert (seen["name"], seen["where"]) == (section, where)
    assert (seen["um_per_pixel"], seen["spot_diameter"]) == (
        sections[section].um_per_pixel, sections[section].spot_diameter
    )  # fmt: skip
