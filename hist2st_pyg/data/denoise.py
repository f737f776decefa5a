"""Targets without most of their counting noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.integrate import cumulative_trapezoid
from torch import Tensor

EMPTY_SHARE = 1e-9
"""Singular values below this share of the largest are rounding errors."""
EMPTY_SHARE_OF_PRODUCTS = 1e-7
"""The same for singular values from roots of eigenvalues, which lose half of the digits."""


def denoise(values: Tensor) -> tuple[Tensor, int]:
    """Denoise a matrix by optimal shrinkage of its singular values.

    Counts of single genes are mostly noise; variation that genes share is not. The noise level is estimated from the
    median singular value, so there is no parameter (Gavish & Donoho, IEEE Trans. Inf. Theory 2017, Frobenius loss).

    Args:
        values: Standardized targets [N, G], one row per spot.

    Returns:
        The denoised matrix [N, G], and its number of components.
    """
    mean = values.mean(0)
    u, s, v = torch.linalg.svd((values - mean).double(), full_matrices=False)
    shrunk = _shrunk(s, len(values), len(mean), EMPTY_SHARE)
    if shrunk is None:
        return values, int((s > EMPTY_SHARE * s.max()).sum())
    return ((u * shrunk) @ v).to(values.dtype) + mean, int((shrunk > 0).sum())


@dataclass(frozen=True, eq=False)
class Shrinkage:
    """The map of :func:`denoise`, applied to single rows of a matrix.

    Args:
        mean: The matrix's mean row [G].
        components: The components that are kept, float64 [G, R].
        kept: The factor of each component [R].
    """

    mean: Tensor
    components: Tensor
    kept: Tensor

    def __call__(self, rows: Tensor) -> Tensor:
        """Denoise rows [n, G]."""
        strengths = (rows - self.mean).double() @ self.components
        return ((strengths * self.kept) @ self.components.T).to(rows.dtype) + self.mean


def shrinkage(mean: Tensor, products: Tensor, n: int) -> Shrinkage:
    """Fit the shrinkage of a matrix that is not in memory, from sums over its rows.

    Args:
        mean: Its mean row [G].
        products: The sum over the rows of the products of their centered values, float64 [G, G].
        n: Number of rows, N.
    """
    squares, vectors = torch.linalg.eigh(products)
    s, v = squares.flip(0)[:n].clamp(min=0).sqrt(), vectors.flip(1)[:, :n]
    shrunk = _shrunk(s, n, len(mean), EMPTY_SHARE_OF_PRODUCTS)
    if shrunk is None:
        shrunk = torch.where(s > EMPTY_SHARE_OF_PRODUCTS * s.max(), s, 0.0)
    some = shrunk > 0
    return Shrinkage(mean, v[:, some], shrunk[some] / s[some])


def _shrunk(s: Tensor, n: int, n_genes: int, empty: float) -> Tensor | None:
    """The singular values without noise; None if more than half are 0, so that there is no noise to remove."""
    beta = min(n, n_genes) / max(n, n_genes)
    noise = s.quantile(0.5) / np.sqrt(_marchenko_pastur_median(beta))
    if noise <= empty * s.max():
        return None
    y = s / noise
    root = ((y**2 - beta - 1) ** 2 - 4 * beta).clamp(min=0).sqrt()
    shrunk: Tensor = torch.where(y > 1 + np.sqrt(beta), root / y, 0.0) * noise
    return shrunk


def _marchenko_pastur_median(beta: float) -> float:
    """Median squared singular value of noise of variance 1 / longer side."""
    angle = np.linspace(np.pi, 0, 20_001)  # the density is smooth in it, also where beta is 1
    x = np.maximum(1 + beta + 2 * np.sqrt(beta) * np.cos(angle), 1e-12)
    mass = cumulative_trapezoid(np.sin(angle) ** 2 / x, -angle, initial=0)
    return float(np.interp(mass[-1] / 2, mass, x))
