"""Two processes give the same: whatever the hash seed, one slide at a time or two."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
from _helpers.faults import run, take

MAIN = "import sys; from hist2st_pyg.cli import main; sys.exit(main())"

pytestmark = pytest.mark.slow


def command(words: str, seed: int) -> None:
    environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
    subprocess.run([sys.executable, "-c", MAIN, *words.split()], check=True, env=environment, capture_output=True)


def result(name: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(Path(name).read_text())
    return value


def test_training_evaluation_and_prediction_do_not_depend_on_the_hash_seed(world: Path) -> None:
    take(world, ["tiny.yaml", "a.png", "s.csv"])
    for seed in (1, 2):
        command(f"train tiny.yaml --output run{seed} --training.epochs 2", seed)
        command(f"evaluate run{seed} -o e{seed}.json", seed)
        command(f"predict run{seed} a.png -o p{seed}.h5ad --spots s.csv --um_per_pixel 3", seed)
    assert result("e1.json") == result("e2.json")
    first, second = (Path(f"run{seed}/model/model.safetensors").read_bytes() for seed in (1, 2))
    assert first == second
    assert Path("run1/metrics.csv").read_text() == Path("run2/metrics.csv").read_text()
    a, b = (anndata.read_h5ad(f"p{seed}.h5ad") for seed in (1, 2))
    np.testing.assert_array_equal(a.X, b.X)
    assert a.obs.equals(b.obs)


def test_a_cohort_is_the_same_with_one_slide_at_a_time_or_two(world: Path) -> None:
    take(world, ["model", "a.png", "s.csv"])
    shutil.copy("a.png", "b.png")
    Path("spots").mkdir()
    for name in "ab":
        shutil.copy("s.csv", f"spots/{name}.csv")
    for jobs in (1, 2):
        assert run(f"predict model a.png b.png -o out{jobs} --spots spots --format csv --jobs {jobs}") == 0
    for name in "ab":
        assert Path(f"out1/{name}.csv").read_bytes() == Path(f"out2/{name}.csv").read_bytes()


def test_one_process_after_the_other_draws_the_same_regions(world: Path) -> None:
    take(world, ["p.h5ad"])
    for seed in (1, 2):
        command(f"regions p.h5ad --method kmeans --n_regions 3 -o r{seed}.h5ad", seed)
        command(f"genes r{seed}.h5ad --regions -o g{seed}.csv", seed)
    assert anndata.read_h5ad("r1.h5ad").obs.equals(anndata.read_h5ad("r2.h5ad").obs)
    for name in ("g{}.csv", "g{}_markers.csv"):
        assert Path(name.format(1)).read_text() == Path(name.format(2)).read_text()
