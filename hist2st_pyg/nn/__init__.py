"""The stages of the models: vision, Transformer, graph, heads."""

from hist2st_pyg.nn.attention import ATTENTIONS
from hist2st_pyg.nn.augment import PatchAugmentation
from hist2st_pyg.nn.convmixer import ConvMixer
from hist2st_pyg.nn.densenet import DenseNet121Encoder
from hist2st_pyg.nn.efficientnet import EfficientNetLite0Encoder
from hist2st_pyg.nn.foundation import FoundationEncoder
from hist2st_pyg.nn.gnn import CONVS, GNN, Hist2STConv, conv_resolver
from hist2st_pyg.nn.graph_arguments import EDGE_WEIGHTS
from hist2st_pyg.nn.heads import Distillation, ExpressionHead
from hist2st_pyg.nn.jumping_knowledge import JUMPING_KNOWLEDGE, NORMS
from hist2st_pyg.nn.likelihoods import LIKELIHOODS, Likelihood
from hist2st_pyg.nn.linear import LinearEncoder
from hist2st_pyg.nn.precomputed import PrecomputedEncoder
from hist2st_pyg.nn.statistics import PatchStatistics, StatisticsEncoder
from hist2st_pyg.nn.texture import TextureCNN
from hist2st_pyg.nn.transformer import POSITIONS, SpotTransformer
from hist2st_pyg.nn.vision import ENCODERS, MultiScale, vision_resolver

__all__ = [
    "ATTENTIONS",
    "CONVS",
    "EDGE_WEIGHTS",
    "ENCODERS",
    "GNN",
    "JUMPING_KNOWLEDGE",
    "LIKELIHOODS",
    "NORMS",
    "POSITIONS",
    "ConvMixer",
    "DenseNet121Encoder",
    "Distillation",
    "EfficientNetLite0Encoder",
    "ExpressionHead",
    "FoundationEncoder",
    "Hist2STConv",
    "Likelihood",
    "LinearEncoder",
    "MultiScale",
    "PatchAugmentation",
    "PatchStatistics",
    "PrecomputedEncoder",
    "SpotTransformer",
    "StatisticsEncoder",
    "TextureCNN",
    "conv_resolver",
    "vision_resolver",
]
