"""Small models whose predictions are explained, and a graph of which one edge counts."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import MessagePassing

from hist2st_pyg import Hist2ST, Preprocessing
from hist2st_pyg.data import SectionData

P = 16


GENES = tuple(f"GENE{i}" for i in range(1, 5))


SMALL: dict[str, Any] = {
    "patch_size": P, "vision": "cnn", "vision_kwargs": {"channels": [8], "out_channels": 8}, "transformer_layers": 0,
    "position": "none", "gnn": "sage", "gnn_layers": 2, "gnn_norm": "layer", "gnn_residual": True, "jk": "last",
    "heads": 2, "dim_head": 4, "likelihood": None,
}  # fmt: skip


FIELDS = (1.0, 3.0)


def preprocessing(**change: Any) -> Preprocessing:
    return Preprocessing(**{"genes": GENES, "patch_size": P, "k": 4, "scales": FIELDS, **change})


def build(**options: Any) -> Hist2ST:
    torch.manual_seed(0)
    model = Hist2ST(len(GENES), **{"n_scales": len(FIELDS), **SMALL, **options})
    return ready(model)


def ready(model: Any, **change: Any) -> Any:
    """With a preprocessing, statistics of colors and of targets."""
    model.preprocessing = preprocessing(scales=FIELDS[: len(model.pixel_mean) // 3], **change)
    model.pixel_mean.fill_(150)
    model.pixel_std.fill_(50)
    model.target_mean.copy_(torch.arange(len(GENES)))
    model.target_std.fill_(0.7)
    return model.eval()


def views(data: SectionData, n: int) -> SectionData:
    """The data with the first n fields of view."""
    data = copy.copy(data)
    data.x = data.x[:, : 3 * n]
    return data


class MarkedEdges(MessagePassing):
    """What comes along edges of length 2, and nothing else."""

    hops = 1

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(aggr="add")
        self.lin = nn.Linear(in_channels, out_channels)  # without a bias the head's norm would undo a weight

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        out: Tensor = self.lin(self.propagate(edge_index, x=x, edge_attr=edge_attr))
        return out

    def message(self, x_j: Tensor, edge_attr: Tensor) -> Tensor:
        return x_j * (edge_attr == 2)


def marked(data: SectionData) -> tuple[SectionData, int, int]:
    """The data in which one edge has length 2, its target and its source."""
    data = copy.copy(data)
    edge = 80
    data.edge_attr = torch.ones_like(data.edge_attr)
    data.edge_attr[edge] = 2
    source, target = data.edge_index[:, edge].tolist()
    return data, target, source
