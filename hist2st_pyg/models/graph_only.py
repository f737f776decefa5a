"""Hist2ST's graph on color statistics instead of a convolutional network."""

from __future__ import annotations

from typing import Any

from hist2st_pyg.models.hist2st import Hist2ST


class GraphOnly(Hist2ST):
    """:class:`Hist2ST` with 27 color and texture statistics of the patch as its only node features.

    Its score is that of the graph on colors alone; the difference from Hist2ST is the effect of the vision stage.

    Args:
        n_genes: Number of genes, G.
        vision: The encoder of the statistics.
        transformer_layers: Transformer blocks.
        position: ``"table"``, ``"fourier"`` or ``"none"``.
        arguments: Further arguments of :class:`Hist2ST`.
    """

    key = "graph_only"

    def __init__(
        self,
        n_genes: int,
        *,
        vision: str = "color_texture",
        transformer_layers: int = 0,
        position: str = "none",
        **arguments: Any,
    ) -> None:
        super().__init__(n_genes, vision=vision, transformer_layers=transformer_layers, position=position, **arguments)
