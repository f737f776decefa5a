"""What all figures share: scale bars, rings, names as text, and drawing where one fails."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib_scalebar.scalebar import ScaleBar
from PIL import Image

from hist2st_pyg import figures
from hist2st_pyg.figures.canvas import draw_each

RNG = np.random.default_rng(0)

POS = np.stack(np.meshgrid(np.arange(6) * 50.0, np.arange(4) * 50.0), axis=-1).reshape(-1, 2)

IMAGE = RNG.integers(0, 255, (40, 60, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("um_per_pixel", "text", "pixels"),
    # The panel is 350 px wide: six spots 50 px apart and a margin on both sides.
    [(0.5, "50 µm", 100), (4.0, "200 µm", 50), (40.0, "2 mm", 50), (2000.0, "200 mm", 100)],
)
def test_a_scale_bar_is_a_round_length_of_a_third_of_the_panel(um_per_pixel: float, text: str, pixels: float) -> None:
    figure = figures.expression_maps(POS, {"A": POS[:, 0]}, um_per_pixel=um_per_pixel)
    figure.draw_without_rendering()
    (bar,) = figure.findobj(ScaleBar)
    assert bar.axes is figure.axes[0]
    assert bar.info.scale_text == text
    assert bar.info.length_px == pytest.approx(pixels)
    plain = figures.expression_maps(POS, {"A": POS[:, 0]})
    assert plain.findobj(ScaleBar) == []


def test_every_picture_of_a_section_has_a_scale_bar() -> None:
    background = {"image": IMAGE, "image_scale": 0.2, "um_per_pixel": 2.0, "spot_diameter": 20.0}
    true = RNG.normal(size=(24, 1))
    drawn = [
        figures.expression_maps(POS, {"A": true[:, 0]}, **background),
        figures.true_and_predicted(POS, true, true, ["A"], [1.0], **background),
        figures.region_maps(POS, {"regions": ["a", "b"] * 12}, **background),
    ]
    for figure in drawn:
        assert len(figure.findobj(ScaleBar)) == 1
        rings = next(axis for axis in figure.axes if axis.get_title() == "H&E, spots").collections[0]
        assert set(rings.get_widths()) == {20.0}
    overview = figures.tissue_overview(IMAGE, np.ones((40, 60), dtype=bool), POS / 10, um_per_pixel=10.0)
    assert len(overview.findobj(ScaleBar)) == 1


def test_rings_of_unknown_diameter_are_half_a_pitch_wide() -> None:
    figure = figures.expression_maps(POS, {"A": POS[:, 0]}, image=IMAGE, image_scale=0.2)
    assert set(figure.axes[0].collections[0].get_widths()) == {25.0}


def test_saved_as_png(tmp_path: Path) -> None:
    path = figures.save(figures.pcc_histogram([0.1, 0.3]), tmp_path / "new" / "h.png")
    with Image.open(path) as image:
        assert image.size == (900, 600)
    assert [p.name for p in path.parent.iterdir()] == ["h.png"]


@pytest.mark.parametrize(("side", "width"), [(10, 0.5), (100, 0.05 * 72 * 3.1 / 100)])
def test_outlines_leave_the_image_visible(side: int, width: float) -> None:
    pos = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2) * 10.0
    image = np.zeros((20, 20, 3), dtype=np.uint8)
    figure = figures.expression_maps(pos, {"GENE1": pos[:, 0]}, image=image, image_scale=0.1)
    (rings,) = figure.axes[0].collections
    assert rings.get_linewidths() == pytest.approx([width])


def test_names_are_text_and_no_formulas(tmp_path: Path) -> None:
    odd = ["$\\frac", "a$b$c", "$x$"]
    values = {name: RNG.normal(size=24) for name in odd}
    maps = figures.expression_maps(POS, values)
    table = pd.DataFrame(RNG.normal(size=(3, 3)), index=odd, columns=odd)
    drawn = [maps, figures.heat_map(table, title=odd[0]), figures.dot_plot(table, table, title=odd[0])]
    drawn.append(figures.region_maps(POS, {odd[0]: odd * 8}))
    for number, figure in enumerate(drawn):
        figure.savefig(tmp_path / f"{number}.png")  # also without ``figures.save``
    assert [axis.get_title() for axis in maps.axes[:3]] == odd


def test_powers_of_ten_stay_formulas(tmp_path: Path) -> None:
    figure = Figure()
    axis = figure.add_subplot()
    axis.plot([1, 1000], [0, 1], label="$\\frac")
    axis.set(xscale="log", title="$\\frac")
    axis.legend()
    figures.save(figure, tmp_path / "a.png")
    assert {label.get_parse_math() for label in axis.get_xticklabels()} == {True}
    assert not axis.title.get_parse_math()


def test_what_cannot_be_drawn_is_a_warning_and_the_rest_is_drawn(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Path:
        raise MemoryError

    pictures = {"One": broken, "Two": lambda: Path("two"), "Three": lambda: [Path("three"), Path("four")]}
    assert list(draw_each("f", pictures)) == [Path("two"), Path("three"), Path("four")]
    assert caplog.messages == ["One in f was not drawn: MemoryError"]
    assert list(draw_each(None, pictures)) == []
