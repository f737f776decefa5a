"""Who is trained on, who chooses the epoch, who is predicted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from hist2st_pyg.data.convert import spot_pitch
from hist2st_pyg.section import Section


def by_patient(
    sections: Sequence[Section], test: Sequence[str], val: Sequence[str] = ()
) -> tuple[list[Section], list[Section], list[Section]]:
    """Split sections by patient.

    Args:
        sections: All sections.
        test: The patients to predict.
        val: The patients that choose the epoch.

    Returns:
        The sections of training, validation and test.

    Raises:
        ValueError: If a patient is unknown or in both, or nobody is left to train on.
    """
    known = sorted({section.patient for section in sections})
    for patient in (*test, *val):
        if patient not in known:
            raise ValueError(f"There is no patient {patient!r}; there are {', '.join(known)}.")
    if both := sorted(set(test) & set(val)):
        raise ValueError(f"Patient {both[0]!r} is in validation and in test.")
    parts = (
        [s for s in sections if s.patient not in (*test, *val)],
        [s for s in sections if s.patient in val],
        [s for s in sections if s.patient in test],
    )
    if not parts[0]:
        raise ValueError("No patient is left to train on.")
    return parts


def check_disjoint(
    train: Sequence[Section], val: Sequence[Section], test: Sequence[Section], split: str = "patient"
) -> None:
    """Refuse a split that leaks.

    Args:
        train: Sections of training.
        val: Sections of validation.
        test: Sections of test.
        split: ``"patient"`` keeps patients apart; ``"section"`` only sections, as the paper does.

    Raises:
        ValueError: If a section, or with ``"patient"`` a patient, is in two parts; the message names it.
    """
    if split not in ("patient", "section"):
        raise ValueError(f"Unknown split={split!r}. Choose one of: patient, section.")
    parts = {"training": train, "validation": val, "test": test}
    for field in ("name", "patient") if split == "patient" else ("name",):
        owner: dict[str, str] = {}
        for part, sections in parts.items():
            for value in sorted({str(getattr(section, field)) for section in sections}):
                if value in owner:
                    what = "section" if field == "name" else "patient"
                    hint = "" if field == "name" else " Ask for split='section' if this is meant; results then leak."
                    raise ValueError(f"The {what} {value!r} is in {owner[value]} and in {part}.{hint}")
                owner[value] = part


def block_mask(pos: NDArray[np.float64], share: float, side: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Choose whole squares of a section until they hold a share of its spots.

    Neighbouring spots look alike; single spots drawn at random would make validation too easy.

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
    # A block joins while that brings the number of spots nearer to the share.
    before = np.concatenate([[0], np.cumsum(sizes[order])[:-1]])
    chosen = order[before + sizes[order] / 2 <= share * len(pos)]
    return np.isin(block.ravel(), chosen)
