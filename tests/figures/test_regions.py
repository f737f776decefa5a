from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from matplotlib.collections import EllipseCollection
from matplotlib.colors import to_hex, to_rgb
from numpy.typing import NDArray

from hist2st_pyg import figures
from hist2st_pyg.figures.regions import NOWHERE_COLOR, PALETTE, matched_colors

POS = np.stack(np.meshgrid(np.arange(6) * 50.0, np.arange(4) * 50.0), axis=-1).reshape(-1, 2)
IMAGE = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)


def test_regions_take_the_color_of_the_label_they_share_most_with() -> None:
    labels = np.array(["fat"] * 6 + ["tumor"] * 10 + ["undetermined"] * 4)
    regions = np.array(["0"] * 3 + ["2"] * 3 + ["1"] * 10 + ["0"] * 2 + ["3"] * 2)
    of_labels = matched_colors(labels, labels, "undetermined")
    assert of_labels == {"fat": PALETTE[0], "tumor": PALETTE[1], "undetermined": NOWHERE_COLOR}
    colors = matched_colors(labels, regions, "undetermined")
    assert list(colors) == ["0", "1", "2", "3"]
    assert colors["1"] == of_labels["tumor"]
    assert {colors["0"], colors["2"]} & {of_labels["fat"]}
    assert len(set(colors.values())) == 4
    assert NOWHERE_COLOR not in colors.values()


def test_numbered_regions_are_in_the_order_of_their_numbers() -> None:
    regions = np.array([str(i) for i in range(12)])
    assert list(matched_colors(regions, regions, "undetermined")) == list(regions)


def test_each_partition_is_a_map_on_the_image() -> None:
    labels = np.where(POS[:, 0] < 100, "fat", "tumor")
    regions = np.where(POS[:, 0] < 100, "1", "0")
    figure = figures.region_maps(POS, {"labels": labels, "regions": regions}, image=IMAGE, image_scale=0.2)
    picture, first, second = figure.axes
    assert [axis.get_title() for axis in figure.axes] == ["H&E, spots", "labels", "regions"]
    assert len(picture.collections) == 1
    assert first.images[0].get_extent() == [0, 300, 200, 0]
    drawn = []
    for axis in (first, second):
        bottom, top = axis.get_ylim()
        assert bottom > top
        (spots,) = [c for c in axis.collections if isinstance(c, EllipseCollection)]
        np.testing.assert_array_equal(spots.get_offsets(), POS)
        drawn.append([to_hex(color) for color in spots.get_facecolors()])
    assert drawn[0] == drawn[1]  # the same partition under other names
    assert drawn[0] == [PALETTE[0] if label == "fat" else PALETTE[1] for label in labels]
    assert [text.get_text() for text in first.get_legend().get_texts()] == ["fat (8)", "tumor (16)"]
    assert [text.get_text() for text in second.get_legend().get_texts()] == ["0 (16)", "1 (8)"]


MACHADO = {
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]
    ],
    "protanopia": [
        [0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]
    ],
    "normal vision": np.eye(3).tolist(),
}  # fmt: skip
"""How linear RGB is seen at full severity (Machado, Oliveira and Fernandes 2009)."""


def seen_lab(colors: Sequence[str], vision: str) -> NDArray[np.float64]:
    """CIE 1976 L*a*b* (white D65) of colors [C, 3] as they are seen."""
    rgb = np.array([to_rgb(color) for color in colors])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ np.array(MACHADO[vision]).T, 0, 1)
    xyz = linear @ np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]).T
    f = np.cbrt(xyz / [0.95047, 1.0, 1.08883])
    f = np.where(f**3 > (6 / 29) ** 3, f, (f**3) / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


def least_difference(colors: Sequence[str], vision: str) -> float:
    """The smallest ΔE of two of the colors."""
    lab = seen_lab(colors, vision)
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=2)
    return float(apart[~np.eye(len(colors), dtype=bool)].min())


@pytest.mark.parametrize("vision", MACHADO)
def test_the_palette_is_told_apart_with_and_without_red_green_blindness(vision: str) -> None:
    assert least_difference(PALETTE[:8], vision) > 30
    assert least_difference(PALETTE, vision) > 15
    assert least_difference((*PALETTE[:8], NOWHERE_COLOR), vision) > 15


def test_the_difference_of_colors_is_that_of_the_literature() -> None:
    np.testing.assert_allclose(seen_lab(["#ff0000"], "normal vision")[0], [53.24, 80.09, 67.20], atol=0.05)
    assert least_difference(["#2ca02c", "#d62728"], "normal vision") > 100
    assert least_difference(["#2ca02c", "#d62728"], "deuteranopia") < 10


def test_many_maps_without_an_image_fill_rows() -> None:
    partitions = {f"regions {i}": np.arange(24) % (i + 2) for i in range(5)}
    figure = figures.region_maps(POS, partitions, columns=3)
    assert len(figure.axes) == 6
    assert not figure.axes[5].axison


def test_what_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="partitions is empty"):
        figures.region_maps(POS, {})
    with pytest.raises(ValueError, match=r"labels: regions need a name for each of 24 spots, got \[3\]"):
        figures.region_maps(POS, {"labels": ["a", "b", "c"]})


def test_many_regions_differ_in_color_and_leave_room_for_the_map() -> None:
    regions = np.array([str(i) for i in range(24)])
    assert len(set(matched_colors(regions, regions, "undetermined").values())) == 24
    figure = figures.region_maps(POS, {"few": np.arange(24) % 3, "many": regions})
    figure.draw_without_rendering()
    few, many = figure.axes
    assert many.get_legend()._ncols == 2  # matplotlib says it nowhere else
    assert few.get_window_extent().width == pytest.approx(many.get_window_extent().width)
    assert many.get_window_extent().width > 2 * figure.dpi
