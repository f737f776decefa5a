"""Kernel ridge regression on features of each patch and its neighbors, fitted in about a second."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.spatial.distance import pdist
from torch import Tensor

from hist2st_pyg.models.reference import make_room
from hist2st_pyg.models.regression import FeatureRegression, Floats, Solver

MAX_SPOTS = 20_000
WIDTH_SAMPLE_SPOTS = 2000
"""Number of evenly spaced training spots, about, for the median distance."""
BLOCK_SPOTS = 1024


def gaussian(x: Tensor, y: Tensor, width: Tensor | float) -> Tensor:
    """The Gaussian kernel exp(-d² / 2·width²) of the distances between rows, [N, F] and [M, F] -> [N, M]."""
    square = (x**2).sum(1, keepdim=True) + (y**2).sum(1) - 2 * x @ y.T
    return torch.exp(square.clamp(min=0) / (-2 * width**2))


class KernelSolver(Solver):
    """The basis is the similarity to each training spot: the kernel of standardized features.

    Its width is the median distance between training spots. The intercept is each gene's mean, which is not penalized.

    Raises:
        ValueError: If the number of training spots exceeds ``MAX_SPOTS``.
    """

    def __init__(self, x: Floats) -> None:
        if len(x) > MAX_SPOTS:
            raise ValueError(
                f"kernel_ridge stores the similarity of all pairs of training spots, at most {MAX_SPOTS} spots, got "
                f"{len(x)}; train on fewer sections, or choose ridge_neighbors."
            )
        self.mean, self.scale = x.mean(0), np.maximum(x.std(0), 1e-6)
        self.spots = (x - self.mean) / self.scale
        some = self.spots[:: 1 + len(x) // WIDTH_SAMPLE_SPOTS]
        self.width = max(float(np.median(pdist(some))), 1e-6) if len(some) > 1 else 1.0
        self.size, self.gram = len(x), self.basis(x)

    def basis(self, x: Floats) -> Floats:
        """The kernel of features [n, F] with the training spots', [n, N]."""
        standard = torch.from_numpy((x - self.mean) / self.scale)
        return np.asarray(gaussian(standard, torch.from_numpy(self.spots), self.width).cpu().numpy())

    def solve(self, rows: NDArray[np.bool_], y: Floats, alpha: float) -> tuple[Floats, Floats]:
        """Solve (K + alpha) weight = y - mean by Cholesky's factors; other spots get weight 0."""
        bias = y.mean(0)
        weight = np.zeros((self.size, y.shape[1]))
        factor = cho_factor(self.gram[np.ix_(rows, rows)] + alpha * np.eye(len(y)))
        weight[rows] = cho_solve(factor, y - bias)
        return weight, bias


class KernelRidge(FeatureRegression[KernelSolver]):
    """Kernel ridge regression (Saunders et al. 1998), which predicts a spot from similar training spots.

    A saved model holds the features and coefficients of every training spot.

    Args:
        n_genes: Number of genes, G.
        neighbors: Append the mean of the graph neighbors' features.
        arguments: Those of :class:`~hist2st_pyg.models.regression.FeatureRegression`.
    """

    key = "kernel_ridge"

    alphas = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
    feature_mean: Tensor
    feature_scale: Tensor
    width: Tensor
    spots: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, n_genes: int, *, neighbors: bool = True, **arguments: Any) -> None:
        super().__init__(n_genes, neighbors=neighbors, **arguments)
        self.register_buffer("feature_mean", torch.zeros(self.n_features))
        self.register_buffer("feature_scale", torch.ones(self.n_features))
        self.register_buffer("width", torch.ones(()))
        self.register_buffer("spots", torch.zeros(0, self.n_features))
        self.register_buffer("weight", torch.zeros(0, n_genes))
        self.register_buffer("bias", torch.zeros(n_genes))
        self.register_load_state_dict_pre_hook(make_room("spots", "weight"))  # type: ignore[no-untyped-call]

    def predict(self, h: Tensor) -> Tensor:
        # In parts, because the kernel of all spots may not fit into memory.
        parts = torch.split((h - self.feature_mean) / self.feature_scale, BLOCK_SPOTS)
        return torch.cat([gaussian(part, self.spots, self.width) @ self.weight + self.bias for part in parts])

    def solver(self, x: Floats) -> KernelSolver:
        return KernelSolver(x)

    def keep(self, solver: KernelSolver, weight: Floats, bias: Floats) -> None:
        """Store the training spots and their coefficients."""
        fitted = {"feature_mean": solver.mean, "feature_scale": solver.scale, "width": solver.width}
        for name, values in {**fitted, "spots": solver.spots, "weight": weight, "bias": bias}.items():
            setattr(self, name, torch.as_tensor(values).to(self.bias))
