"""Long use keeps memory and open files flat: predictions one after the other, many sections over epochs."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from _helpers.faults import run, take
from _helpers.image_files import tissue
from anndata import AnnData
from PIL import Image
from pytorch_lightning.loggers import Logger

from hist2st_pyg import load_model, predict, train
from hist2st_pyg.training import preset_config

MEMORY = 24 * 2**20
"""Bytes that may come and go with the allocator; a leak of a prediction's data is several times as much."""

pytestmark = pytest.mark.slow


def used() -> tuple[int, int]:
    """Memory of this process in bytes, and its open files."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir("/proc/self/fd"))


def flat(before: tuple[int, int], after: tuple[int, int]) -> None:
    assert after[1] <= before[1], (before, after)
    assert after[0] - before[0] < MEMORY, (before, after)


def test_two_hundred_predictions_leave_nothing_open(world: Path) -> None:
    take(world, ["model", "a.png", "s.csv"])
    model = load_model("model")
    for i in range(200):
        if i == 50:
            before = used()
        predict(model, "a.png", "s.csv")
    flat(before, used())


@pytest.mark.parametrize(
    "command",
    [
        "predict model a.png -o out.h5ad --spots s.csv",
        "predict model a.png -o out.h5ad --spots s.csv --figures f",
        "predict model nowhere.png -o out.h5ad",
        "info ann",
        "confidence p.h5ad -o out.csv",
    ],
)
def test_a_command_over_and_over_leaves_nothing_open(command: str, world: Path) -> None:
    take(world, ["model", "a.png", "s.csv", "ann", "p.h5ad"])
    for i in range(40):
        if i == 15:
            before = used()
        run(command)
    flat(before, used())


class Watch(Logger):
    """Notes what is used at each epoch's end."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[int, int]] = []

    name = "watch"
    version = 0

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if "epoch" in metrics:
            self.seen.append(used())

    def log_hyperparams(self, params: Any, *_: Any, **__: Any) -> None:
        pass


def test_fifty_sections_over_epochs_leave_nothing_open() -> None:
    Path("many").mkdir()
    column, row = (values.ravel() for values in np.meshgrid(np.arange(4), np.arange(3)))
    for i in range(50):
        counts = np.random.default_rng(i).poisson(3, (12, 6)).astype(np.float32)
        obs = pd.DataFrame(
            {"array_col": column, "array_row": row, "patient": str(i)}, index=[f"s{j}" for j in range(12)]
        )
        spatial = 40.0 + 40.0 * np.stack([column, row], axis=1)
        genes = pd.DataFrame(index=[f"GENE{g}" for g in range(6)])
        AnnData(counts, obs=obs, var=genes, obsm={"spatial": spatial}).write_h5ad(f"many/S{i}.h5ad")
        Image.fromarray(tissue(240, 200, i)).save(f"many/S{i}.png")
    watch = Watch()
    config = preset_config(
        "small",
        data={"name": "anndata", "root": "many", "n_genes": 4, "patch_size": 16, "val": ["S0"], "cache": "cache"},
        training={"epochs": 8, "n_views": 0},
        output="out",
        wandb="disabled",
    )
    train(config, loggers=[watch])
    assert len(watch.seen) >= 8
    flat(watch.seen[len(watch.seen) // 2], watch.seen[-1])
