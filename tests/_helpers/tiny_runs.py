"""Configurations of runs that train in seconds."""

from __future__ import annotations

from typing import Any

from hist2st_pyg.training import TrainConfig, preset_config

TINY = {"vision_kwargs": {"channels": [8], "out_channels": 16}}


def tiny(
    data: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
    **run: Any,
) -> TrainConfig:
    return preset_config(
        run.pop("preset", "small"),
        data={"n_genes": 8, "patch_size": 28, "test": ["B1"], "val_share": 0.3, **(data or {})},
        model={**TINY, **(model or {})},
        training={"epochs": 3, "batch_size": 4, **(training or {})},
        **{"wandb": "off", "output": "run", "accelerator": "cpu", **run},
    )
