"""Histograms of correlations and curves of a training."""

from __future__ import annotations

import numpy as np

from hist2st_pyg import figures


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
