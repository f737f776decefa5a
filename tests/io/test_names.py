"""Sections are chosen by name."""

from __future__ import annotations

from typing import Any

import pytest

from hist2st_pyg.datasets import load_sections


def test_names() -> None:
    options: dict[str, Any] = {"spots": 9, "genes": 4, "noise_genes": 0, "pitch": 16}
    assert [s.name for s in load_sections("synthetic", names=["B1", "A2"], **options)] == ["B1", "A2"]
    assert [s.name for s in load_sections("synthetic", **options)] == ["A1", "A2", "B1", "B2", "C1", "C2"]
    with pytest.raises(ValueError, match=r"no section 'Z1', 'Z2'\. Available: A1, A2, B1, B2, C1, C2"):
        load_sections("synthetic", names=["Z1", "A1", "Z2"])
    with pytest.raises(ValueError, match="no section an empty list"):
        load_sections("synthetic", names=[])
    with pytest.raises(ValueError, match="names holds 'A1' more than once"):
        load_sections("synthetic", names=["A1", "B1", "A1"])
    with pytest.raises(TypeError, match=r"got the string 'A1'; give \['A1'\]"):
        load_sections("synthetic", names="A1")
