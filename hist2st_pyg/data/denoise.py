"""Targets without most of their counting noise."""

from __future__ import annotations

import numpy as np
import torch
from scipy.integrate import cumulative_trapezoid
from torch import Tensor


def denoise(values: Tensor) -> tuple[Tensor, int]:
    """Keep of a matrix what stands above the noise: optimal shrinkage of its singular values.

    Counts of single genes are mostly noise; what genes share is not. The noise level is read off the median singular
    value, so there is nothing to choose (Gavish & Donoho, IEEE Trans. Inf. Theory 2017, Frobenius loss).

    Args:
        values: Standardized targets [N, G], one row a spot.

    Returns:
        The denoised matrix [N, G], and how many components it is made of.
    """
    mean = values.mean(0)
    u, s, v = torch.linalg.svd((values - mean).double(), full_matrices=False)
    short, long = sorted(values.shape)
    beta = short / long
    noise = s.quantile(0.5) / np.sqrt(_marchenko_pastur_median(beta))
    if noise <= 1e-9 * s.max():  # more than half of the components are empty: there is no noise to remove
        return values, int((s > 1e-9 * s.max()).sum())
    y = s / noise
    root = ((y**2 - beta - 1) ** 2 - 4 * beta).clamp(min=0).sqrt()
    shrunk = torch.where(y > 1 + np.sqrt(beta), root / y, 0.0) * noise
    return ((u * shrunk) @ v).to(values.dtype) + mean, int((shrunk > 0).sum())


def _marchenko_pastur_median(beta: float) -> float:
    """Median squared singular value of noise of variance 1 / longer side."""
    angle = np.linspace(np.pi, 0, 20_001)  # the density is smooth in it, also where beta is 1
    x = np.maximum(1 + beta + 2 * np.sqrt(beta) * np.cos(angle), 1e-12)
    mass = cumulative_trapezoid(np.sin(angle) ** 2 / x, -angle, initial=0)
    return float(np.interp(mass[-1] / 2, mass, x))
