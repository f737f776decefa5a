from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hist2st_pyg import Section
from hist2st_pyg.data.splits import (
    SPLITS,
    Fold,
    block_mask,
    check_disjoint,
    k_fold_patients,
    leave_one_patient_out,
    leave_one_section_out,
)


@pytest.fixture(scope="module")
def sections(cohort: list[Section]) -> list[Section]:
    """A1, A2, B1 and C1."""
    return [*cohort, replace(cohort[0], name="C1", patient="C")]


def test_each_patient_is_left_out_once(sections: list[Section]) -> None:
    assert leave_one_patient_out(sections) == [
        Fold("A", train=("C1",), val=("B1",), test=("A1", "A2")),
        Fold("B", train=("A1", "A2"), val=("C1",), test=("B1",)),
        Fold("C", train=("B1",), val=("A1", "A2"), test=("C1",)),
    ]


def test_with_one_patient_left_a_section_validates_or_squares_do(sections: list[Section]) -> None:
    assert leave_one_patient_out(sections[:3]) == [
        Fold("A", train=("B1",), val=(), test=("A1", "A2")),
        Fold("B", train=("A1",), val=("A2",), test=("B1",)),
    ]


def test_each_section_is_left_out_once(sections: list[Section]) -> None:
    assert leave_one_section_out(sections) == [
        Fold("A1", train=("B1", "C1"), val=("A2",), test=("A1",)),
        Fold("A2", train=("A1", "C1"), val=("B1",), test=("A2",)),
        Fold("B1", train=("A1", "A2"), val=("C1",), test=("B1",)),
        Fold("C1", train=("A2", "B1"), val=("A1",), test=("C1",)),
    ]
    assert leave_one_section_out(sections[:2])[0] == Fold("A1", train=("A2",), val=(), test=("A1",))


def test_patients_are_dealt_into_folds(sections: list[Section]) -> None:
    folds = k_fold_patients(sections, k=2, seed=3)
    assert [fold.name for fold in folds] == ["1of2", "2of2"]
    assert sorted(name for fold in folds for name in fold.test) == ["A1", "A2", "B1", "C1"]
    assert folds == k_fold_patients(sections, k=2, seed=3)


@pytest.mark.parametrize("split", sorted(SPLITS))
def test_no_fold_leaks(sections: list[Section], split: str) -> None:
    by_name = {section.name: section for section in sections}
    for fold in SPLITS[split](sections, **({"k": 3} if split == "k_fold_patients" else {})):
        parts = [[by_name[name] for name in part] for part in (fold.train, fold.val, fold.test)]
        assert parts[0]
        check_disjoint(*parts, split="section" if split == "leave_one_section_out" else "test_patient")


def test_what_cannot_be_split_is_refused(sections: list[Section]) -> None:
    with pytest.raises(ValueError, match="Patients cannot be left out: there is one, A"):
        leave_one_patient_out(sections[:2])
    with pytest.raises(ValueError, match="needs 2 to 3 folds for 3 patients, got k=4"):
        k_fold_patients(sections, k=4)
    with pytest.raises(ValueError, match="needs at least 2 sections, got 1"):
        leave_one_section_out(sections[:1])


def test_a_test_patient_may_not_train_though_one_patient_may_validate_itself(sections: list[Section]) -> None:
    a1, a2, b1, c1 = sections
    check_disjoint([a1], [a2], [b1, c1], split="test_patient")
    with pytest.raises(ValueError, match="The patient 'A' is in training and in test"):
        check_disjoint([b1], [a1], [a2], split="test_patient")


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


@pytest.mark.parametrize("split", ["patient", "section", "test_patient"])
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
