from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hist2st_pyg import Hist2ST, HisToGene, Preprocessing, Section, load_sections, predict, predict_section
from hist2st_pyg.data import spot_patches
from hist2st_pyg.inference.domain_shift import FAR_COLORS, Colors, check_positions, pitch_notes, resolution_notes
from hist2st_pyg.models import MODELS, ExpressionModel
from hist2st_pyg.training import preset_config
from hist2st_pyg.training.preparation import make_datamodule, make_model

GENES = ("GENE1", "GENE2")


def model(**arguments: Any) -> Hist2ST:
    torch.manual_seed(0)
    small = {"vision": "cnn", "vision_kwargs": {"channels": [4], "out_channels": 16}, "transformer_layers": 0}
    built = Hist2ST(2, patch_size=14, **{**small, "position": "none", "gnn": "sage", **arguments})
    built.preprocessing = Preprocessing(GENES, patch_size=14, pitch=64.0, um_per_pixel=3.0)
    return built.eval()


def test_the_distance_is_in_deviations_of_the_training_pixels() -> None:
    built = model(n_scales=2)
    built.pixel_mean.copy_(torch.tensor([200.0, 150.0, 180.0, 210.0, 160.0, 190.0]))
    built.pixel_std.copy_(torch.tensor([40.0, 50.0, 30.0, 35.0, 45.0, 25.0]))
    x = torch.randint(0, 256, (30, 6, 14, 14), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    colors = Colors(built)
    for part in x.split([1, 20, 9]):
        colors.add(part)
    shift = (x.double().numpy().mean((0, 2, 3)) - built.pixel_mean.numpy()) / built.pixel_std.numpy()
    assert colors.distance == pytest.approx(np.sqrt((shift**2).mean()), rel=1e-6)


def test_what_the_training_sections_show_is_at_no_distance(cohort: list[Section]) -> None:
    config = preset_config(
        "small", data={"train": ["A1"], "n_genes": 5, "patch_size": 28}, model={"name": "ridge_neighbors"}
    )
    datamodule = make_datamodule(config, cohort)
    built = make_model(config, datamodule)
    built.fit(datamodule.data("train"), [])  # type: ignore[operator]
    own, other = (predict_section(built, section).uns["hist2st"] for section in (cohort[0], cohort[2]))
    assert own["color_distance"] < 1e-4
    assert own["color_distance"] < other["color_distance"] < FAR_COLORS
    assert "note" not in own


def test_without_color_statistics_there_is_no_distance(cohort: list[Section]) -> None:
    assert Colors(model()).distance is None
    assert "color_distance" not in predict_section(model(), cohort[0]).uns["hist2st"]
    built = model()
    built.pixel_mean.fill_(100.0)
    colors = Colors(built)
    colors.add(torch.zeros(5, 8))  # embeddings
    assert colors.distance is None
    assert colors.notes == []


def test_a_slide_of_other_colors_is_pointed_out(cohort: list[Section], caplog: pytest.LogCaptureFixture) -> None:
    built = model()
    built.pixel_mean.fill_(100.0)
    built.pixel_std.fill_(40.0)
    facts = predict(built, cohort[0].require_image(), name="S1").uns["hist2st"]
    assert facts["color_distance"] > FAR_COLORS
    text = f"{facts['color_distance']:.2f} standard deviations of the training pixels from that of training"
    assert text in facts["note"]
    assert any(message.startswith("S1: ") and text in message for message in caplog.messages)


def test_the_colors_of_real_sections(real_data: Path) -> None:
    preprocessing = Preprocessing(GENES, patch_size=28, patch_pitch=1.0)
    sections = load_sections("her2st", real_data / "her2st", ["C2", "C3"])
    sections += load_sections("anndata", real_data / "sections" / "stutility_mob1" / "section.h5ad")
    patches = [preprocessing.section_patches(section)(None) for section in sections]
    built = model()
    built.pixel_mean.copy_(patches[0].float().mean((0, 2, 3)))
    built.pixel_std.copy_(patches[0].float().std((0, 2, 3)))
    distances = []
    for x in patches:
        colors = Colors(built)
        colors.add(x)
        distances.append(colors.distance or 0.0)
    assert distances[0] < 1e-3
    assert 0.05 < distances[1] < 0.2  # the next section of the same tumor
    assert distances[2] > FAR_COLORS  # another tissue, stained elsewhere


def test_a_patch_in_pixels_does_not_fit_another_resolution() -> None:
    preprocessing = Preprocessing(GENES, patch_size=112, um_per_pixel=0.5)
    (note,) = resolution_notes(preprocessing, 0.25)
    assert "0.25 µm per pixel, the training images 0.5" in note
    assert "they show 0.5 times the width of tissue" in note
    assert resolution_notes(preprocessing, 0.51) == resolution_notes(preprocessing, None) == []
    assert resolution_notes(Preprocessing(GENES), 0.25) == []
    for fitting in ({"patch_um": 56.0}, {"patch_pitch": 1.0}, {"embedding": "uni"}):
        assert resolution_notes(Preprocessing(GENES, um_per_pixel=0.5, **fitting), 0.25) == []  # type: ignore[arg-type]


def test_spots_nearer_or_farther_than_in_training() -> None:
    assert pitch_notes(64.0, None) == pitch_notes(64.0, 64.0) == pitch_notes(62.0, 64.0) == []
    (nearer,) = pitch_notes(16.0, 64.0)
    assert "16 px apart; the training spots were 64 px" in nearer
    assert "learned at the training distance, so the additional values are interpolated" in nearer
    (farther,) = pitch_notes(128.0, 64.0)
    assert "neighbors are farther away" in farther


def test_the_notes_are_in_the_prediction_and_in_the_log(
    cohort: list[Section], caplog: pytest.LogCaptureFixture
) -> None:
    built = model()  # trained at 3 µm per pixel; the section has 3.125
    assert "note" not in predict_section(built, cohort[0]).uns["hist2st"]
    assert not caplog.messages
    built.preprocessing = Preprocessing(GENES, patch_size=14, pitch=64.0, um_per_pixel=1.0)
    note = predict_section(built, cohort[0]).uns["hist2st"]["note"]
    assert "they show 3.1 times the width" in note
    assert "neighbors are farther away" in note
    assert len(caplog.messages) == 2
    assert all(message.startswith("A1: ") for message in caplog.messages)


TABLES: list[ExpressionModel] = [
    model(position="table", n_pos=9),
    model(position="table", n_pos=9, color_stream=True),
    HisToGene(2, patch_size=14, channels=16, transformer_layers=1, heads=2, dim_head=8, n_pos=9),
]


@pytest.mark.parametrize("built", TABLES, ids=["hist2st", "two streams", "histogene"])
def test_positions_outside_the_table_are_refused_before_any_work(
    built: ExpressionModel, cohort: list[Section], monkeypatch: pytest.MonkeyPatch
) -> None:
    built.preprocessing = Preprocessing(GENES, patch_size=14, pitch=64.0)
    assert cohort[0].grid.max() < 9
    predict_section(built, cohort[0])
    check_positions(built, np.array([[8, 0], [3, 8]]))

    def cut(*arguments: Any) -> None:
        raise AssertionError("patches were cut")

    monkeypatch.setattr(spot_patches, "cut_patches", cut)
    for places in ([[0, 3], [9, 0]], [[9, 3], [0, 0]], [[0, 0], [0, 9]]):
        with pytest.raises(ValueError, match=r"array position 9 is outside the position table .*0 to 8.* n_pos=10"):
            check_positions(built, np.array(places))
    built.preprocessing = Preprocessing(GENES, patch_size=14, pitch=32.0)
    with pytest.raises(ValueError, match="is outside the position table"):
        predict(built, cohort[0].require_image())


def test_models_without_a_table_go_anywhere() -> None:
    for name in ("ridge", "mean"):
        check_positions(MODELS[name](2), np.array([[9_999, 0]]))
    check_positions(model(position="fourier"), np.array([[9_999, 0]]))
