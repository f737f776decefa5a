"""How settings are chosen: what is held out for it, and the score."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr
from torch_geometric.data import Data

from hist2st_pyg.data import SectionData
from hist2st_pyg.data.masks import training_spots
from hist2st_pyg.losses import training_target
from hist2st_pyg.models.selection import folds, mean_pcc, section_pcc


def test_more_than_five_sections_are_held_out_in_five_groups(denoised: list[SectionData]) -> None:
    sections = [denoised[0]] * 7
    found = folds(sections)
    assert [(len(fitted), len(judged)) for fitted, judged in found] == [(5, 2), (5, 2), (6, 1), (6, 1), (6, 1)]


def test_held_out_counts_reach_no_target_of_their_fold(denoised: list[SectionData]) -> None:
    for sections in (denoised, denoised[:1]):
        for i, (fitted, judged) in enumerate(folds(sections)):
            changed = []
            for data in sections:
                other = data.clone()
                for part in judged:
                    if part.section == data.section:
                        other.y = torch.where(part.val_mask[:, None], torch.rand_like(data.y), data.y)
                changed.append(other)
            again, _ = folds(changed)[i]
            for part, same in zip(fitted, again, strict=True):
                rows = training_spots(part)
                assert torch.equal(training_target(part)[rows], training_target(same)[rows])
                assert not torch.equal(training_target(part)[rows], part.y[rows])  # denoised anew


def test_every_training_spot_is_held_out_once_and_no_other(denoised: list[SectionData]) -> None:
    section = denoised[0].clone()
    section.train_mask = torch.arange(len(section.y)) % 3 > 0
    found = folds([section])
    held_out = torch.stack([judged[0].val_mask for _, judged in found])
    assert torch.equal(held_out.sum(0), section.train_mask.long())
    assert all(
        torch.equal(f[0].train_mask, section.train_mask & ~held) for (f, _), held in zip(found, held_out, strict=True)
    )
    assert "val_mask" not in section
    assert "y_denoised" in section


@pytest.mark.parametrize("held_out", [False, True])
def test_the_score_of_a_section_is_scipy_s_mean_over_genes_that_it_measured_and_that_vary(held_out: bool) -> None:
    rng = np.random.default_rng(0)
    y, predicted = rng.normal(size=(30, 5)), rng.normal(size=(30, 5))
    y[:, 2] = 4.0
    data = Data(y=torch.from_numpy(y), gene_mask=torch.tensor([True, False, True, True, True]))
    rows = np.arange(30) % 3 == 0 if held_out else np.ones(30, dtype=bool)
    if held_out:
        data.val_mask = torch.from_numpy(rows)
    expected = np.mean([pearsonr(y[rows, gene], predicted[rows, gene])[0] for gene in (0, 3, 4)])
    assert section_pcc(predicted[rows], data) == pytest.approx(expected, abs=1e-6)


def test_sections_in_which_nothing_varies_do_not_count() -> None:
    data = Data(y=torch.ones(4, 2), gene_mask=torch.tensor([True, True]))
    assert np.isnan(section_pcc(np.eye(4)[:, :2], data))
    assert mean_pcc([0.2, float("nan"), 0.4]) == pytest.approx(0.3)
    assert mean_pcc([float("nan")]) == mean_pcc([]) == 0.0
