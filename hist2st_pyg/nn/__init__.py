"""The stages of the models: vision, Transformer, graph, heads."""

from hist2st_pyg.nn.augment import PatchAugmentation
from hist2st_pyg.nn.gnn import CONVS, GNN, NORMS, READOUTS, Hist2STConv, conv_resolver
from hist2st_pyg.nn.heads import LIKELIHOODS, Distillation, ExpressionHead, NBHead, ZINBHead
from hist2st_pyg.nn.transformer import POSITIONS, SpotTransformer
from hist2st_pyg.nn.vision import ENCODERS, ConvMixer, MultiScale, TextureCNN, vision_resolver

__all__ = [
    "CONVS",
    "ENCODERS",
    "GNN",
    "LIKELIHOODS",
    "NORMS",
    "POSITIONS",
    "READOUTS",
    "ConvMixer",
    "Distillation",
    "ExpressionHead",
    "Hist2STConv",
    "MultiScale",
    "NBHead",
    "PatchAugmentation",
    "SpotTransformer",
    "TextureCNN",
    "ZINBHead",
    "conv_resolver",
    "vision_resolver",
]
