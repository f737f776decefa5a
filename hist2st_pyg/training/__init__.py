"""Configuration, presets, Lightning module and runs of training."""

from hist2st_pyg.training.config import AugmentConfig, DataConfig, TrainConfig, TrainingConfig, config_dict
from hist2st_pyg.training.datamodule import SectionDataModule
from hist2st_pyg.training.loggers import open_loggers
from hist2st_pyg.training.preparation import make_datamodule, make_model
from hist2st_pyg.training.presets import PRESETS, preset_config, preset_values
from hist2st_pyg.training.run import train
from hist2st_pyg.training.sections import read_sections, run_data
from hist2st_pyg.training.task import ExpressionTask
from hist2st_pyg.training.tracking import wandb_runs

__all__ = [
    "PRESETS",
    "AugmentConfig",
    "DataConfig",
    "ExpressionTask",
    "SectionDataModule",
    "TrainConfig",
    "TrainingConfig",
    "config_dict",
    "make_datamodule",
    "make_model",
    "open_loggers",
    "preset_config",
    "preset_values",
    "read_sections",
    "run_data",
    "train",
    "wandb_runs",
]
