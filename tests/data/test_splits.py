from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hist2st_pyg import Section, load_sections
from hist2st_pyg.data.splits import (
    SPLITS,
    Fold,
    block_mask,
    check_disjoint,
    cut_stripes,
    k_fold_patients,
    leave_one_patient_out,
    leave_one_section_out,
)
from hist2st_pyg.patients import with_patients


@pytest.fixture(scope="module")
def sections(cohort: list[Section]) -> list[Section]:
    """A1, A2, B1 and C1."""
    return [*cohort, *load_sections("synthetic", names=["C1"], spots=48, genes=20, noise_genes=4)]


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
    published = leave_one_section_out(sections, validate=False)
    assert [fold.test for fold in published] == [fold.test for fold in leave_one_section_out(sections)]
    names = {section.name for section in sections}
    assert all(not fold.val and {*fold.train, *fold.test} == names for fold in published)


def test_patients_are_dealt_into_folds(sections: list[Section]) -> None:
    folds = k_fold_patients(sections, k=2, seed=3)
    assert [fold.name for fold in folds] == ["1of2", "2of2"]
    assert sorted(name for fold in folds for name in fold.test) == ["A1", "A2", "B1", "C1"]
    assert folds == k_fold_patients(sections, k=2, seed=3)


@pytest.mark.parametrize("seed", range(4))
def test_the_patient_after_the_last_of_the_test_validates(seed: int) -> None:
    circle = ["A1", "A2", "B1", "B2", "C1", "C2"]
    loaded = load_sections("synthetic", names=circle, spots=48, genes=20, noise_genes=4)
    for fold in k_fold_patients([replace(section, patient=section.name) for section in loaded], k=3, seed=seed):
        after = circle.index(max(fold.test)) + 1
        expected = next(patient for patient in circle[after:] + circle[:after] if patient not in fold.test)
        assert fold.val == (expected,)
        assert set(fold.train) == set(circle) - {*fold.test, expected}


@pytest.mark.parametrize("split", sorted(SPLITS))
def test_no_fold_leaks(sections: list[Section], split: str) -> None:
    by_name = {section.name: section for section in sections}
    for fold in SPLITS[split](sections, **({"k": 3} if split == "k_fold_patients" else {})):
        parts = [[by_name[name] for name in part] for part in (fold.train, fold.val, fold.test)]
        assert parts[0]
        check_disjoint(*parts, split="section" if split == "leave_one_section_out" else "test_patient")


def test_what_cannot_be_split_is_refused(sections: list[Section]) -> None:
    with pytest.raises(ValueError, match="Patients cannot be left out: there is only A"):
        leave_one_patient_out(sections[:2])
    with pytest.raises(ValueError, match="needs 2 to 3 folds for 3 patients, got k=4"):
        k_fold_patients(sections, k=4)
    with pytest.raises(ValueError, match="needs at least 2 sections, got 1"):
        leave_one_section_out(sections[:1])


@pytest.mark.parametrize("split", [leave_one_patient_out, k_fold_patients])
def test_patients_that_are_not_known_cannot_be_left_out(sections: list[Section], split: Callable[..., Any]) -> None:
    unknown = [sections[0], *(replace(section, patient=None) for section in sections[1:])]
    with pytest.raises(ValueError, match="The patient of 'A2', 'B1', 'C1' is not known: patients cannot be") as refused:
        split(unknown)
    for way in ("(data.patients: {A2: PATIENT, ...})", "(data.patients: each_section)", "leave_one_section_out"):
        assert way in str(refused.value)
    with pytest.raises(ValueError, match="of 'S0', 'S1', 'S2', 'S3', 'S4', 'S5' and 2 more is not known"):
        split([replace(unknown[1], name=f"S{i}") for i in range(8)])
    assert len(leave_one_section_out(unknown)) == 4


def test_a_declaration_makes_each_section_a_patient(sections: list[Section]) -> None:
    unknown = [replace(section, patient=None) for section in sections]
    folds = leave_one_patient_out(with_patients(unknown, "each_section"))
    assert [(fold.name, fold.test) for fold in folds] == [(name, (name,)) for name in ("A1", "A2", "B1", "C1")]


def test_parts_of_unknown_patients_are_refused(sections: list[Section]) -> None:
    a1, a2, b1, c1 = (replace(section, patient=None) for section in sections)
    check_disjoint([a1, a2, b1, c1], [], [])
    check_disjoint([a1], [a2], [], split="test_patient")
    check_disjoint([a1], [a2], [b1], split="section")
    with pytest.raises(ValueError, match="split='patient' cannot keep patients of training and of validation apart"):
        check_disjoint([a1], [a2], [])
    with pytest.raises(ValueError, match="The patient of 'B1' is not known: split='test_patient' cannot keep"):
        check_disjoint([sections[0]], [sections[1]], [b1], split="test_patient")


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


def test_a_copy_in_another_part_is_refused(sections: list[Section]) -> None:
    a1, a2, b1, _ = sections
    copy = replace(a1, name="X", patient="X")
    message = r"'A1' \((training|patient A|fold A1)\) and 'X' \((test|patient X|fold X)\) have the same counts in 48 of"
    with pytest.raises(ValueError, match=message):
        check_disjoint([a1, b1], [], [copy], split="section")
    with pytest.raises(ValueError, match=message):
        leave_one_patient_out([a1, b1, copy])
    with pytest.raises(ValueError, match=message):
        leave_one_section_out([a1, a2, copy])


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


# Stripes of a section.


def in_columns(section: Section, x: NDArray[np.float64]) -> Section:
    """The section with as many of its spots as there are positions, at these."""
    adata = section.adata[: len(x)].copy()
    adata.obsm["spatial"] = np.stack([x, np.arange(len(x), dtype=np.float64)], axis=1)
    return replace(section, adata=adata)


def names(section: Section) -> list[str]:
    return [str(name) for name in section.adata.obs_names]


@settings(max_examples=50, deadline=None)
@given(st.text("tvh", min_size=1, max_size=8), st.integers(0, 99))
def test_every_spot_is_in_the_stripe_of_its_position(sections: list[Section], pattern: str, seed: int) -> None:
    x = np.random.default_rng(seed).permutation(np.linspace(200, 840, 41))
    section = in_columns(sections[0], x)
    expected: dict[str, list[str]] = {letter: [] for letter in pattern}
    for name, place in zip(names(section), x, strict=True):
        # By counting the inner borders at or to the left of it; the last spot is in the last stripe.
        borders = sum(200 + 640 * i / len(pattern) <= place + 1e-9 for i in range(1, len(pattern)))
        expected[pattern[borders]].append(name)
    parts = cut_stripes(section, pattern)
    assert {part.name.removeprefix("A1_"): names(part) for part in parts} == expected
    assert [part.name for part in parts] == [f"A1_{letter}" for letter in sorted(expected)]
    assert sorted(name for part in parts for name in names(part)) == sorted(names(section))


def test_stripes_are_equally_wide_however_many_spots_they_hold(sections: list[Section]) -> None:
    x = np.array([0, 1, 2, 3, 4, 5, 6, 7, 26, 51, 80, 99, 100], dtype=np.float64)
    parts = {part.name: part for part in cut_stripes(in_columns(sections[0], x), "tvtt")}
    assert parts["A1_v"].pos[:, 0].tolist() == [26]
    assert len(parts["A1_t"]) == 12
    halves = cut_stripes(in_columns(sections[0], x), "ab")
    assert [part.pos[:, 0].max() for part in halves] == [26, 100]


def test_a_stripe_is_the_section_but_for_its_spots(sections: list[Section]) -> None:
    section = replace(sections[0], um_per_pixel=0.5, spot_diameter=30.0)
    before = section.adata.copy()
    first, second = cut_stripes(section, "tv")
    for part in (first, second):
        own = names(part)
        assert (part.patient, part.image, part.um_per_pixel, part.spot_diameter) == ("A", section.image, 0.5, 30.0)
        assert list(part.adata.var_names) == list(before.var_names)
        np.testing.assert_array_equal(part.adata.X.toarray(), before[own].X.toarray())
        np.testing.assert_array_equal(part.pos, before[own].obsm["spatial"])
        np.testing.assert_array_equal(part.grid, before[own].obs[["array_col", "array_row"]])
        np.testing.assert_array_equal(part.label, before[own].obs["label"])
    assert first.pos[:, 0].max() < second.pos[:, 0].min()
    first.adata.obsm["spatial"][:] = 0
    np.testing.assert_array_equal(section.pos, before.obsm["spatial"])
    check_disjoint([first], [], [second], split="section")
    with pytest.raises(ValueError, match="The patient 'A' is in training and in test"):
        check_disjoint([first], [], [second])


def test_one_letter_keeps_the_section_whole(sections: list[Section]) -> None:
    for pattern in ("t", "ttt"):
        (part,) = cut_stripes(sections[0], pattern)
        assert part.name == "A1_t"
        assert names(part) == names(sections[0])
    (part,) = cut_stripes(in_columns(sections[0], np.full(3, 7.0)), "t")  # of no width
    assert len(part) == 3


@pytest.mark.parametrize("pattern", ["", "tt1v", "t_v", "t v", "t,v"])
def test_a_pattern_is_made_of_letters(sections: list[Section], pattern: str) -> None:
    with pytest.raises(ValueError, match=f"stripes must consist of letters, one per stripe, got '{pattern}'"):
        cut_stripes(sections[0], pattern)


def test_a_letter_without_spots_is_refused(sections: list[Section]) -> None:
    gap = in_columns(sections[0], np.array([0.0, 1, 2, 98, 99, 100]))
    with pytest.raises(ValueError, match="Section 'A1': the stripes 'v' of 'tvt' hold no spot"):
        cut_stripes(gap, "tvt")
    assert [len(part) for part in cut_stripes(gap, "ttv")] == [3, 3]
    with pytest.raises(ValueError, match="the stripes 'v' of 'tv' hold no spot"):
        cut_stripes(in_columns(sections[0], np.array([5.0])), "tv")
