"""The training target: each gene's scale, and the target without most of its counting noise."""

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

CONSTANT_VARIANCE = 1e-9
"""Variance of a standardized target, from sums over the spots, up to which it counts as constant."""


def target_statistics(train: Sequence[Data | SectionParts]) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each gene's ``y`` over the training spots that measured it, [G] each.

    A constant gene has deviation 1, so that it is not divided by 0.

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
    """Set ``y_denoised`` [N, G] of sections: the standardized targets of their training spots, denoised together.

    Other spots keep their target. A gene that a section did not measure counts as its mean. A streamed section
    computes it for each part, with the same numbers up to rounding.

    Args:
        train: The training sections, whole or streamed.

    Returns:
        The number of components kept; if it is 0, none exceeds the noise and no section is changed.
    """
    mean, std = target_statistics(train)
    sections = section_parts(train)
    if any(isinstance(section, StreamedSection) for section in sections):
        return _denoise_streamed(sections, mean, std)
    data_of = [section.whole() for section in sections]
    rows = [training_spots(data) for data in data_of]
    standard = torch.cat([_standard(data, mean, std)[r] for data, r in zip(data_of, rows, strict=True)])
    varies = standard.var(0) > 0  # constant genes would lower the noise estimate
    kept, components = denoise(standard[:, varies]) if varies.any() else (standard, 0)
    if components:
        standard[:, varies] = kept
        for data, r, values in zip(data_of, rows, torch.split(standard, [int(r.sum()) for r in rows]), strict=True):
            data.y_denoised = data.y.clone()
            data.y_denoised[r] = values * std + mean
    return components


@dataclass(frozen=True, eq=False)
class _Denoised:
    """Computes ``y_denoised`` of any part of the training sections, by the shrinkage of all of them."""

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
    varies = products.diagonal() > CONSTANT_VARIANCE * n
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
    """The measurements of sections; a streamed section computes its pieces on demand."""
    for section in train:
        yield from section.measured()
