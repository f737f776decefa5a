"""Detect a section that occurs under two names, by its counts."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from hist2st_pyg.section import Section
from hist2st_pyg.utils.rows import row_blocks

logger = logging.getLogger(__name__)

COPIED_SHARE = 0.5
"""Sections are copies if more than this share of the smaller one's spots have the same counts as one of the other."""


def refuse_copies(groups: Mapping[str, Sequence[Section]]) -> None:
    """Refuse a section that is in two groups, or has two patients, under two names; warn of two names in one group.

    Args:
        groups: The sections of each group, for example of training, validation and test.

    Raises:
        ValueError: If two have the same counts; the message names them.
    """
    of = [(section, group) for group, sections in groups.items() for section in sections]
    spots = spot_hashes([section for section, _ in of])
    for ((a, in_a), a_spots), ((b, in_b), b_spots) in combinations(zip(of, spots, strict=True), 2):
        smaller = min(len(a), len(b))
        equal = len(np.intersect1d(a_spots, b_spots, assume_unique=True))
        if equal <= COPIED_SHARE * smaller:
            continue
        said = (
            f"The sections {a.name!r} ({in_a}) and {b.name!r} ({in_b}) have the same counts in {equal} of {smaller} "
            "spots: they look like one section under two names"
        )
        two_patients = None not in (a.patient, b.patient) and a.patient != b.patient
        if in_a != in_b or two_patients:
            raise ValueError(f"{said}{f', of patients {a.patient} and {b.patient}' * two_patients}. Leave one out.")
        logger.warning("%s. It counts twice.", said)


def spot_hashes(sections: Sequence[Section]) -> list[NDArray[np.uint64]]:
    """Hash each spot's counts of the genes that all sections share, without spots of equal counts in a section.

    Spots without counts or with equal counts do not identify their section; with few shared genes or few counts, few
    hashes are left.

    Args:
        sections: The sections.

    Returns:
        For each section the sorted hashes, uint64 [at most N].
    """
    if len(sections) < 2:
        return [np.empty(0, np.uint64) for _ in sections]
    shared = sorted(set.intersection(*(set(section.adata.var_names) for section in sections)))
    # The sum of count times a random number of each gene, modulo 2^64, does not depend on the order of the genes.
    weight = dict(zip(shared, np.random.default_rng(0).integers(2**64, size=len(shared), dtype=np.uint64), strict=True))
    found = []
    for section in sections:
        weights = np.array([weight.get(gene, np.uint64(0)) for gene in section.adata.var_names], dtype=np.uint64)
        hashes, times = np.unique(_row_sums(section, weights), return_counts=True)
        found.append(hashes[(times == 1) & (hashes != 0)])
    return found


def _row_sums(section: Section, weights: NDArray[np.uint64]) -> NDArray[np.uint64]:
    from scipy.sparse import csr_matrix

    return np.concatenate([csr_matrix(rows).astype(np.uint64) @ weights for rows in row_blocks(section.adata.X)])
