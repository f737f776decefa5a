"""Regressions from features of each patch, solved in closed form, as baselines for networks."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch_geometric.data import Data

from hist2st_pyg.data.masks import training_spots, validation_spots
from hist2st_pyg.losses import training_target
from hist2st_pyg.models.base import ClosedFormModel
from hist2st_pyg.models.section_moments import standardized
from hist2st_pyg.models.selection import folds, mean_pcc, section_pcc
from hist2st_pyg.nn.statistics import PatchStatistics
from hist2st_pyg.nn.vision import rebuild_arguments, vision_resolver
from hist2st_pyg.utils.rows import Floats
from hist2st_pyg.utils.scatter import scatter

Groups = list[tuple[NDArray[np.bool_], NDArray[np.intp]]]
"""Pairs of rows and the genes that were measured in exactly these rows."""


class Solver(ABC):
    """Penalized least squares on a basis of M functions of the features."""

    size: int

    @abstractmethod
    def basis(self, x: Floats) -> Floats:
        """Compute the basis [n, M] of features [n, F]."""

    @abstractmethod
    def solve(self, rows: NDArray[np.bool_], y: Floats, alpha: float) -> tuple[Floats, Floats]:
        """Solve for weight [M, G] and bias [G], given targets y [n, G] of the training spots in ``rows`` [N]."""

    def solve_all(self, y: Floats, groups: Groups, alpha: float) -> tuple[Floats, Floats]:
        """Solve for genes measured in different sections; an unmeasured gene gets weight and bias 0."""
        weight, bias = np.zeros((self.size, y.shape[1])), np.zeros(y.shape[1])
        for rows, genes in groups:
            weight[:, genes], bias[genes] = self.solve(rows, y[np.ix_(rows, genes)], alpha)
        return weight, bias


SolverType = TypeVar("SolverType", bound=Solver)


class FeatureRegression(ClosedFormModel, Generic[SolverType]):
    """A regression from features of each spot's patch to expression, with one penalty for all genes.

    It is fitted to the same training targets as networks, including denoised ones. Scaling the targets of each gene
    would not change predictions, because each gene is solved independently.

    Args:
        n_genes: Number of genes, G.
        patch_size: Side of a patch in pixels, P.
        n_scales: Number of fields of view in a patch's channels, S; their features are concatenated.
        vision: A key of ``nn.ENCODERS``, with frozen weights; None uses the 27 color and texture statistics.
        vision_kwargs: Further arguments of the encoder.
        neighbors: Append the mean of the graph neighbors' features.
        per_section: Standardize each feature within its own section (uses all of the section's patches, no counts).
        alpha: The penalty; None chooses one of ``alphas`` by the PCC with the measured (not denoised) targets, on the
            validation spots or, without them, by cross-validation on the training spots, see
            :func:`~hist2st_pyg.models.selection.folds`.

    Shapes:
        ``forward(data)`` gives ``expression`` [N, G] and ``embedding`` [N, F], the features.
    """

    alphas: ClassVar[tuple[float, ...]]

    def __init__(
        self,
        n_genes: int,
        *,
        patch_size: int = 112,
        n_scales: int = 1,
        vision: str | None = None,
        vision_kwargs: dict[str, Any] | None = None,
        neighbors: bool = False,
        per_section: bool = False,
        alpha: float | None = None,
    ) -> None:
        config = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        super().__init__(n_genes, n_scales)
        self.vision = vision_resolver(
            (lambda in_channels, patch_size: PatchStatistics()) if vision is None else vision,
            patch_size,
            n_scales,
            **(vision_kwargs or {}),
        )
        self.config = {**config, "vision_kwargs": rebuild_arguments(self.vision, vision_kwargs)}
        self.neighbors, self.per_section, self.alpha = neighbors, per_section, alpha
        self.n_features = int(self.vision.out_channels) * (1 + neighbors)  # type: ignore[arg-type]

    @property
    def num_hops(self) -> int | None:
        """1 if ``neighbors`` is set, otherwise 0."""
        return int(self.neighbors)

    @property
    def section_features(self) -> Callable[[Data], Tensor] | None:
        """The features if ``per_section`` is set, otherwise None."""
        return self.own_features if self.per_section else None

    def own_features(self, data: Data, encoded: Tensor | None = None) -> Tensor:
        """Compute the features [N, F] of each spot's own patch.

        Args:
            data: The patches.
            encoded: The vision stage's output for them, if already computed.
        """
        if encoded is None and self.config["vision"] is None:
            encoded = data.get("statistics")
        return self.encode(self.vision.eval(), data) if encoded is None else encoded

    def embed(self, data: Data, encoded: Tensor | None = None) -> Tensor:
        """Compute the regressors [N, F] of each spot; see :meth:`own_features`."""
        x = self.own_features(data, encoded)
        if self.per_section:
            x = standardized(x, data)
        if self.neighbors:
            source, target = data.edge_index
            x = torch.cat([x, scatter(x[source], target, len(x), "mean")], dim=1)
        return x

    def forward(self, data: Data) -> dict[str, Tensor]:
        """Predict from a ``Data`` or a ``Batch``, each section independently."""
        with torch.no_grad():
            h = self.embed(data)
        return {"expression": self.predict(h), "embedding": h}

    @abstractmethod
    def predict(self, h: Tensor) -> Tensor:
        """Predict expression [N, G] from features [N, F]."""

    @abstractmethod
    def solver(self, x: Floats) -> SolverType:
        """Return the solver for the features of the training spots [N, F]."""

    @abstractmethod
    def keep(self, solver: SolverType, weight: Floats, bias: Floats) -> None:
        """Store a solution in the model's buffers."""

    @torch.no_grad()
    def fit(self, train: Sequence[Data], val: Sequence[Data]) -> None:
        """Fit to the training spots, and choose the penalty if ``alpha`` is None."""
        features = {id(data): self.embed(data) for data in {id(d): d for d in (*train, *val)}.values()}
        train, val = ([_with_features(data, features[id(data)]) for data in part] for part in (train, val))
        if self.alpha is None:
            scores = [self._scores(fitted, judged) for fitted, judged in ([(train, val)] if val else folds(train))]
            self.config["alpha"] = self.alpha = self.alphas[int(np.argmax(np.mean(scores, axis=0)))]
        solver = self._solver(train)
        self.keep(solver, *solver.solve_all(*_targets(train), self.alpha))

    def _scores(self, train: Sequence[Data], val: Sequence[Data]) -> list[float]:
        """Compute the validation PCC of each penalty."""
        solver, (y, groups) = self._solver(train), _targets(train)
        seen = [(solver.basis(_array(data.features[validation_spots(data)])), data) for data in val]
        solutions = (solver.solve_all(y, groups, alpha) for alpha in self.alphas)
        return [mean_pcc([section_pcc(x @ weight + bias, data) for x, data in seen]) for weight, bias in solutions]

    def _solver(self, train: Sequence[Data]) -> SolverType:
        return self.solver(np.concatenate([_array(data.features[training_spots(data)]) for data in train]))


def _with_features(data: Data, features: Tensor) -> Data:
    data = copy.copy(data)
    data.features = features
    return data


def _targets(train: Sequence[Data]) -> tuple[Floats, Groups]:
    """Return the training spots' targets [N, G], and the genes grouped by the rows that measured them."""
    parts = [_array(training_target(data)[training_spots(data)]) for data in train]
    section = np.repeat(np.arange(len(train)), [len(part) for part in parts])
    measured = np.stack([data.gene_mask.reshape(-1).cpu().numpy() for data in train])
    patterns, group = np.unique(measured, axis=1, return_inverse=True)
    return np.concatenate(parts), [
        (patterns[section, i], np.flatnonzero(group.ravel() == i))
        for i in range(patterns.shape[1])
        if patterns[:, i].any()
    ]


def _array(values: Tensor) -> Floats:
    return np.asarray(values.double().cpu().numpy())
