"""A process killed while it writes leaves nothing in the way: the next one cleans up and gives the same result."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import anndata
import numpy as np
import pytest
from _helpers.apart import apart
from _helpers.faults import take

PREDICT = "predict model a.png -o out.h5ad --spots s.csv"
COHORT = "predict model a.png b.png -o out --spots spots --format csv"
EVALUATE = "evaluate model --data.name anndata --data.root ann -o out.json"


def places(world: Path, work: str) -> None:
    """A folder with what the work needs, which becomes the working folder."""
    take(world, ["model", "a.png", "s.csv", "ann"])
    if work == COHORT:
        shutil.copy("a.png", "b.png")
        Path("spots").mkdir()
        for name in "ab":
            shutil.copy("s.csv", f"spots/{name}.csv")


def files() -> list[str]:
    """What lies in the working folder; a cohort's notes of earlier failures do not count."""
    return sorted(str(path) for path in Path().rglob("*") if not path.name.endswith(".failed.txt"))


def same(a: Path, b: Path) -> None:
    """The outputs of two runs are equal; times in them do not count."""
    for path in sorted(a.rglob("*")):
        other = b / path.relative_to(a)
        if path.suffix == ".h5ad":
            np.testing.assert_array_equal(anndata.read_h5ad(path).X, anndata.read_h5ad(other).X)
        elif path.suffix in (".csv", ".npy", ".safetensors"):
            assert path.read_bytes() == other.read_bytes(), path


def in_folder(folder: Path, world: Path, work: str) -> None:
    folder.mkdir()
    os.chdir(folder)
    places(world, work)


def check(work: str, moments: slice, world: Path, tmp_path: Path) -> None:
    in_folder(tmp_path / "whole", world, work)
    whole = apart(work)
    assert whole.status == 0, whole.error
    expected = files()
    assert whole.moments > 1
    for stop in range(whole.moments)[moments]:
        in_folder(tmp_path / f"killed_{stop}", world, work)
        assert apart(work, stop).status == -signal.SIGKILL
        again = apart(work)
        assert again.status == 0, (stop, again.error)
        assert files() == expected, stop
        same(tmp_path / "whole", tmp_path / f"killed_{stop}")


def test_the_patch_cache_is_made_again_by_the_next_process(world: Path, tmp_path: Path) -> None:
    check("cache", slice(None), world, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("work", ["save", PREDICT, EVALUATE, COHORT])
def test_work_that_is_killed_at_any_moment_is_done_again(work: str, world: Path, tmp_path: Path) -> None:
    check(work, slice(None), world, tmp_path)
