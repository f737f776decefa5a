"""Ridge regression on features of each patch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hist2st_pyg.models.regression import FeatureRegression, Solver
from hist2st_pyg.models.section_moments import SMALLEST_DEVIATION
from hist2st_pyg.utils.rows import Floats


class LinearSolver(Solver):
    """Ridge regression on the standardized features or their principal components."""

    def __init__(self, x: Floats, components: int | None) -> None:
        self.mean, deviation = x.mean(0), x.std(0)
        scale = np.where(deviation > SMALLEST_DEVIATION, deviation, 1.0)
        self.projection = np.diag(1 / scale) @ _principal((x - self.mean) / scale, components)
        self.x, self.size = self.basis(x), self.projection.shape[1]

    def basis(self, x: Floats) -> Floats:
        return np.asarray((x - self.mean) @ self.projection)

    def solve(self, rows: NDArray[np.bool_], y: Floats, alpha: float) -> tuple[Floats, Floats]:
        """Solve with scikit-learn's ridge regression; the intercept is not penalized."""
        from sklearn.linear_model import Ridge as LinearRidge

        model = LinearRidge(alpha).fit(self.x[rows], y)
        return np.atleast_2d(model.coef_).T, model.intercept_


class Ridge(FeatureRegression[LinearSolver]):
    """Ridge regression from features of each spot's patch to expression (Hoerl & Kennard 1970).

    Args:
        n_genes: Number of genes, G.
        components: Number of principal components of the standardized features; None keeps all.
        arguments: Those of :class:`~hist2st_pyg.models.regression.FeatureRegression`.
    """

    key = "ridge"

    alphas = tuple(10.0**power for power in range(-1, 7))

    def __init__(self, n_genes: int, *, components: int | None = None, **arguments: Any) -> None:
        super().__init__(n_genes, **arguments)
        self.config["components"] = self.components = components
        # Standardizing, projecting and regressing are affine maps, so one linear layer holds the fitted model.
        self.expression = nn.Linear(self.n_features, n_genes)

    def predict(self, h: Tensor) -> Tensor:
        return self.expression(h)  # type: ignore[no-any-return]

    def solver(self, x: Floats) -> LinearSolver:
        return LinearSolver(x, self.components)

    def keep(self, solver: LinearSolver, weight: Floats, bias: Floats) -> None:
        """Store one linear map that includes standardization and projection."""
        weight = solver.projection @ weight
        self.expression.weight.copy_(torch.from_numpy(weight.T))
        self.expression.bias.copy_(torch.from_numpy(bias - solver.mean @ weight))


class RidgeNeighbors(Ridge):
    """:class:`Ridge` on each patch's statistics and their mean over its graph neighbors: the smallest graph model."""

    key = "ridge_neighbors"

    def __init__(self, n_genes: int, *, neighbors: bool = True, **arguments: Any) -> None:
        super().__init__(n_genes, neighbors=neighbors, **arguments)


class EmbeddingRidge(Ridge):
    """:class:`Ridge` on the principal components of an encoder's embeddings (HEST's protocol, Jaume et al. 2024)."""

    key = "embedding_ridge"

    def __init__(
        self, n_genes: int, *, vision: str = "densenet121", components: int | None = 256, **arguments: Any
    ) -> None:
        super().__init__(n_genes, vision=vision, components=components, **arguments)


def _principal(x: Floats, components: int | None) -> Floats:
    """The projection [F, K] onto the principal components of standardized features."""
    if components is None or components >= min(x.shape):
        return np.eye(x.shape[1])
    from sklearn.decomposition import PCA

    return np.asarray(PCA(components, svd_solver="full").fit(x).components_.T)
