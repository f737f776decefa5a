"""Split sections into training, validation and test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hist2st_pyg.data.copies import refuse_copies
from hist2st_pyg.data.preprocessing import spot_pitch
from hist2st_pyg.patients import require_patients
from hist2st_pyg.section import Section
from hist2st_pyg.utils.resolver import check_choice


@dataclass(frozen=True)
class Fold:
    """The sections of one fold, by name; if ``val`` is empty, validation uses squares of the training sections.

    Args:
        name: The fold's name.
        train: Training sections.
        val: Validation sections, which choose the epoch.
        test: Test sections.
    """

    name: str
    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]


def leave_one_patient_out(sections: Sequence[Section]) -> list[Fold]:
    """Leave each patient out once; a model of the others predicts it.

    Validation is one of the other patients, or one section if only one other patient is left.

    Raises:
        ValueError: If a section's patient is unknown, there is only one patient, or two patients' sections have the
            same counts.
    """
    by_patient = _by_patient(sections)
    return [_patient_fold(patient, [patient], by_patient) for patient in by_patient]


def k_fold_patients(sections: Sequence[Section], k: int = 5, seed: int = 0) -> list[Fold]:
    """Divide patients at random into ``k`` folds; a model of the others predicts each fold.

    Raises:
        ValueError: If there are fewer patients than folds, a section's patient is unknown, or two patients' sections
            have the same counts.
    """
    by_patient = _by_patient(sections)
    patients = list(by_patient)
    if not 2 <= k <= len(patients):
        raise ValueError(f"k_fold_patients needs 2 to {len(patients)} folds for {len(patients)} patients, got k={k}.")
    order = [patients[i] for i in np.random.default_rng(seed).permutation(len(patients))]
    return [_patient_fold(f"{i + 1}of{k}", sorted(order[i::k]), by_patient) for i in range(k)]


def leave_one_section_out(sections: Sequence[Section], validate: bool = True) -> list[Fold]:
    """Leave each section out once, as the paper does; a model of the others predicts it.

    Other sections of the same patient are used for training, so results are better than for a new patient.

    Args:
        sections: The sections; the paper's are :data:`~hist2st_pyg.datasets.her2st.PAPER_SECTIONS`.
        validate: Keep one of the others for validation; the paper trains on all.

    Raises:
        ValueError: If there are fewer than two sections, or two have the same counts.
    """
    names = sorted(section.name for section in sections)
    if len(names) < 2:
        raise ValueError(f"leave_one_section_out needs at least 2 sections, got {len(names)}.")
    refuse_copies({f"fold {section.name}": [section] for section in sections})
    folds = []
    for i, name in enumerate(names):
        others = [*names[i + 1 :], *names[:i]]
        val = others[:1] if validate and len(others) > 1 else []
        folds.append(Fold(name, tuple(sorted(set(others) - set(val))), tuple(val), (name,)))
    return folds


SPLITS: dict[str, Callable[..., list[Fold]]] = {
    "k_fold_patients": k_fold_patients,
    "leave_one_patient_out": leave_one_patient_out,
    "leave_one_section_out": leave_one_section_out,
}
"""The splits that can be chosen by key."""


def _by_patient(sections: Sequence[Section]) -> dict[str, list[Section]]:
    """The sections of each patient, of at least two patients."""
    instead = "leave_one_section_out needs no patients."
    patients = require_patients(sections, "patients cannot be left out", instead)
    found: dict[str, list[Section]] = {patient: [] for patient in sorted(set(patients))}
    for patient, section in zip(patients, sections, strict=True):
        found[patient].append(section)
    if len(found) < 2:
        raise ValueError(f"Patients cannot be left out: there is only {', '.join(found)}. Leave sections out instead.")
    refuse_copies({f"patient {patient}": of_patient for patient, of_patient in found.items()})
    return found


def _patient_fold(name: str, test: Sequence[str], by_patient: Mapping[str, Sequence[Section]]) -> Fold:
    names = {patient: sorted(section.name for section in sections) for patient, sections in by_patient.items()}
    patients = list(names)
    # Validation is the patient after the last test patient, cyclically, so that each is used about equally often.
    start = patients.index(test[-1]) + 1
    rest = [patient for patient in [*patients[start:], *patients[:start]] if patient not in test]
    left = sorted(section for patient in rest for section in names[patient])
    val = names[rest[0]] if len(rest) > 1 else left[1:][-1:]  # the last, unless it is the only one
    tested = sorted(section for patient in test for section in names[patient])
    return Fold(name, tuple(n for n in left if n not in val), tuple(val), tuple(tested))


def cut_stripes(section: Section, pattern: str) -> list[Section]:
    """Cut a section into vertical stripes of equal width, for a split of a single section.

    Neighboring spots look alike; spots drawn at random would make the test too easy.

    Args:
        section: The section.
        pattern: A letter for each stripe, from left to right; the stripes of a letter become a section named
            ``<name>_<letter>``, so ``"tttv"`` gives a quarter of the width to ``v``.

    Raises:
        ValueError: If the pattern has other characters than letters, or a letter gets no spot.
    """
    check_stripes(pattern)
    x = section.pos[:, 0]
    stripe = np.floor((x - x.min()) / max(np.ptp(x), 1e-9) * len(pattern)).astype(int).clip(max=len(pattern) - 1)
    letters = np.array(list(pattern))[stripe]
    if empty := sorted(set(pattern) - set(letters)):
        raise ValueError(f"Section {section.name!r}: the stripes {empty[0]!r} of {pattern!r} hold no spot.")
    return [
        replace(section, name=f"{section.name}_{letter}", adata=section.adata[letters == letter].copy())
        for letter in sorted(set(pattern))
    ]


def check_stripes(pattern: str) -> None:
    """Refuse a pattern of :func:`cut_stripes` with other characters than letters."""
    if not pattern.isalpha():
        raise ValueError(f"A pattern of stripes must consist of letters, one per stripe, got {pattern!r}.")


def check_disjoint(
    train: Sequence[Section], val: Sequence[Section], test: Sequence[Section], split: str = "patient"
) -> None:
    """Refuse a split that leaks.

    Args:
        train: Training sections.
        val: Validation sections.
        test: Test sections.
        split: ``"patient"`` separates the patients of all parts; ``"test_patient"`` those of test from the others,
            while training and validation may share patients; ``"section"`` only sections, as the paper does.

    Raises:
        ValueError: If a section or a patient is in two parts, or sections of two parts have the same counts; or if a
            patient is unknown that the split must separate. The message names it.
    """
    check_choice(("patient", "section", "test_patient"), split, "split")
    parts = {"training": list(train), "validation": list(val), "test": list(test)}
    _refuse_common("section", {part: [s.name for s in sections] for part, sections in parts.items()})
    if split == "test_patient":
        parts = {"training": [*train, *val], "test": list(test)}
    used = [part for part, sections in parts.items() if sections]
    if split != "section" and len(used) > 1:
        instead = "split='section' needs no patients."
        why = f"split={split!r} cannot keep patients of {' and of '.join(used)} apart"
        require_patients([section for sections in parts.values() for section in sections], why, instead)
        hint = " Set split='section' if this is intended; results then leak."
        _refuse_common("patient", {part: [str(s.patient) for s in sections] for part, sections in parts.items()}, hint)
    refuse_copies(parts)


def _refuse_common(what: str, parts: dict[str, list[str]], hint: str = "") -> None:
    owner: dict[str, str] = {}
    for part, values in parts.items():
        for value in sorted(set(values)):
            if value in owner:
                raise ValueError(f"The {what} {value!r} is in {owner[value]} and in {part}.{hint}")
            owner[value] = part


def block_mask(pos: NDArray[np.float64], share: float, side: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Choose whole squares of a section until they hold a share of its spots.

    Neighboring spots look alike; single spots drawn at random would make validation too easy.

    Args:
        pos: Spot positions [N, 2].
        share: The share of spots, 0 to 1.
        side: Side of a square in spot pitches.
        rng: The random generator.

    Returns:
        True for the chosen spots [N].
    """
    cells = np.floor((pos - pos.min(0)) / (side * spot_pitch(pos))).astype(np.int64)
    _, block = np.unique(cells, axis=0, return_inverse=True)
    sizes = np.bincount(block.ravel())
    order = rng.permutation(len(sizes))
    # Add blocks while that brings the number of spots closer to the share.
    before = np.concatenate([[0], np.cumsum(sizes[order])[:-1]])
    chosen = order[before + sizes[order] / 2 <= share * len(pos)]
    return np.isin(block.ravel(), chosen)
