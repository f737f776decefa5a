from __future__ import annotations

import numpy as np
import pytest
from matplotlib.collections import EllipseCollection

from hist2st_pyg import figures

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


def test_maps_are_as_large_as_the_image_beside_them() -> None:
    figure = figures.expression_maps(POS, {"A": POS[:, 0]}, image=IMAGE, image_scale=0.2)
    figure.draw_without_rendering()
    image, drawn = (axis.get_window_extent() for axis in figure.axes)
    assert (drawn.width, drawn.height) == pytest.approx((image.width, image.height))
    bar = figure.axes[1].child_axes[0].get_tightbbox()
    assert drawn.x1 < bar.x0
    assert bar.x1 <= figure.bbox.x1


def test_tissue_overview() -> None:
    left, right = figures.tissue_overview(IMAGE, np.ones((40, 60), dtype=bool), POS / 10).axes
    assert right.get_title() == "tissue found, 24 spots"
    assert left.images[0].get_array().shape == (40, 60, 3)


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
