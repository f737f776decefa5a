"""The table of scale, at its smallest."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import scale

SMALL = ["--genes", "24", "--patch-size", "8", "--window", "100", "--bins", "400"]


def test_a_made_section_follows_its_fields() -> None:
    section = scale.made_section("A1", 900, 12, 1000.0)
    assert len(section) == 900
    counts = section.adata.X.toarray()
    assert counts.sum(1).mean() == pytest.approx(1000 * np.exp(0.08), rel=0.1)
    shares = counts / counts.sum(1, keepdims=True)
    np.testing.assert_allclose(shares, scale.true_shares(section.adata.obsm["fields"], 12), atol=0.09)
    column, row = (section.pos - 4).astype(int).T
    pixels = section.require_image().array[row, column].astype(float)  # type: ignore[attr-defined]
    design = np.column_stack([np.ones(900), section.adata.obsm["fields"]])
    left = pixels - design @ np.linalg.lstsq(design, pixels, rcond=None)[0]
    assert (left.var(0) < 0.5 * pixels.var(0)).all()


@pytest.mark.slow
def test_training_and_evaluation_are_measured(tmp_path: Path) -> None:
    assert scale.main([*SMALL, "--output", str(tmp_path / "scale.json")]) == 0
    result = json.loads((tmp_path / "scale.json").read_text())
    (row,) = result["rows"]
    assert (row["n"], row["window"], row["cached"]) == (400, 100, False)
    assert min(row["train_seconds"], row["evaluate_seconds"]) > 0
    assert 100 < row["start_peak_mb"] <= row["train_peak_mb"] <= row["evaluate_peak_mb"]
    assert result["exponents"] == {}


def test_errors_are_compared_on_sparse_bins(tmp_path: Path) -> None:
    assert scale.main([*SMALL, "--losses", "--depth", "6", "--output", str(tmp_path / "losses.json")]) == 0
    rows = json.loads((tmp_path / "losses.json").read_text())["rows"]
    assert [(row["likelihood"], row["output"]) for row in rows] == [
        (None, "expression"),
        ("poisson", "expression"),
        ("poisson", "mean"),
    ]
    assert all(-1 <= row[truth] <= 1 for row in rows for truth in ("target", "counts", "shares"))


def test_exponents_are_slopes_over_three_sizes() -> None:
    rows = [{"n": n, "train_seconds": 0.01 * n, "evaluate_seconds": 1e-6 * n**2} for n in (10, 100, 1000)]
    assert scale.exponents(rows) == {"train_seconds": pytest.approx(1.0), "evaluate_seconds": pytest.approx(2.0)}
    assert scale.exponents([{"n": row["n"], "train_seconds": 1.0} for row in rows]) == {
        "train_seconds": pytest.approx(0)
    }
    assert scale.exponents(rows[:2]) == {}
