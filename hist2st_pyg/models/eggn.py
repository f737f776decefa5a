"""EGGN: a graph network over spots and similar training spots."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.utils import softmax

from hist2st_pyg.data.parts import SectionParts, section_parts
from hist2st_pyg.models.base import ExpressionModel, section_ptr
from hist2st_pyg.models.reference import reference_expression, resize_buffers, spread_spots
from hist2st_pyg.models.section_moments import features_at, scale_of
from hist2st_pyg.nn.exemplars import LEAK, ExemplarLayer
from hist2st_pyg.nn.statistics import PatchStatistics
from hist2st_pyg.nn.vision import EncoderFactory, rebuild_arguments, vision_resolver
from hist2st_pyg.utils.bounds import check_least
from hist2st_pyg.utils.scatter import scatter

EXEMPLAR_NEIGHBORS = 3
"""Number of exemplars that each exemplar is connected to."""
LEAST_STEPS_APART = 3
"""Least distance, in array steps, of a spot from its exemplars when training on a single section."""


class Eggn(ExpressionModel):
    """Exemplar-guided graph network (Yang et al., *Pattern Recognition* 2024).

    The exemplars of a spot are its ``k`` nearest training spots in the feature space of a frozen encoder. Messages pass
    between neighboring spots, between similar exemplars, and between a spot and its exemplars; attention over the
    exemplars of each spot and a linear map give its expression.

    As published: retrieval (L1), graph layers, bridge, read-out and their values. Changed: the frozen encoder can be
    chosen, by default color and texture statistics, instead of ResNet-18; neighbors are those of the section's graph;
    the bridge reads the exemplars' expression, as in the paper, where the public program reads hidden channels; the
    loss is the training's squared error, without the correlation; the model stores features and expression of at most
    ``n_reference`` training spots. In training a spot has no exemplars in its own section, as published; with a single
    training section, it has none among the spots around it.

    Args:
        n_genes: Number of genes, G.
        patch_size: Side of a patch in pixels, P.
        n_scales: Number of fields of view in a patch's channels, S.
        vision: A key of ``nn.ENCODERS``, or a class or factory ``(in_channels, patch_size) -> module``, which is not
            trained; None means statistics of color and texture.
        vision_kwargs: Further arguments of the encoder.
        channels: Width C, a multiple of 4.
        layers: Number of graph layers.
        k: Exemplars of a spot.
        n_reference: Largest number of training spots to keep, evenly spaced over all.

    Shapes:
        ``forward(data)`` gives ``expression`` [N, G] and ``embedding`` [N, C].

    Raises:
        ValueError: If a number is out of range; in ``forward``, if no training spots are stored.
    """

    key = "eggn"
    attends = "full"  # spots that share an exemplar read each other, at any distance
    remembers = True
    feature_mean: Tensor
    feature_std: Tensor
    reference: Tensor
    reference_features: Tensor
    reference_place: Tensor

    def __init__(
        self,
        n_genes: int,
        *,
        patch_size: int = 112,
        n_scales: int = 1,
        vision: str | EncoderFactory | None = None,
        vision_kwargs: dict[str, Any] | None = None,
        channels: int = 512,
        layers: int = 4,
        k: int = 6,
        n_reference: int = 4096,
    ) -> None:
        config = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        check_least(config, {"layers": 1, "k": 1, "n_reference": 1})
        if channels < 4 or channels % 4:
            raise ValueError(f"channels is a multiple of 4, got {channels}.")
        super().__init__(n_genes, n_scales)
        self.vision = vision_resolver(
            (lambda in_channels, patch_size: PatchStatistics()) if vision is None else vision,
            patch_size,
            n_scales,
            **(vision_kwargs or {}),
        ).requires_grad_(False)
        self.config = {**config, "vision_kwargs": rebuild_arguments(self.vision, vision_kwargs)}
        self.k, self.n_reference = k, n_reference
        n_features = int(self.vision.out_channels)  # type: ignore[arg-type]
        self.register_buffer("feature_mean", torch.zeros(n_features))
        self.register_buffer("feature_std", torch.ones(n_features))
        self.register_buffer("reference", torch.zeros(0, n_genes))
        self.register_buffer("reference_features", torch.zeros(0, n_features))
        self.register_buffer("reference_place", torch.zeros(0, 3, dtype=torch.long))  # section, column, row
        room = resize_buffers("reference", "reference_features", "reference_place")
        self.register_load_state_dict_pre_hook(room)  # type: ignore[no-untyped-call]
        self.of_spot = nn.Linear(n_features, channels, bias=False)
        self.of_exemplar = nn.Linear(n_features + n_genes, channels, bias=False)
        self.of_expression = nn.Linear(n_genes, channels, bias=False)
        self.mix = nn.Linear(channels, channels, bias=False)
        self.layers = nn.ModuleList(ExemplarLayer(channels) for _ in range(layers))
        self.head, self.share = nn.Linear(channels, channels), nn.Parameter(torch.full((1,), 0.1))
        self.expression = nn.Linear(channels, n_genes)
        self.vision.eval()

    @property
    def num_hops(self) -> int | None:
        """The number of graph layers among the spots."""
        return len(self.layers)

    def train(self, mode: bool = True) -> Self:
        """Set the mode; the frozen encoder stays in eval mode."""
        super().train(mode)
        self.vision.eval()
        return self

    @torch.no_grad()
    def remember(self, train: Sequence[Data | SectionParts]) -> None:
        """Store the training spots' features, expression, sections and array positions."""
        sections = section_parts(train)
        rows, encode = spread_spots(sections, self.n_reference), partial(self.encode, self.vision)
        features, places = [], []
        for i, (section, kept) in enumerate(zip(sections, rows, strict=True)):
            if len(kept):
                features.append(features_at(self, encode, kept.cpu().numpy(), section.patches_at))
                places.append(torch.cat([torch.full((len(kept), 1), i), section.data.grid[kept].cpu()], dim=1))
        found = torch.cat(features).to(self.feature_mean)
        self.feature_mean.copy_(found.mean(0))
        self.feature_std.copy_(scale_of(found))
        self.reference_features = (found - self.feature_mean) / self.feature_std
        self.reference = reference_expression(sections, rows).to(self.reference)
        self.reference_place = torch.cat(places).to(self.reference_place.device)

    def forward(self, data: Data) -> dict[str, Tensor]:
        """Predict from a ``Data`` or a ``Batch``, each section independently."""
        if not len(self.reference):
            raise ValueError("Eggn has no training spots for exemplars; train it, or call model.remember(train).")
        x = (self.encode(self.vision, data) - self.feature_mean) / self.feature_std
        which, refer, close = self.exemplars(x.detach(), data)
        expression = self.standardize(self.reference[which])
        exemplar = torch.cat([self.reference_features[which], expression], dim=1)
        out = self.relate(x, exemplar, expression, data.edge_index, refer, close)
        return {"expression": self.unstandardize(self.expression(out)), "embedding": out}

    def relate(
        self, x: Tensor, exemplar: Tensor, expression: Tensor, near: Tensor, refer: Tensor, close: Tensor
    ) -> Tensor:
        """Embed spots [N, C] from features [N, F] and the exemplars' features [E, F + G] and expression [E, G]."""
        spot, exemplar = (
            F.leaky_relu(self.mix(F.leaky_relu(h, LEAK)), LEAK) for h in (self.of_spot(x), self.of_exemplar(exemplar))
        )
        expression = self.of_expression(expression)
        for layer in self.layers:
            spot, exemplar = layer(spot, exemplar, expression, near, refer, close)
            expression = F.leaky_relu(expression, LEAK)
        spot, (source, target) = self.head(spot), refer
        # Attention over the exemplars of a spot, for each channel.
        weight = softmax(0.1 * (exemplar[source] - spot[target]), target, num_nodes=len(spot))
        return spot + self.share * scatter(weight * exemplar[source], target, len(spot), "sum")  # type: ignore[no-any-return]

    def exemplars(self, x: Tensor, data: Data) -> tuple[Tensor, Tensor, Tensor]:
        """Return the exemplars [E], the edges (exemplar, spot), and the edges among the exemplars of a section."""
        n_kept, ptr = len(self.reference), section_ptr(data)
        distance = torch.cdist(x, self.reference_features, p=1)
        if self.training:
            distance = distance.masked_fill(self._own(data, ptr), torch.inf)
        nearest = distance.topk(min(self.k, n_kept), dim=1, largest=False)
        section = torch.repeat_interleave(torch.tensor(ptr).diff()).to(x.device)
        found = nearest.values.isfinite()
        target, pairs = found.nonzero()[:, 0], (section[:, None] * n_kept + nearest.indices)[found]
        nodes, source = torch.unique(pairs, return_inverse=True)
        which = nodes % n_kept
        near = torch.cat([self.reference_features[which], self.standardize(self.reference[which])], dim=1)
        close, start = [source.new_zeros(2, 0)], 0
        for n in torch.bincount(nodes // n_kept).tolist():
            if n > 1:
                apart = torch.cdist(near[start : start + n], near[start : start + n]).fill_diagonal_(torch.inf)
                others = apart.topk(min(EXEMPLAR_NEIGHBORS, n - 1), dim=1, largest=False).indices
                own = torch.arange(n, device=x.device)[:, None].expand_as(others)
                close.append(torch.stack([others.flatten(), own.flatten()]) + start)
            start += n
        return which, torch.stack([source, target]), torch.cat(close, dim=1)

    def _own(self, data: Data, ptr: Sequence[int]) -> Tensor:
        """Mask [N, M] of the stored spots that must not be exemplars of each spot in training."""
        names = [record.name for record in self.training_sections.get("train", [])]
        own = torch.zeros(ptr[-1], len(self.reference), dtype=torch.bool, device=self.reference.device)
        sections = [data.section] if isinstance(data.section, str) else data.section
        for name, (start, end) in zip(sections, itertools.pairwise(ptr), strict=True):
            if name in names:
                same = self.reference_place[:, 0] == names.index(name)
                if len(names) == 1:
                    steps = (data.grid[start:end, None] - self.reference_place[:, 1:]).abs().amax(2)
                    own[start:end] = same & (steps < LEAST_STEPS_APART)
                else:
                    own[start:end] = same
        return own
