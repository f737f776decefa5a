"""The picture of an explanation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib_scalebar.scalebar import ScaleBar

from hist2st_pyg import HisToGene, Section
from hist2st_pyg.data import SectionData
from hist2st_pyg.explain import (
    explain_spot,
    explanation_figure,
)
from tests._helpers.explained import FIELDS, GENES, MarkedEdges, P, build, marked, preprocessing, ready, views


@pytest.mark.parametrize(("fields", "pixels"), list(itertools.product((1, 2), (1, 2))))
def test_the_picture(cohort: list[Section], data: SectionData, fields: int, pixels: int) -> None:
    model = build(n_scales=fields)
    model.preprocessing = preprocessing(scales=FIELDS[:fields])
    found = explain_spot(model, views(data, fields), 20, "GENE3", pixels=pixels, steps=2)
    image = cohort[0].require_image()
    figure = explanation_figure(
        found, cohort[0].pos, image, image.thumbnail(50), um_per_pixel=2.0, sides=[P, 3.0 * P][:fields]
    )
    figure.draw_without_rendering()
    bars = figure.findobj(ScaleBar)
    assert [bar.axes for bar in bars] == [figure.axes[i] for i in (0, *range(2, len(figure.axes), 2))]
    assert bars[-1].dx == (2.0 if fields == 1 else 6.0)
    assert figure.get_suptitle() == (
        f"GENE3 at spot 20: predicted {found.predicted:.2f}, measured {found.measured:.2f} (log10 expression)"
    )
    axes = figure.axes
    assert len(axes) == 1 + 2 * fields * pixels + 1  # the map, its color bar, patches and heats
    shown = axes[2].get_images()[0].get_array()
    np.testing.assert_array_equal(shown, found.pixels[0].patch[0])
    (circles,) = [c for c in axes[0].collections if type(c).__name__ == "EllipseCollection"]
    np.testing.assert_array_equal(circles.get_array(), found.importance)
    np.testing.assert_array_equal(circles.get_offsets(), cohort[0].pos[found.neighbors])
    left, right, bottom, top = axes[0].get_images()[0].get_extent()
    x, y = cohort[0].pos[20]
    assert left < x < right
    assert top < y < bottom


def test_a_map_of_all_spots_has_numbers_above_them_and_no_overview(cohort: list[Section], data: SectionData) -> None:
    image, pos = cohort[0].require_image(), cohort[0].pos
    model = ready(HisToGene(len(GENES), patch_size=P, channels=16, transformer_layers=1, heads=2, dim_head=8))
    found = explain_spot(model, views(data, 1), 20, "GENE3", pixels=0, steps=4)
    (axis, _) = explanation_figure(found, pos, image, image.thumbnail(50)).axes
    assert axis.child_axes == []
    assert min(np.abs(pos - text.get_position()).sum(1).min() for text in axis.texts) > 10
    near = explain_spot(build(gnn_layers=1), data, 20, "GENE3", pixels=0, steps=4)
    (axis, _) = explanation_figure(near, pos, image, image.thumbnail(50)).axes
    assert len(axis.child_axes) == 1
    assert max(np.abs(pos - text.get_position()).sum(1).min() for text in axis.texts) < 1e-6


def test_a_heat_of_nothing_is_drawn(cohort: list[Section], data: SectionData) -> None:
    data, target, _ = marked(data)
    model = build(gnn=MarkedEdges, gnn_layers=1, gnn_residual=False)
    found = explain_spot(model, data, target, "GENE2")
    assert found.pixels[0].importance.max() == 0
    figure = explanation_figure(found, cohort[0].pos)
    figure.draw_without_rendering()
    assert "contribution of its pixels +0.00" in [axis.get_title() for axis in figure.axes]
    with pytest.raises(ValueError, match=r"pos must include spot \d+, got 3 positions"):
        explanation_figure(found, cohort[0].pos[:3])
