from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hist2st_pyg import Section
from hist2st_pyg.data.splits import block_mask, by_patient, check_disjoint


@pytest.fixture(scope="module")
def sections(cohort: list[Section]) -> list[Section]:
    """A1, A2, B1 and C1."""
    return [*cohort, replace(cohort[0], name="C1", patient="C")]


def names(*parts: list[Section]) -> list[list[str]]:
    return [[section.name for section in part] for part in parts]


def test_patients_are_kept_together(sections: list[Section]) -> None:
    assert names(*by_patient(sections, test=["B"], val=["C"])) == [["A1", "A2"], ["C1"], ["B1"]]
    assert names(*by_patient(sections, test=["A"])) == [["B1", "C1"], [], ["A1", "A2"]]
    assert names(*by_patient(sections, test=[], val=["B"])) == [["A1", "A2", "C1"], ["B1"], []]
    check_disjoint(*by_patient(sections, test=["B"], val=["C"]))


def test_patients_that_cannot_be_split_are_refused(sections: list[Section]) -> None:
    with pytest.raises(ValueError, match="There is no patient 'D'; there are A, B, C"):
        by_patient(sections, test=["D"])
    with pytest.raises(ValueError, match="There is no patient 'a'"):
        by_patient(sections, test=["B"], val=["a"])
    with pytest.raises(ValueError, match="Patient 'B' is in validation and in test"):
        by_patient(sections, test=["B"], val=["A", "B"])
    with pytest.raises(ValueError, match="No patient is left to train on"):
        by_patient(sections, test=["A", "B"], val=["C"])


def test_a_patient_in_two_parts_is_refused(sections: list[Section]) -> None:
    a1, a2, b1, c1 = sections
    check_disjoint([a1, a2], [b1], [c1])
    with pytest.raises(ValueError, match=r"The patient 'A' is in training and in test.*split='section'"):
        check_disjoint([a1], [b1], [a2])
    with pytest.raises(ValueError, match="The patient 'A' is in training and in validation"):
        check_disjoint([a1], [a2], [])
    with pytest.raises(ValueError, match="The patient 'A' is in validation and in test"):
        check_disjoint([b1], [a1], [a2])
    check_disjoint([a1], [b1], [a2], split="section")


@pytest.mark.parametrize("split", ["patient", "section"])
def test_a_section_in_two_parts_is_always_refused(sections: list[Section], split: str) -> None:
    a1, _, b1, _ = sections
    with pytest.raises(ValueError, match=r"The section 'A1' is in training and in test\.$"):
        check_disjoint([a1, b1], [], [a1], split=split)
    with pytest.raises(ValueError, match="The section 'B1' is in validation and in test"):
        check_disjoint([a1], [b1], [b1], split=split)


def test_an_unknown_split_is_refused(sections: list[Section]) -> None:
    with pytest.raises(ValueError, match=r"Unknown split='spot'. Choose one of: patient, section"):
        check_disjoint(sections, [], [], split="spot")


# Squares of a section.


def lattice(columns: int, rows: int, pitch: float = 10.0) -> NDArray[np.float64]:
    return np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1).reshape(-1, 2) * pitch


@settings(max_examples=50, deadline=None)
@given(st.integers(6, 20), st.integers(6, 20), st.floats(0, 1), st.integers(1, 4), st.integers(0, 99))
def test_whole_squares_make_up_about_the_share(columns: int, rows: int, share: float, side: int, seed: int) -> None:
    pos = lattice(columns, rows)
    mask = block_mask(pos, share, side, np.random.default_rng(seed))
    assert mask.shape == (len(pos),)
    # As near as whole squares allow: within half a square.
    assert abs(mask.sum() - share * len(pos)) <= side**2 / 2
    block = (pos // (10 * side)) @ [1000, 1]
    for number in np.unique(block):
        assert len(set(mask[block == number])) == 1


def test_squares_depend_on_the_generator_alone() -> None:
    pos = lattice(16, 16)
    masks = [block_mask(pos, 0.25, 4, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert masks[0].sum() == 64
    np.testing.assert_array_equal(masks[0], masks[1])
    assert (masks[0] != masks[2]).any()
    moved = block_mask(3 * pos + 1000, 0.25, 4, np.random.default_rng(0))  # sides are in spot pitches
    np.testing.assert_array_equal(moved, masks[0])


def test_nothing_and_everything() -> None:
    pos = lattice(8, 8)
    assert not block_mask(pos, 0.0, 4, np.random.default_rng(0)).any()
    assert block_mask(pos, 1.0, 4, np.random.default_rng(0)).all()
