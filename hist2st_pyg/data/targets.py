"""What training aims at: each gene's target, its scale, and the target without most of its counting noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch_geometric.data import Data

from hist2st_pyg.data.denoise import Shrinkage, denoise, shrinkage
from hist2st_pyg.data.masks import training_spots
from hist2st_pyg.data.parts import SectionParts, section_parts
from hist2st_pyg.data.streamed import StreamedSection

CONSTANT = 1e-9
"""Variance of a standardized target up to which sums over the spots do not tell it from a constant."""


def target_statistics(train: Sequence[Data | SectionParts]) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each gene's ``y`` over the training spots that measured it, [G] each.

    A gene that does not vary has deviation 1, so that it is not blown up.

    Args:
        train: The training sections, whole or streamed.
    """
    rows = torch.zeros(3, 1, dtype=torch.float64)
    for data in _pieces(section_parts(train)):
        y = data.y[training_spots(data)].double()
        rows = rows + torch.stack([torch.full((y.shape[1],), len(y)), y.sum(0), (y**2).sum(0)]) * data.gene_mask
    count = rows[0].clamp(min=1)
    mean = rows[1] / count
    std = (rows[2] / count - mean**2).clamp(min=0).sqrt()
    return mean.float(), torch.where(std > 1e-6, std, 1.0).float()


def denoise_targets(train: Sequence[Data | SectionParts]) -> int:
    """Give sections ``y_denoised`` [N, G]: what the standardized targets of their training spots share.

    Spots that do not train keep their target. A gene that a section did not measure counts as at its mean. The parts
    of a streamed section have it from now on; the numbers are the same but for rounding.

    Args:
        train: The training sections, whole or streamed.

    Returns:
        The number of components kept; where it is 0, nothing stands above the noise and no section is changed.
    """
    mean, std = target_statistics(train)
    sections = section_parts(train)
    if any(isinstance(section, StreamedSection) for section in sections):
        return _denoise_streamed(sections, mean, std)
    data_of = [section.whole() for section in sections]
    rows = [training_spots(data) for data in data_of]
    standard = torch.cat([_standard(data, mean, std)[r] for data, r in zip(data_of, rows, strict=True)])
    varies = standard.var(0) > 0  # the others would make the noise look small
    kept, components = denoise(standard[:, varies]) if varies.any() else (standard, 0)
    if components:
        standard[:, varies] = kept
        for data, r, values in zip(data_of, rows, torch.split(standard, [int(r.sum()) for r in rows]), strict=True):
            data.y_denoised = data.y.clone()
            data.y_denoised[r] = values * std + mean
    return components


@dataclass(frozen=True, eq=False)
class _Denoised:
    """Makes ``y_denoised`` of any part of the training sections, by the shrinkage of all of them."""

    mean: Tensor
    std: Tensor
    varies: Tensor
    shrink: Shrinkage

    def __call__(self, data: Data) -> Tensor:
        standard = _standard(data, self.mean, self.std)
        standard[:, self.varies] = self.shrink(standard[:, self.varies])
        return torch.where(training_spots(data)[:, None], standard * self.std + self.mean, data.y)


def _denoise_streamed(train: Sequence[SectionParts], mean: Tensor, std: Tensor) -> int:
    n, total = 0, torch.zeros(len(mean), dtype=torch.float64)
    products = torch.zeros(len(mean), len(mean), dtype=torch.float64)
    for data in _pieces(train):
        standard = _standard(data, mean, std)[training_spots(data)].double()
        n, total, products = n + len(standard), total + standard.sum(0), products + standard.T @ standard
    center = total / n
    products -= n * torch.outer(center, center)
    varies = products.diagonal() > CONSTANT * n
    if not varies.any():
        return 0
    shrink = shrinkage(center[varies].float(), products[varies][:, varies], n)
    components = len(shrink.kept)
    if components:
        denoised = _Denoised(mean, std, varies, shrink)
        for section in train:
            if isinstance(section, StreamedSection):
                section.denoised = denoised
            else:
                section.data.y_denoised = denoised(section.data)
    return components


def _standard(data: Data, mean: Tensor, std: Tensor) -> Tensor:
    """The standardized target [N, G]; 0 where a gene was not measured."""
    return torch.where(data.gene_mask, (data.y - mean) / std, 0.0)


def _pieces(train: Sequence[SectionParts]) -> Iterator[Data]:
    """What was measured of sections; the pieces of a streamed one are made when it is their turn."""
    for section in train:
        yield from section.measured()
