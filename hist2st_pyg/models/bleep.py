"""BLEEP: contrastive embedding of patches and expression, and retrieval of the nearest training spots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Data

from hist2st_pyg import losses
from hist2st_pyg.data.masks import training_spots
from hist2st_pyg.data.parts import SectionParts, section_parts
from hist2st_pyg.models.base import ExpressionModel
from hist2st_pyg.models.reference import measured_target, reference_expression, resize_buffers, spread_spots
from hist2st_pyg.nn.vision import EncoderFactory, rebuild_arguments, vision_resolver
from hist2st_pyg.utils.bounds import check_least
from hist2st_pyg.utils.resolver import check_choice

BLOCK_SPOTS = 1024
"""Number of query spots per block of the retrieval."""


class ProjectionHead(nn.Module):
    """The projection into the common space: linear map, residual layer, layer norm, [N, in] -> [N, out]."""

    def __init__(self, in_channels: int, out_channels: int, dropout: float) -> None:
        super().__init__()
        self.projection = nn.Linear(in_channels, out_channels)
        self.residual = nn.Sequential(nn.GELU(), nn.Linear(out_channels, out_channels), nn.Dropout(dropout))
        self.norm = nn.LayerNorm(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        projected = self.projection(x)
        return self.norm(projected + self.residual(projected))  # type: ignore[no-any-return]


class Bleep(ExpressionModel):
    r"""Retrieval of training spots by a contrastive embedding (Xie et al., NeurIPS 2023).

    With the embeddings :math:`V` of a step's patches and :math:`U` of their spots' expression, [N, C] each, the loss is
    the mean of two cross entropies between the logits :math:`U V^\top / t` and the target
    :math:`\mathrm{softmax}((U U^\top + V V^\top) / 2t)`, over rows and over columns. A prediction is the mean
    expression of the ``k`` training spots whose embeddings have the largest cosine similarity to the patch's.

    As published: both projections, loss, retrieval and their values. Changed: the vision stage is any encoder instead
    of ResNet-50; expression is this package's target instead of a batch-corrected matrix; the model keeps at most
    ``n_reference`` training spots, saves their expression [M, G] and embeds them at prediction.

    Args:
        n_genes: Number of genes, G.
        patch_size: Side of a patch in pixels, P.
        n_scales: Number of fields of view in a patch's channels, S.
        vision: A key of ``nn.ENCODERS``, or a class or factory ``(in_channels, patch_size) -> module``.
        vision_kwargs: Further arguments of the encoder; the default encoder has ImageNet weights if their download
            succeeds.
        channels: Width C of the common space.
        dropout: Dropout of the projections.
        temperature: The t of the loss.
        k: Number of training spots that a prediction averages.
        weighting: ``"mean"`` weights them equally; ``"distance"`` by exp(-d²) of the embeddings, the publication's
            alternative, which is differentiable, so that a prediction can be explained.
        n_reference: Largest number of training spots to keep, evenly spaced over all.

    Shapes:
        ``forward(data)`` gives ``expression`` [N, G] and ``embedding`` [N, C]; in training the latter alone.

    Raises:
        ValueError: If a number is too small or ``weighting`` unknown; in ``forward``, if no training spots are stored.
    """

    key = "bleep"
    num_hops = 0
    remembers = True
    reference: Tensor

    def __init__(
        self,
        n_genes: int,
        *,
        patch_size: int = 112,
        n_scales: int = 1,
        vision: str | EncoderFactory = "densenet121",
        vision_kwargs: dict[str, Any] | None = None,
        channels: int = 256,
        dropout: float = 0.1,
        temperature: float = 1.0,
        k: int = 50,
        weighting: str = "mean",
        n_reference: int = 4096,
    ) -> None:
        config = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        check_least(config, {"channels": 1, "k": 1, "n_reference": 1})
        if not 0 <= dropout < 1 or temperature <= 0:
            raise ValueError(
                f"dropout must be at least 0 and below 1, temperature above 0, got dropout={dropout}, "
                f"temperature={temperature}."
            )
        check_choice(("distance", "mean"), weighting, "weighting")
        super().__init__(n_genes, n_scales)
        self.vision = vision_resolver(vision, patch_size, n_scales, **(vision_kwargs or {}))
        self.config = {**config, "vision_kwargs": rebuild_arguments(self.vision, vision_kwargs)}
        self.image_projection = ProjectionHead(int(self.vision.out_channels), channels, dropout)  # type: ignore[arg-type]
        self.spot_projection = ProjectionHead(n_genes, channels, dropout)
        self.temperature, self.k, self.weighting, self.n_reference = temperature, k, weighting, n_reference
        self.register_buffer("reference", torch.zeros(0, n_genes))
        self.register_load_state_dict_pre_hook(resize_buffers("reference"))  # type: ignore[no-untyped-call]

    def remember(self, train: Sequence[Data | SectionParts]) -> None:
        """Store the expression of the training spots."""
        sections = section_parts(train)
        self.reference = reference_expression(sections, spread_spots(sections, self.n_reference)).to(self.reference)

    def forward(self, data: Data) -> dict[str, Tensor]:
        """Predict from a ``Data`` or a ``Batch``, each spot independently."""
        image = self.image_projection(self.encode(self.vision, data))
        if self.training:
            return {"embedding": image}
        if not len(self.reference):
            raise ValueError("Bleep has no training spots to retrieve from; train it, or call model.remember(train).")
        keys = self.spot_projection(self.standardize(self.reference))
        found = [self.retrieve(each, keys) for each in torch.split(image, BLOCK_SPOTS)]
        return {"expression": torch.cat(found), "embedding": image}

    def retrieve(self, query: Tensor, keys: Tensor) -> Tensor:
        """Average the expression of the spots whose embeddings [M, C] are nearest to the queries [N, C], to [N, G]."""
        cosine = F.normalize(query, dim=1) @ F.normalize(keys, dim=1).T
        nearest = cosine.topk(min(self.k, len(keys)), dim=1).indices
        closeness = torch.zeros_like(nearest, dtype=cosine.dtype)
        if self.weighting == "distance":
            closeness = -(keys[nearest] - query[:, None]).square().sum(2)
        weight = closeness.softmax(1)
        # A weight matrix, because gathering the expression of each neighbor, [N, k, G], takes much memory.
        return weight.new_zeros(cosine.shape).scatter(1, nearest, weight) @ self.reference

    def own_losses(self, out: dict[str, Tensor], data: Data, how: losses.Options) -> dict[str, Tensor]:
        """The contrastive loss over the step's training spots; unmeasured genes are set to their means."""
        trains = training_spots(data)
        spot = self.spot_projection(self.standardize(measured_target(data, self.reference.mean(0)))[trains])
        return {"contrast": contrastive_loss(out["embedding"][trains], spot, self.temperature)}


def contrastive_loss(image: Tensor, spot: Tensor, temperature: float) -> Tensor:
    """The BLEEP loss of the image and the expression embeddings of the same spots, [N, C] each."""
    logits = spot @ image.T / temperature
    target = ((image @ image.T + spot @ spot.T) / (2 * temperature)).softmax(1)
    by_spot = -(target * logits.log_softmax(1)).sum(1)
    by_image = -(target.T * logits.T.log_softmax(1)).sum(1)
    return (by_spot + by_image).mean() / 2
