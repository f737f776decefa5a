"""Map the original programs' calls and weights to this package's models.

Hist2ST (Zeng et al. 2022) and HisToGene (Pang et al. 2021) as published take patches, array coordinates and an
adjacency matrix, and cut their patches from an image with swapped axes, [3, W, H]. The preprocessing of a converted
model sets ``transpose_patches``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from hist2st_pyg import models
from hist2st_pyg.data.preprocessing import Preprocessing, SectionData
from hist2st_pyg.models.base import ExpressionModel
from hist2st_pyg.utils.resolver import resolve

Model = TypeVar("Model", bound=ExpressionModel)
PRUNING: dict[str, dict[str, Any]] = {"Grid": {"max_distance": 2.0}, "NA": {}, "STD": {"prune": "std"}}
"""The original's prunings of the graph, expressed as options of the preprocessing."""


class Hist2ST(nn.Module):
    """The published call: ``Hist2ST(depth1=2, ...)(patches, coordinates, adjacency)`` -> expression [N, G].

    Args:
        learning_rate: Accepted but unused; the training task has its own.
        fig_size: Side of a patch in pixels.
        label: Accepted but unused.
        dropout: Dropout.
        n_pos: Size of the position tables.
        kernel_size: Side of the depthwise kernels.
        patch_size: Stride of the patch embedding.
        n_genes: Number of genes, G.
        depth1: ConvMixer blocks.
        depth2: Transformer blocks.
        depth3: Graph layers.
        heads: Attention heads.
        channel: Channels of the ConvMixer.
        zinb: Weight of the likelihood; 0 builds none.
        nb: Negative binomial instead of the zero-inflated one.
        bake: Views for self-distillation.
        lamb: Accepted but unused; the training task weights the distillation.
        policy: ``"mean"`` or ``"max"`` over the neighbors.

    Shapes:
        - patches [N, 3, W, H] or [1, N, 3, W, H], coordinates [N, 2] or [1, N, 2], adjacency [N, N] -> [N, G]
    """

    def __init__(
        self,
        learning_rate: float = 1e-5,
        fig_size: int = 112,
        label: Any = None,
        dropout: float = 0.2,
        n_pos: int = 64,
        kernel_size: int = 5,
        patch_size: int = 7,
        n_genes: int = 785,
        depth1: int = 2,
        depth2: int = 8,
        depth3: int = 4,
        heads: int = 16,
        channel: int = 32,
        zinb: float = 0,
        nb: bool = False,
        bake: int = 0,
        lamb: float = 0,
        policy: str = "mean",
    ) -> None:
        super().__init__()
        self.model = models.Hist2ST(
            n_genes,
            patch_size=fig_size,
            vision_kwargs={
                "channels": channel,
                "depth": depth1,
                "kernel_size": kernel_size,
                "stride": patch_size,
                "dropout": dropout,
            },
            transformer_layers=depth2,
            heads=heads,
            n_pos=n_pos,
            gnn_layers=depth3,
            gnn_kwargs={"aggr": policy},
            likelihood=("nb" if nb else "zinb") if zinb > 0 else None,
            published_likelihood=True,
            n_views=bake,
            dropout=dropout,
        )

    def forward(self, patches: Tensor, coordinates: Tensor, adjacency: Tensor) -> Tensor:
        """Predict the expression [N, G] of one section."""
        return self.model(to_data(patches, coordinates, adjacency))["expression"]  # type: ignore[no-any-return]


def to_data(patches: Any, coordinates: Any, adjacency: Any = None) -> SectionData:
    """Convert the original programs' three tensors to one ``Data``.

    Args:
        patches: [N, 3, W, H], 0 to 255; a leading 1 is dropped, as in the original's batches of one section.
        coordinates: Array column and row [N, 2].
        adjacency: [N, N], row i marks the neighbors j of spot i; they become the edges (source j, target i). None
            (HisToGene has no graph) gives no edges.

    Raises:
        ValueError: If the shapes do not fit each other, or the adjacency is weighted.
    """
    x, grid = torch.as_tensor(patches), torch.as_tensor(coordinates)
    x, grid = x[0] if x.dim() == 5 else x, grid[0] if grid.dim() == 3 else grid
    if x.dim() != 4 or grid.shape != (len(x), 2):
        raise ValueError(
            f"Expected patches [N, 3, W, H] and coordinates [N, 2], got {list(x.shape)}, {list(grid.shape)}."
        )
    grid = grid.long()
    edge_index = torch.empty(2, 0, dtype=torch.long)
    if adjacency is not None:
        matrix = torch.as_tensor(adjacency)
        matrix = matrix[0] if matrix.dim() == 3 else matrix
        if matrix.shape != (len(x), len(x)):
            raise ValueError(f"Expected an adjacency [N, N] with N={len(x)}, got {list(matrix.shape)}.")
        if not ((matrix == 0) | (matrix == 1)).all():
            raise ValueError("Expected an adjacency of 0 and 1, as in the original program, got other values.")
        edge_index = matrix.nonzero().T.flip(0).contiguous()
    steps = (grid[edge_index[0]] - grid[edge_index[1]]).float().norm(dim=1, keepdim=True)
    return SectionData(x=x, edge_index=edge_index, edge_attr=steps, pos=grid.float(), grid=grid)


def load_hist2st(
    arrays: Mapping[str, Any], config: Mapping[str, Any], genes: Sequence[str] | None = None
) -> models.Hist2ST:
    """Build :class:`hist2st_pyg.models.Hist2ST` from the original's weights.

    Args:
        arrays: The original's state dict, arrays or tensors by the original's names.
        config: The original constructor's arguments; of its data ``neighbors`` and ``prune``.
        genes: The gene panel, in the order of the weights, which the original files lack. None numbers the genes.

    Returns:
        The model in eval mode with all weights, and a preprocessing that cuts patches as the original does.

    Raises:
        ValueError: If weights are missing or unexpected.
    """
    # The weights, not the configuration, determine whether the model has distillation weights.
    known = {**config, "bake": 1 if any(name.startswith("coef.") for name in arrays) else 0}
    known = {name: value for name, value in known.items() if name not in ("neighbors", "prune", "note")}
    model = _load(Hist2ST(**known).model, arrays, _HIST2ST)
    model.preprocessing = _preprocessing(model, genes, config)
    return model


def load_histogene(
    arrays: Mapping[str, Any], config: Mapping[str, Any], genes: Sequence[str] | None = None
) -> models.HisToGene:
    """Build :class:`hist2st_pyg.models.HisToGene` from the original's weights; see :func:`load_hist2st`."""
    model = models.HisToGene(
        int(config["n_genes"]),
        patch_size=int(config["patch_size"]),
        channels=int(config["dim"]),
        transformer_layers=int(config["n_layers"]),
        heads=int(config.get("heads", 16)),
        dim_head=int(config.get("dim_head", 64)),
        mlp_channels=int(config["mlp_dim"]) if "mlp_dim" in config else None,
        n_pos=int(config.get("n_pos", 64)),
        dropout=float(config.get("dropout", 0.1)),
    )
    model = _load(model, arrays, _HISTOGENE)
    model.preprocessing = _preprocessing(model, genes, config)
    return model


def _preprocessing(model: ExpressionModel, genes: Sequence[str] | None, config: Mapping[str, Any]) -> Preprocessing:
    """Return the preprocessing of the original programs: swapped image axes, graph on array positions."""
    prune = str(config.get("prune", "Grid"))
    return Preprocessing(
        tuple(genes) if genes is not None else tuple(f"gene_{i}" for i in range(model.config["n_genes"])),
        patch_size=model.config["patch_size"],
        k=int(config.get("neighbors", 4)),
        **resolve(PRUNING, prune, "prune"),
        coord_type="array",
        transpose_patches=True,
    )


_COMMON = [
    (r"x_embed\.", "transformer.position.column."),
    (r"y_embed\.", "transformer.position.row."),
    (r"gene_head\.", "expression."),
]
_HIST2ST = [
    *((pattern, f"streams.0.{name}") for pattern, name in _COMMON),
    (r"patch_embedding\.", "streams.0.vision.patch_embedding."),
    (r"vit\.transformer\.layer1\.(\d+)\.dw\.", r"streams.0.vision.blocks.\1.depthwise."),
    (r"vit\.transformer\.layer1\.(\d+)\.pw\.", r"streams.0.vision.blocks.\1.pointwise."),
    (r"vit\.transformer\.down\.0\.", "streams.0.vision.down."),
    (r"vit\.transformer\.layer2\.(\d+)\.attn\.norm\.", r"streams.0.transformer.blocks.\1.attention.norm."),
    (r"vit\.transformer\.layer2\.(\d+)\.attn\.fn\.to_qkv\.", r"streams.0.transformer.blocks.\1.attention.qkv."),
    (r"vit\.transformer\.layer2\.(\d+)\.attn\.fn\.to_out\.", r"streams.0.transformer.blocks.\1.attention.out."),
    (r"vit\.transformer\.layer2\.(\d+)\.ff\.norm\.", r"streams.0.transformer.blocks.\1.mlp.0."),
    (r"vit\.transformer\.layer2\.(\d+)\.ff\.fn\.net\.0\.", r"streams.0.transformer.blocks.\1.mlp.1."),
    (r"vit\.transformer\.layer2\.(\d+)\.ff\.fn\.net\.3\.", r"streams.0.transformer.blocks.\1.mlp.4."),
    (r"vit\.transformer\.layer3\.(\d+)\.", r"streams.0.gnn.convs.\1.lin."),
    (r"vit\.transformer\.jknet\.0\.", "streams.0.gnn.jk.lstm."),
    (r"mean\.0\.", "likelihood.mean."),
    (r"disp\.0\.", "likelihood.dispersion."),
    (r"pi\.0\.", "likelihood.dropout."),
    (r"hr\.", "likelihood.log_r."),
    (r"hp\.", "likelihood.logit_p."),
    (r"coef\.", "distillation.weight."),
]
_HISTOGENE = [
    *_COMMON,
    (r"patch_embedding\.", "vision."),
    (r"vit\.transformer\.layers\.(\d+)\.0\.norm\.", r"transformer.blocks.\1.attention.norm."),
    (r"vit\.transformer\.layers\.(\d+)\.0\.fn\.to_qkv\.", r"transformer.blocks.\1.attention.qkv."),
    (r"vit\.transformer\.layers\.(\d+)\.0\.fn\.to_out\.", r"transformer.blocks.\1.attention.out."),
    (r"vit\.transformer\.layers\.(\d+)\.1\.norm\.", r"transformer.blocks.\1.mlp.0."),
    (r"vit\.transformer\.layers\.(\d+)\.1\.fn\.net\.0\.", r"transformer.blocks.\1.mlp.1."),
    (r"vit\.transformer\.layers\.(\d+)\.1\.fn\.net\.3\.", r"transformer.blocks.\1.mlp.4."),
]


def _load(model: Model, arrays: Mapping[str, Any], names: Sequence[tuple[str, str]]) -> Model:
    """Rename the weights and load them into the model, strictly."""
    expected = model.state_dict()
    state = {name: value for name, value in expected.items() if name.startswith(("pixel_", "target_"))}
    for original, value in arrays.items():
        matches = [re.sub(f"^{pattern}", new, original) for pattern, new in names if re.match(pattern, original)]
        if len(matches) != 1:
            raise ValueError(f"The weight {original!r} does not belong to the original program.")
        state[matches[0]] = tensor = torch.as_tensor(value)
        if matches[0] in expected and tensor.is_floating_point() != expected[matches[0]].is_floating_point():
            raise ValueError(f"The weight {original} holds {str(tensor.dtype).removeprefix('torch.')} numbers.")
        if matches[0] in expected and tensor.shape != expected[matches[0]].shape:
            raise ValueError(
                f"The weights do not fit the configuration: size mismatch: {original} is {list(tensor.shape)}, but "
                f"the configuration needs {list(expected[matches[0]].shape)}."
            )
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise ValueError(f"The weights do not fit the configuration: {error}") from error
    return model.eval()
