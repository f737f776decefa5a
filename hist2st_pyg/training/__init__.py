"""Training: configuration and presets, the Lightning module, and one run."""

from hist2st_pyg.training.config import (
    PRESETS,
    AugmentConfig,
    DataConfig,
    TrainConfig,
    TrainingConfig,
    config_dict,
    preset_config,
)
from hist2st_pyg.training.run import train
from hist2st_pyg.training.task import ExpressionTask

__all__ = [
    "PRESETS",
    "AugmentConfig",
    "DataConfig",
    "ExpressionTask",
    "TrainConfig",
    "TrainingConfig",
    "config_dict",
    "preset_config",
    "train",
]
