"""Sections are chosen by name."""

from __future__ import annotations

from typing import Any

import pytest

from hist2st_pyg.datasets import load_sections
from hist2st_pyg.io.names import UnknownSectionError, check_parts, select_names


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


def test_names_come_in_the_order_that_they_are_asked_for_and_all_of_them_sorted() -> None:
    there = {"B10": 1, "A1": 2, "B2": 3}
    assert select_names(None, there, "Data set 'x'") == ["A1", "B10", "B2"]
    assert select_names(("B2", "A1"), there, "Data set 'x'") == ["B2", "A1"]
    with pytest.raises(ValueError, match=r"^Data set 'x' in folder has no sections\.$"):
        select_names(None, [], "Data set 'x' in folder")


def test_the_error_of_an_unknown_section_knows_those_there_are() -> None:
    for names in (["A1", "Z9"], []):
        with pytest.raises(UnknownSectionError) as error:
            select_names(names, ["B1", "A1"], "Data set 'x'")
        assert error.value.available == ["A1", "B1"]


@pytest.mark.parametrize("parts", [[], "counts", ["counts", "labels"]])
def test_parts_are_a_list_of_some_of_those_there_are(parts: Any) -> None:
    check_parts(["spots", "counts"], {"counts": 1, "spots": 2})
    with pytest.raises(ValueError, match=r"^parts must be a list of some of counts, spots, got "):
        check_parts(parts, {"counts": 1, "spots": 2})
