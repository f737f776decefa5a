"""The base class of models with a likelihood of the counts and self-distillation from augmented views."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from torch_geometric.data import Data

from hist2st_pyg.models.base import ExpressionModel
from hist2st_pyg.nn.checkpointing import counted_once
from hist2st_pyg.nn.heads import Distillation
from hist2st_pyg.nn.likelihoods import LIKELIHOODS
from hist2st_pyg.utils.resolver import resolve


class CountsModel(ExpressionModel, ABC):
    """A model whose embedding also gives the parameters of a likelihood (Zeng et al. 2022).

    A subclass builds its stages, calls :meth:`add_heads`, and implements :meth:`predict_expression`.
    """

    def add_heads(
        self, channels: int, likelihood: str | None, published_likelihood: bool, detach_likelihood: bool, n_views: int
    ) -> None:
        """Build the likelihood's heads and the weights that average the augmented views.

        Args:
            channels: Width of the embedding, C.
            likelihood: A key of ``nn.LIKELIHOODS``, or None.
            published_likelihood: Use its published form.
            detach_likelihood: Train it without a gradient to other stages.
            n_views: Number of augmented views to distill from; 0 builds no averaging weights.
        """
        n_genes = len(self.target_mean)
        self.likelihood = resolve(LIKELIHOODS, likelihood, "likelihood")(channels, n_genes) if likelihood else None
        if self.likelihood is not None:
            self.likelihood.published = published_likelihood
        self.detach_likelihood = detach_likelihood
        self.distillation = Distillation(channels) if n_views else None

    @abstractmethod
    def predict_expression(self, data: Data, features: Sequence[Tensor] | None = None) -> dict[str, Tensor]:
        """Predict ``expression`` [N, G] and ``embedding`` [N, C], without the likelihood.

        Args:
            data: The sections.
            features: Their :meth:`features`, if already computed.
        """

    def forward(self, data: Data, features: Sequence[Tensor] | None = None) -> dict[str, Tensor]:
        """Predict from a ``Data`` or a ``Batch``, each section independently."""
        out = self.predict_expression(data, features)
        if self.likelihood is not None:
            h = out["embedding"]
            out |= self.likelihood(h.detach() if self.detach_likelihood else h)
        return out

    def distil(self, views: Iterable[Data], n_kept: int = 0) -> Tensor:
        """Combine the predictions for augmented views of the same spots into one, [N, G] (self-distillation).

        Args:
            views: The same spots with augmented patches.
            n_kept: Number of views whose activations are kept for the gradient. Those of the others are recomputed, so
                that memory does not grow with the number of views; a step takes up to 1.4 times as long.

        Raises:
            ValueError: If the model was built without ``n_views``.
        """
        if self.distillation is None:
            raise ValueError("This model was built with n_views=0; build it with the number of views to distill from.")

        def predicted(view: Data) -> tuple[Tensor, Tensor]:
            out = self.predict_expression(view)
            return out["embedding"], out["expression"]

        contexts = partial(counted_once, self)
        parts = [
            predicted(view) if index < n_kept else checkpoint(predicted, view, use_reentrant=False, context_fn=contexts)
            for index, view in enumerate(views)
        ]
        h, expression = (torch.stack(part) for part in zip(*parts, strict=True))
        return self.distillation(h, expression)  # type: ignore[no-any-return]
