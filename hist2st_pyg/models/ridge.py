"""Ridge regression on features of each patch: the baselines that a network has to beat."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_scatter import scatter

from hist2st_pyg.data.masks import training_spots, validation_spots
from hist2st_pyg.models.base import FittedModel, rebuild_arguments, section_ptr
from hist2st_pyg.models.validation import mean_pcc, section_pcc
from hist2st_pyg.nn.statistics import PatchStatistics
from hist2st_pyg.nn.vision import vision_resolver

ALPHAS = tuple(10.0**power for power in range(-1, 7))
Floats = NDArray[np.float64]


class Ridge(FittedModel):
    """Ridge regression from features of each spot's patch to expression, one penalty for all genes.

    Args:
        n_genes: Number of genes, G.
        patch_size: Side of a patch in pixels, P.
        n_scales: Number of fields of view in a patch's channels, S; their features stand side by side.
        vision: A key of ``nn.ENCODERS``, its weights left as they are; None takes the 27 colour and texture statistics.
        vision_kwargs: Further arguments of the encoder.
        neighbours: Append the mean of the graph neighbours' features.
        per_section: Standardise each feature within its own section (uses all of the section's patches, no counts).
        components: Principal components kept of the standardised features; None keeps all.
        alpha: The penalty; None chooses one of 0.1 to 10^6 by the validation PCC or, where nothing validates, by
            generalised cross-validation over the training spots.

    Shapes:
        ``forward(data)`` gives ``expression`` [N, G] and ``embedding`` [N, F], the features.
    """

    def __init__(
        self,
        n_genes: int,
        *,
        patch_size: int = 112,
        n_scales: int = 1,
        vision: str | None = None,
        vision_kwargs: dict[str, Any] | None = None,
        neighbours: bool = False,
        per_section: bool = False,
        components: int | None = None,
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
        self.neighbours, self.per_section, self.components, self.alpha = neighbours, per_section, components, alpha
        # Standardising, projecting and regressing are affine maps, so the fitted model is one of them.
        self.expression = nn.Linear(int(self.vision.out_channels) * (1 + neighbours), n_genes)  # type: ignore[arg-type]

    @property
    def graph_hops(self) -> int | None:
        """The neighbours, where they are used; to be standardised per section, all spots are needed."""
        return None if self.per_section else int(self.neighbours)

    @torch.no_grad()
    def embed(self, data: Data) -> Tensor:
        """The features of each spot, [N, F]."""
        x = self.encode(self.vision.eval(), data)
        if self.per_section:
            ptr = section_ptr(data)
            parts = [x[start:end] for start, end in itertools.pairwise(ptr)]
            x = torch.cat([(p - p.mean(0)) / p.std(0, unbiased=False).clamp(min=1e-6) for p in parts])
        if self.neighbours:
            source, target = data.edge_index
            x = torch.cat([x, scatter(x[source], target, dim=0, dim_size=len(x), reduce="mean")], dim=1)
        return x

    def forward(self, data: Data) -> dict[str, Tensor]:
        """Predict from a ``Data`` or a ``Batch``; each section of a batch is as if it were alone."""
        h = self.embed(data)
        return {"expression": self.expression(h), "embedding": h}

    @torch.no_grad()
    def fit(self, train: Sequence[Data], val: Sequence[Data]) -> None:
        """Fit to the training spots and choose the penalty."""
        x = np.concatenate([_array(self.embed(data)[training_spots(data)]) for data in train])
        mean, scale = x.mean(0), np.maximum(x.std(0), 1e-6)
        projection = np.diag(1 / scale) @ _principal((x - mean) / scale, self.components)
        targets = [(_array(data.y[training_spots(data)]), data.gene_mask.numpy()) for data in train]
        solve = _Solver((x - mean) @ projection, targets)
        alpha = self.alpha
        if alpha is None and val:
            seen = [((_array(self.embed(data)[validation_spots(data)]) - mean) @ projection, data) for data in val]
            fitted = [solve(alpha) for alpha in ALPHAS]
            scores = [mean_pcc([section_pcc(x @ weight + bias, data) for x, data in seen]) for weight, bias in fitted]
            alpha = ALPHAS[int(np.argmax(scores))]
        weight, bias, alpha = solve.generalised() if alpha is None else (*solve(alpha), alpha)
        self.config["alpha"] = self.alpha = alpha
        weight = projection @ weight
        self.expression.weight.copy_(torch.from_numpy(weight.T))
        self.expression.bias.copy_(torch.from_numpy(bias - mean @ weight))


class RidgeNeighbours(Ridge):
    """:class:`Ridge` on each patch's statistics and the mean of its graph neighbours': the smallest graph model."""

    def __init__(self, n_genes: int, *, neighbours: bool = True, **arguments: Any) -> None:
        super().__init__(n_genes, neighbours=neighbours, **arguments)


class EmbeddingRidge(Ridge):
    """:class:`Ridge` on the principal components of an encoder's embeddings (HEST's protocol, Jaume et al. 2024)."""

    def __init__(
        self, n_genes: int, *, vision: str = "densenet121", components: int | None = 256, **arguments: Any
    ) -> None:
        super().__init__(n_genes, vision=vision, components=components, **arguments)


class _Solver:
    """Ridge regressions of the same rows; genes that some sections did not measure are fitted on the others' rows."""

    def __init__(self, x: Floats, targets: Sequence[tuple[Floats, NDArray[np.bool_]]]) -> None:
        self.x, self.y = x, np.concatenate([y for y, _ in targets])
        section = np.repeat(np.arange(len(targets)), [len(y) for y, _ in targets])
        measured = np.stack([mask for _, mask in targets])
        patterns, group = np.unique(measured, axis=1, return_inverse=True)
        # Rows and genes that belong together; a gene that no section measured keeps weight and bias 0.
        self.groups = [
            (patterns[section, i], np.flatnonzero(group.ravel() == i))
            for i in range(patterns.shape[1])
            if patterns[:, i].any()
        ]

    def __call__(self, alpha: float) -> tuple[Floats, Floats]:
        """Weight [F, G] and bias [G]."""
        from sklearn.linear_model import Ridge as LinearRidge

        return self._fit(LinearRidge(alpha))

    def generalised(self) -> tuple[Floats, Floats, float]:
        """The same with the penalty of the smallest leave-one-out error."""
        from sklearn.linear_model import RidgeCV

        model = RidgeCV(ALPHAS)
        weight, bias = self._fit(model)
        return weight, bias, float(model.alpha_)

    def _fit(self, model: Any) -> tuple[Floats, Floats]:
        weight, bias = np.zeros((self.x.shape[1], self.y.shape[1])), np.zeros(self.y.shape[1])
        for rows, genes in self.groups:
            model.fit(self.x[rows], self.y[np.ix_(rows, genes)])
            weight[:, genes], bias[genes] = np.atleast_2d(model.coef_).T, model.intercept_
        return weight, bias


def _principal(x: Floats, components: int | None) -> Floats:
    """The projection [F, K] onto the principal components of standardised features."""
    if components is None or components >= min(x.shape):
        return np.eye(x.shape[1])
    from sklearn.decomposition import PCA

    return np.asarray(PCA(components, svd_solver="full").fit(x).components_.T)


def _array(values: Tensor) -> Floats:
    return np.asarray(values.double().cpu().numpy())
