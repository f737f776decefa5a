from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import EllipseCollection
from matplotlib.figure import Figure
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
    np.testing.assert_array_equal(left.lines[0].get_xydata(), [[0, 2], [1, 1]])
    np.testing.assert_array_equal(right.lines[0].get_xydata(), [[0, 0.1], [1, 0.4]])
    assert figures.training_curves(rows[:1]).axes[1].texts[0].get_text() == "no validation"


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
