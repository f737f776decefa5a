from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure
from matplotlib_scalebar.scalebar import ScaleBar
from PIL import Image

from hist2st_pyg import figures
from hist2st_pyg.figures.canvas import draw_each

RNG = np.random.default_rng(0)
POS = np.stack(np.meshgrid(np.arange(6) * 50.0, np.arange(4) * 50.0), axis=-1).reshape(-1, 2)
IMAGE = RNG.integers(0, 255, (40, 60, 3), dtype=np.uint8)


def test_maps_have_a_panel_each_and_y_runs_down() -> None:
    values = {"A": RNG.normal(size=24), "B": RNG.normal(size=24)}
    figure = figures.expression_maps(POS, values, image=IMAGE, image_scale=0.2)
    picture, first, second = figure.axes[:3]
    assert [axis.get_title() for axis in (picture, first, second)] == ["H&E, spots", "A", "B"]
    for axis in (picture, first, second):
        bottom, top = axis.get_ylim()
        assert bottom > top
    (spots,) = [c for c in first.collections if isinstance(c, EllipseCollection)]
    np.testing.assert_array_equal(spots.get_array(), values["A"])
    np.testing.assert_array_equal(spots.get_offsets(), POS)
    # The thumbnail is laid out in full-resolution pixels.
    assert picture.images[0].get_extent() == [0, 300, 200, 0]


def test_best_genes_come_first_and_those_without_correlation_not_at_all() -> None:
    true, predicted = RNG.normal(size=(2, 24, 4))
    figure = figures.true_and_predicted(POS, true, predicted, ["A", "B", "C", "D"], [0.1, np.nan, 0.7, -0.2], n_best=2)
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert titles == ["C\nmeasured", "A\nmeasured", "C\npredicted (PCC 0.70)", "A\npredicted (PCC 0.10)"]
    assert figure.get_suptitle() == "best 2 of 3 genes by PCC on this section, one color range for both rows"


def test_measured_and_predicted_of_a_gene_have_one_range_and_a_unit() -> None:
    true, predicted = 3 * RNG.normal(size=(24, 2)), RNG.normal(size=(24, 2))
    figure = figures.true_and_predicted(
        POS, true, predicted, ["A", "B"], [0.5, 0.4], name="C4", what="gene sets", where="its spots", unit="score"
    )
    above, below = figure.axes[:2], figure.axes[2:4]
    for place in (0, 1):
        both = np.concatenate([true[:, place], predicted[:, place]])
        for axis in (above[place], below[place]):
            assert axis.collections[0].get_clim() == (both.min(), both.max())
    assert [axis.child_axes[0].get_ylabel() for axis in figure.axes] == ["score"] * 4
    assert figure.get_suptitle().startswith("C4: best 2 of 2 gene sets by PCC on its spots, ")


def test_maps_have_their_own_units_and_the_ranges_that_are_given() -> None:
    values = {"A": RNG.normal(size=24), "B": RNG.normal(size=24)}
    figure = figures.expression_maps(POS, values, unit={"A": "a", "B": "b"}, limits={"B": (-5, 5)}, title="both")
    first, second = figure.axes
    assert [axis.child_axes[0].get_ylabel() for axis in (first, second)] == ["a", "b"]
    assert first.collections[0].get_clim() == (values["A"].min(), values["A"].max())
    assert second.collections[0].get_clim() == (-5, 5)
    assert figure.get_suptitle() == "both"


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


def test_maps_are_as_large_as_the_image_beside_them() -> None:
    figure = figures.expression_maps(POS, {"A": POS[:, 0]}, image=IMAGE, image_scale=0.2)
    figure.draw_without_rendering()
    image, drawn = (axis.get_window_extent() for axis in figure.axes)
    assert (drawn.width, drawn.height) == pytest.approx((image.width, image.height))
    bar = figure.axes[1].child_axes[0].get_tightbbox()
    assert drawn.x1 < bar.x0
    assert bar.x1 <= figure.bbox.x1


def test_rings_of_unknown_diameter_are_half_a_pitch_wide() -> None:
    figure = figures.expression_maps(POS, {"A": POS[:, 0]}, image=IMAGE, image_scale=0.2)
    assert set(figure.axes[0].collections[0].get_widths()) == {25.0}


def test_histogram_counts_what_is_left_out() -> None:
    (axis,) = figures.pcc_histogram([0.1, 0.3, np.nan], "C4").axes
    assert axis.get_xlabel() == "PCC over the spots (2 genes, 1 left out)"
    assert sum(patch.get_height() for patch in axis.patches) == 2
    assert [line.get_label() for line in axis.lines][1:] == ["mean 0.200", "median 0.200"]


def test_curves_skip_empty_cells() -> None:
    rows = [
        {"epoch": "0", "train/loss": "2.0", "val/pcc": ""},
        {"epoch": "0", "train/loss": "", "val/pcc": "0.1"},
        {"epoch": "1", "train/loss": "1.0", "val/pcc": ""},
        {"epoch": "1", "train/loss": "", "val/pcc": "0.4"},
    ]
    left, right = figures.training_curves(rows).axes
    np.testing.assert_array_equal(left.lines[0].get_xydata(), [[1, 2], [2, 1]])
    np.testing.assert_array_equal(right.lines[0].get_xydata(), [[1, 0.1], [2, 0.4]])


def test_a_training_without_validation_has_no_empty_panel() -> None:
    (axis,) = figures.training_curves([{"epoch": "0", "train/loss": "2.0", "val/pcc": ""}]).axes
    assert axis.get_ylabel() == "training loss"


def test_tissue_overview() -> None:
    left, right = figures.tissue_overview(IMAGE, np.ones((40, 60), dtype=bool), POS / 10).axes
    assert right.get_title() == "tissue found, 24 spots"
    assert left.images[0].get_array().shape == (40, 60, 3)


def test_saved_as_png(tmp_path: Path) -> None:
    path = figures.save(figures.pcc_histogram([0.1, 0.3]), tmp_path / "new" / "h.png")
    with Image.open(path) as image:
        assert image.size == (900, 600)
    assert [p.name for p in path.parent.iterdir()] == ["h.png"]


def test_what_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="values is empty"):
        figures.expression_maps(POS, {})
    with pytest.raises(ValueError, match=r"A: a map needs one value for each of 24 spots, got \[3\]"):
        figures.expression_maps(POS, {"A": [1, 2, 3]})
    with pytest.raises(ValueError, match="No gene has a correlation"):
        figures.true_and_predicted(POS, np.zeros((24, 1)), np.zeros((24, 1)), ["A"], [np.nan])
    with pytest.raises(ValueError, match="Expected y_true and y_pred"):
        figures.true_and_predicted(POS, np.zeros((23, 1)), np.zeros((24, 1)), ["A"], [0.5])
    with pytest.raises(ValueError, match="No gene has a correlation"):
        figures.pcc_histogram([np.nan])
    with pytest.raises(ValueError, match="no training loss"):
        figures.training_curves([{"epoch": "0"}])
    with pytest.raises(ValueError, match="mask and thumbnail differ in size"):
        figures.tissue_overview(IMAGE, np.ones((4, 6), dtype=bool), POS)
    with pytest.raises(ValueError, match="Positions must be"):
        figures.expression_maps(np.zeros((3, 3)), {"A": [1, 2, 3]})


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
