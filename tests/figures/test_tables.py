from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from hist2st_pyg import figures

TABLE = pd.DataFrame([[0.5, -2.0], [np.nan, 1.0], [0.0, 0.2]], index=["A", "B", "C"], columns=["0", "1"])


def test_heat_map_is_white_at_0() -> None:
    figure = figures.heat_map(TABLE, title="markers", unit="mean", column_unit="region")
    axis, bar = figure.axes
    (image,) = axis.images
    assert image.get_clim() == (-2, 2)
    np.testing.assert_array_equal(np.ma.filled(image.get_array(), np.nan), TABLE)
    assert [text.get_text() for text in axis.get_yticklabels()] == ["A", "B", "C"]
    assert (figure.get_suptitle(), axis.get_xlabel(), bar.get_ylabel()) == ("markers", "region", "mean")


def test_dots_are_where_there_are_numbers() -> None:
    color, size = TABLE.abs(), pd.DataFrame([[0.1, 0.2], [0, 0.4], [0.4, 0.0]], index=TABLE.index, columns=["0", "1"])
    figure = figures.dot_plot(color, size, unit="p", size_unit="share", least=5)
    axis, bar = figure.axes
    dots = axis.collections[0]
    np.testing.assert_array_equal(dots.get_offsets(), [[0, 0], [1, 0], [1, 1], [0, 2], [1, 2]])
    np.testing.assert_array_equal(dots.get_array(), [0.5, 2.0, 1.0, 0.0, 0.2])
    areas = dots.get_sizes()
    assert areas[2] == areas[3] == max(areas)
    assert areas[4] == min(areas)
    assert dots.get_clim() == (0, 5)  # small values look small
    (legend,) = figure.legends
    assert legend.get_title().get_text() == "share"
    assert [text.get_text() for text in legend.get_texts()] == ["0.1", "0.2", "0.4"]
    assert bar.get_ylabel() == "p"


def test_the_name_of_a_single_column_stands_below_and_is_not_on_end() -> None:
    table = pd.DataFrame([[0.2], [1.5]], index=["A", "B"], columns=["50 genes of the highest I"])
    for figure in (figures.dot_plot(table, table, column_unit="list"), figures.heat_map(table, column_unit="list")):
        axis = figure.axes[0]
        assert axis.get_xlabel() == "list:\n50 genes of the highest I"
        assert list(axis.get_xticks()) == []
        assert figure.get_figheight() == pytest.approx(2.7)


def test_a_small_table_of_long_names_has_room_for_its_dots() -> None:
    table = pd.DataFrame([[0.2], [1.5]], index=["COLONOCYTE", "IMMUNE"], columns=["the 50 genes of the highest I"])
    figure = figures.dot_plot(table, table, title="section: over-represented gene sets", size_unit="share")
    figure.draw_without_rendering()
    box = figure.axes[0].get_window_extent()
    assert min(box.width, box.height) > figure.dpi
    assert figure.texts[0].get_window_extent().width < figure.bbox.width


def test_what_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="The table is empty"):
        figures.heat_map(TABLE.iloc[:0])
    with pytest.raises(ValueError, match="The table is empty"):
        figures.dot_plot(TABLE.iloc[:0], TABLE.iloc[:0])
    with pytest.raises(ValueError, match="the same rows and columns"):
        figures.dot_plot(TABLE, TABLE.rename(columns={"0": "2"}))
