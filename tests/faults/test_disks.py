"""A disk that is full: the file before it stays whole, one line names the file and the reason, nothing half stays."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from _helpers.apart import apart
from _helpers.faults import content, take

TRAIN = "train tiny.yaml --output disk/out"
WORK = {
    "prediction": ("predict model a.png -o disk/out.h5ad --spots s.csv", r"disk/out.h5ad"),
    "table": ("predict model a.png -o disk/out.csv --spots s.csv", r"disk/out.csv"),
    "cohort": ("predict model a.png -o disk/out --spots s.csv", r"disk/out"),
    "evaluation": ("evaluate model --data.name anndata --data.root ann -o disk/out.json", r"disk/out.json"),
    "confidence": ("confidence p.h5ad -o disk/out.csv", r"disk/out.csv"),
    "genes": ("genes p.h5ad -o disk/out.csv", r"disk/out.csv"),
    "regions": ("regions p.h5ad --method kmeans --n_regions 3 -o disk/out.h5ad", r"disk/out.h5ad"),
    "cache": (f"{TRAIN} --data.cache disk/cache --output out", r"disk/cache"),
    "training": (TRAIN, r"disk/out"),
}
QUICK = ("prediction", "table")
CHOSEN = [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in WORK]
SIZES = {"evaluation": 100, "confidence": 200, "genes": 100, "table": 100}
"""Largest file in bytes; 1,000 elsewhere."""


@pytest.fixture
def disk(world: Path, tmp_path: Path) -> Path:
    """The folder that will be full, with a file of before."""
    take(world, ["model", "a.png", "s.csv", "ann", "p.h5ad", "tiny.yaml"])
    Path("disk").mkdir()
    return Path("disk")


@pytest.fixture
def tmpfs(disk: Path) -> Iterator[Path]:
    """A file system of 16 kB on that folder, where mounting is allowed."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", "disk"], capture_output=True)
    if mounted.returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "disk"], check=True)


def check(name: str, largest: int | None) -> None:
    work, named = WORK[name]
    before = content(Path("disk"))
    outcome = apart(work, largest=largest)
    assert "Traceback" not in outcome.error, outcome.error
    assert "Exception ignored" not in outcome.error, outcome.error
    assert outcome.status == (1 if name == "cohort" else 2), outcome.error
    if name != "cohort":
        last = outcome.error.rstrip().splitlines()[-1]
        assert last.startswith(f"hist2st {work.split()[0]}: "), last
        assert named in last, last
        after = {path: what for path, what in content(Path("disk")).items() if what != "folder"}
        assert after == {path: what for path, what in before.items() if what != "folder"}


@pytest.mark.parametrize("name", CHOSEN)
def test_a_file_that_cannot_grow_is_named_and_none_of_it_stays(name: str, disk: Path) -> None:
    if "out." in WORK[name][1]:
        Path(WORK[name][1]).write_text("of before")
    check(name, SIZES.get(name, 1000))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["prediction", "regions", "cache", "training"])
def test_a_full_disk_is_named_and_nothing_half_stays(name: str, tmpfs: Path) -> None:
    (tmpfs / "full").write_bytes(b"0" * 12_000)
    check(name, None)
