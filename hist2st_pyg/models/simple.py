"""Baselines that ignore the image."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch_geometric.data import Data

from hist2st_pyg.data.graph import knn_edges
from hist2st_pyg.data.masks import training_spots, validation_spots
from hist2st_pyg.losses import training_target
from hist2st_pyg.models.base import ClosedFormModel, section_ptr
from hist2st_pyg.models.selection import mean_pcc, section_pcc
from hist2st_pyg.utils.scatter import scatter

NUMBERS_OF_NEIGHBORS = (4, 8, 16, 32)


class Mean(ClosedFormModel):
    """Predicts each gene's mean over the training spots for every spot.

    Args:
        n_genes: Number of genes, G.
    """

    key = "mean"
    num_hops = 0

    def __init__(self, n_genes: int) -> None:
        super().__init__(n_genes)
        self.config = {"n_genes": n_genes}

    def forward(self, data: Data) -> dict[str, Tensor]:
        """Return ``expression`` [N, G] and ``embedding`` [N, 1], both the same for all spots."""
        n = int(data.num_nodes or 0)
        return {"expression": self.target_mean.expand(n, -1).clone(), "embedding": self.target_mean.new_ones(n, 1)}

    def fit(self, train: Sequence[Data], val: Sequence[Data]) -> None:
        """Average the targets of the training spots."""
        self.target_mean.copy_(_moments(train)[0])


class PositionKNN(ClosedFormModel):
    """Predicts the mean measured expression of the nearest other spots of the same section.

    It reads the counts of all other spots of the section instead of an image. Its score measures the spatial smoothness
    of expression.

    Args:
        n_genes: Number of genes, G.
        k: Number of spots; None chooses one of 4, 8, 16, 32 by the validation PCC.

    Raises:
        ValueError: If ``k`` is not positive.
    """

    key = "position_knn"
    task = "interpolation"

    def __init__(self, n_genes: int, *, k: int | None = None) -> None:
        super().__init__(n_genes)
        if k is not None and k < 1:
            raise ValueError(f"k must be at least 1, got {k}.")
        self.config = {"n_genes": n_genes, "k": k}

    def forward(self, data: Data) -> dict[str, Tensor]:
        """Interpolate in a ``Data`` or a ``Batch`` with ``y`` [N, G]; ``embedding`` is the position [N, 2]."""
        k = self.config["k"] or NUMBERS_OF_NEIGHBORS[0]
        ptr = section_ptr(data)
        parts = []
        for start, end in itertools.pairwise(ptr):
            (source, target), _ = knn_edges(data.pos[start:end].double(), k)
            parts.append(scatter(data.y[start:end][source], target, end - start, "mean"))
        return {"expression": torch.cat(parts), "embedding": data.pos}

    def fit(self, train: Sequence[Data], val: Sequence[Data]) -> None:
        """Choose the number of spots by the PCC on the validation sections; without them, on the training sections."""
        if self.config["k"] is not None:
            return
        scores = {}
        for k in NUMBERS_OF_NEIGHBORS:
            self.config["k"] = k
            scores[k] = mean_pcc(
                [section_pcc(self(data)["expression"][validation_spots(data)], data) for data in val or train]
            )
        self.config["k"] = max(scores, key=lambda k: scores[k])


class DepthOracle(ClosedFormModel):
    """Linear regression of each gene on the spot's measured depth, log10(1 + panel counts).

    A diagnostic, not a prediction: it reads the counts of the spot itself. Its score is the correlation that
    cellularity and sequencing depth alone explain, a signal that log-normalized targets keep.

    Args:
        n_genes: Number of genes, G.
    """

    key = "depth_oracle"
    task = "diagnostic"
    slope: Tensor
    depth_mean: Tensor

    def __init__(self, n_genes: int) -> None:
        super().__init__(n_genes)
        self.config = {"n_genes": n_genes}
        self.register_buffer("slope", torch.zeros(n_genes))
        self.register_buffer("depth_mean", torch.zeros(n_genes))

    def forward(self, data: Data) -> dict[str, Tensor]:
        """Compute ``expression`` [N, G] from ``counts`` [N, G]; ``embedding`` is the depth [N, 1]."""
        depth = _depth(data)
        return {"expression": self.target_mean + (depth - self.depth_mean) * self.slope, "embedding": depth}

    def fit(self, train: Sequence[Data], val: Sequence[Data]) -> None:
        """Fit each gene by least squares."""
        mean, _ = _moments(train)
        depth_mean, depth_square = _moments(train, lambda data: _depth(data).expand_as(data.y))
        product, _ = _moments(train, lambda data: _depth(data) * training_target(data))
        variance = (depth_square - depth_mean**2).clamp(min=1e-12)
        self.target_mean.copy_(mean)
        self.depth_mean.copy_(depth_mean)
        self.slope.copy_((product - mean * depth_mean) / variance)


def _depth(data: Data) -> Tensor:
    return torch.log10(1 + data.counts.sum(1, keepdim=True))


def _moments(train: Sequence[Data], value: Callable[[Data], Tensor] = training_target) -> tuple[Tensor, Tensor]:
    """Compute each gene's mean and mean square [G] over the training spots that measured it; 0 without any."""
    rows = [(value(d).double()[training_spots(d)], d.gene_mask) for d in train]
    count = sum((len(v) * mask for v, mask in rows), start=torch.zeros(1)).clamp(min=1)
    first = sum((v.sum(0) * mask for v, mask in rows), start=torch.zeros(1)) / count
    return first, sum(((v**2).sum(0) * mask for v, mask in rows), start=torch.zeros(1)) / count
