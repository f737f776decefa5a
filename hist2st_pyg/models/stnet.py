"""ST-Net: a convolutional network on single spots."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from hist2st_pyg.models.base import ExpressionModel
from hist2st_pyg.nn.augment import symmetries
from hist2st_pyg.nn.vision import EncoderFactory, rebuild_arguments, vision_resolver


class STNet(ExpressionModel):
    """The baseline of He et al. (*Nature Biomedical Engineering* 2020): DenseNet-121 and a linear map on each spot.

    As published, the map is initialized with weight 0 and the mean expression as bias, and predictions average over the
    eight symmetries of each patch.

    Args:
        n_genes: Number of genes, G.
        patch_size: Side of a patch in pixels, P.
        vision: A key of ``nn.ENCODERS``, or a class or factory ``(in_channels, patch_size) -> module``.
        vision_kwargs: Further arguments of the encoder; its ``weights`` are ImageNet's if the download succeeds.

    Shapes:
        ``forward(data)`` gives ``expression`` [N, G] and ``embedding`` [N, C].
    """

    key = "stnet"
    num_hops = 0

    def __init__(
        self,
        n_genes: int,
        *,
        patch_size: int = 112,
        vision: str | EncoderFactory = "densenet121",
        vision_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(n_genes)
        self.vision = vision_resolver(vision, patch_size, **(vision_kwargs or {}))
        self.config = {
            "n_genes": n_genes,
            "patch_size": patch_size,
            "vision": vision,
            "vision_kwargs": rebuild_arguments(self.vision, vision_kwargs),
        }
        self.expression = nn.Linear(int(self.vision.out_channels), n_genes)  # type: ignore[arg-type]
        nn.init.zeros_(self.expression.weight)
        nn.init.zeros_(self.expression.bias)
        self.register_load_state_dict_pre_hook(_refuse_layer_norm)  # type: ignore[no-untyped-call]

    def initialize(self, mean_expression: Tensor) -> None:
        with torch.no_grad():
            self.expression.bias.copy_((mean_expression - self.target_mean) / self.target_std)

    def embed(self, data: Data) -> Tensor:
        return self.encode(self.vision, data)

    def forward(self, data: Data) -> dict[str, Tensor]:
        """Predict from a ``Data`` or a ``Batch``, each spot independently."""
        patches = [data.x] if self.training else symmetries(data.x)
        embeddings = [self.embed(Data(x=x)) for x in patches]
        expression = torch.stack([self.expression(h) for h in embeddings]).mean(0)
        return {"expression": self.unstandardize(expression), "embedding": torch.stack(embeddings).mean(0)}


def _refuse_layer_norm(model: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Raise a RuntimeError on weights of the earlier ST-Net, which had another architecture."""
    if f"{prefix}expression.0.weight" in state:
        raise RuntimeError(
            "an earlier version saved them, with a layer norm that the published ST-Net does not have. Train the model "
            "again, or load it by the version of hist2st_pyg that saved it."
        )
