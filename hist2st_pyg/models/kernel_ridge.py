"""Kernel ridge regression on features of each patch and its neighbors, fitted in about a second."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.spatial.distance import pdist
from torch import Tensor
from torch_geometric.data import Data

from hist2st_pyg.models.reference import resize_buffers
from hist2st_pyg.models.regression import FeatureRegression, Solver
from hist2st_pyg.models.section_moments import SMALLEST_DEVIATION
from hist2st_pyg.nn.statistics import contrasts
from hist2st_pyg.utils.resolver import resolve
from hist2st_pyg.utils.rows import Floats

MAX_SPOTS = 20_000
WIDTH_SAMPLE_SPOTS = 2000
"""Approximate number of evenly spaced training spots for the median distance."""
BLOCK_SPOTS = 1024
SMALLEST_VARIANCE = 0.01
"""Added to the variance of a principal component, of features of variance 1, before whitening."""


def gaussian(x: Tensor, y: Tensor, width: Tensor | float) -> Tensor:
    """The Gaussian kernel exp(-d² / 2·width²) of the distances between rows, [N, F] and [M, F] -> [N, M]."""
    square = (x**2).sum(1, keepdim=True) + (y**2).sum(1) - 2 * x @ y.T
    return torch.exp(square.clamp(min=0) / (-2 * width**2))


def exponential(x: Tensor, y: Tensor, width: Tensor | float) -> Tensor:
    """The kernel exp(-d / width), steeper than the Gaussian near a spot and flatter far from it."""
    square = (x**2).sum(1, keepdim=True) + (y**2).sum(1) - 2 * x @ y.T
    return torch.exp(square.clamp(min=1e-12).sqrt() / -width)  # keeps the gradient finite for equal spots


KERNELS = {"exponential": exponential, "gaussian": gaussian}
"""Kernels, by key."""


class KernelSolver(Solver):
    """Kernel ridge regression: the basis is the kernel of standardized features with each training spot.

    Its width is the median distance between training spots. The intercept is each gene's mean, which is not penalized.

    Args:
        x: The features of the training spots [N, F].
        kernel: A key of :data:`KERNELS`.
        whiten: Power of the principal components' deviations that they are divided by, 0 to 1.

    Raises:
        ValueError: If the number of training spots exceeds ``MAX_SPOTS``.
    """

    def __init__(self, x: Floats, kernel: str = "gaussian", whiten: float = 0.0) -> None:
        if len(x) > MAX_SPOTS:
            raise ValueError(
                f"kernel_ridge stores the similarity of all pairs of training spots, at most {MAX_SPOTS} spots, got "
                f"{len(x)}; train on fewer sections, or use ridge_neighbors."
            )
        self.mean, deviation = x.mean(0), x.std(0)
        # A feature that is constant in training is not scaled: division by its rounding error would make it dominate.
        self.scale = np.where(deviation > SMALLEST_DEVIATION, deviation, 1.0)
        self.kernel = KERNELS[kernel]
        self.rotation = _whitening((x - self.mean) / self.scale, whiten) if whiten else None
        self.spots = self._standard(x)
        some = self.spots[:: 1 + len(x) // WIDTH_SAMPLE_SPOTS]
        self.width = max(float(np.median(pdist(some))), 1e-6) if len(some) > 1 else 1.0
        self.size, self.gram = len(x), self.basis(x)

    def basis(self, x: Floats) -> Floats:
        """Compute the kernel [n, N] of features [n, F] with the training spots."""
        standard = torch.from_numpy(self._standard(x))
        return np.asarray(self.kernel(standard, torch.from_numpy(self.spots), self.width).cpu().numpy())

    def _standard(self, x: Floats) -> Floats:
        standard = (x - self.mean) / self.scale
        return np.asarray(standard if self.rotation is None else standard @ self.rotation)

    def solve(self, rows: NDArray[np.bool_], y: Floats, alpha: float) -> tuple[Floats, Floats]:
        """Solve (K + alpha) weight = y - mean by Cholesky factorization; other spots get weight 0."""
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
        kernel: Similarity of two spots, a key of :data:`KERNELS`.
        contrast: Subtract from the color statistics of each field of view the mean color of the next larger one.
        whiten: Exponent of the whitening: each principal component is divided by its standard deviation to this power;
            0 keeps the features, 1 gives all directions equal variance.
        rank: Largest rank of the coefficients over genes; None stores the coefficients of every gene. Denoised targets
            have a low rank, so a small rank loses nothing.
        arguments: Those of :class:`~hist2st_pyg.models.regression.FeatureRegression`.

    Raises:
        ValueError: If the kernel is unknown, ``whiten`` is not from 0 to 1, ``rank`` is below 1, or ``contrast`` is
            combined with an encoder.
    """

    key = "kernel_ridge"

    alphas = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
    feature_mean: Tensor
    feature_scale: Tensor
    rotation: Tensor
    width: Tensor
    spots: Tensor
    weight: Tensor
    patterns: Tensor
    bias: Tensor

    def __init__(
        self,
        n_genes: int,
        *,
        neighbors: bool = True,
        kernel: str = "gaussian",
        contrast: bool = False,
        whiten: float = 0.0,
        rank: int | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__(n_genes, neighbors=neighbors, **arguments)
        if not 0 <= whiten <= 1:
            raise ValueError(f"whiten must be from 0 to 1, got {whiten}.")
        if rank is not None and rank < 1:
            raise ValueError(f"rank must be at least 1, got {rank}.")
        if contrast and self.config["vision"] is not None:
            raise ValueError(f"contrast needs color statistics (vision=None), got vision={self.config['vision']!r}.")
        self.kernel, self.contrast, self.whiten = resolve(KERNELS, kernel, "kernel"), contrast, whiten
        self.config |= {"kernel": kernel, "contrast": contrast, "whiten": whiten, "rank": rank}
        self.register_buffer("feature_mean", torch.zeros(self.n_features))
        self.register_buffer("feature_scale", torch.ones(self.n_features))
        if whiten:
            self.register_buffer("rotation", torch.eye(self.n_features))
        self.register_buffer("width", torch.ones(()))
        self.register_buffer("spots", torch.zeros(0, self.n_features))
        n_patterns = n_genes if rank is None else min(rank, n_genes)
        if n_patterns < n_genes:
            self.register_buffer("patterns", torch.zeros(n_patterns, n_genes))
        self.register_buffer("weight", torch.zeros(0, n_patterns))
        self.register_buffer("bias", torch.zeros(n_genes))
        self.register_load_state_dict_pre_hook(resize_buffers("spots", "weight"))  # type: ignore[no-untyped-call]

    def own_features(self, data: Data, encoded: Tensor | None = None) -> Tensor:
        """Compute the features [N, F] of each spot's own patch, with ``contrast`` if set."""
        x = super().own_features(data, encoded)
        return contrasts(x) if self.contrast else x

    def predict(self, h: Tensor) -> Tensor:
        standard = (h - self.feature_mean) / self.feature_scale
        if self.whiten:
            standard = standard @ self.rotation
        # In blocks, because the kernel of all spots may not fit into memory.
        parts = torch.split(standard, BLOCK_SPOTS)
        found = torch.cat([self.kernel(part, self.spots, self.width) @ self.weight for part in parts])
        return (found @ self.patterns if "patterns" in self._buffers else found) + self.bias

    def solver(self, x: Floats) -> KernelSolver:
        return KernelSolver(x, self.config["kernel"], self.whiten)

    def keep(self, solver: KernelSolver, weight: Floats, bias: Floats) -> None:
        """Store the training spots and their coefficients in the buffers."""
        fitted = {"feature_mean": solver.mean, "feature_scale": solver.scale, "width": solver.width}
        if solver.rotation is not None:
            fitted["rotation"] = solver.rotation
        if "patterns" in self._buffers:
            weight, fitted["patterns"] = _low_rank(weight, len(self.patterns))
        for name, values in {**fitted, "spots": solver.spots, "weight": weight, "bias": bias}.items():
            setattr(self, name, torch.as_tensor(values).to(self.bias))


def _whitening(x: Floats, power: float) -> Floats:
    """The matrix [F, F] that maps standardized features [N, F] to whitened principal components."""
    variance, directions = np.linalg.eigh(x.T @ x / len(x))
    return np.asarray(directions / (np.maximum(variance, 0) + SMALLEST_VARIANCE) ** (power / 2))


def _low_rank(weight: Floats, rank: int) -> tuple[Floats, Floats]:
    """Factor a matrix [N, G] into [N, rank] and [rank, G] by truncated SVD."""
    u, s, v = np.linalg.svd(weight, full_matrices=False)
    missing = max(rank - len(s), 0)  # fewer spots than the rank
    return np.pad((u * s)[:, :rank], ((0, 0), (0, missing))), np.pad(v[:rank], ((0, missing), (0, 0)))
