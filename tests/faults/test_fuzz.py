"""Valid files with some bytes changed: every reader reads them or raises one of the errors that the package promises."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _helpers.faults import limited, take
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from hist2st_pyg import load_model, load_sections
from hist2st_pyg.analysis.gene_sets import read_gene_sets
from hist2st_pyg.analysis.predictions import read_prediction
from hist2st_pyg.image import open_image
from hist2st_pyg.io.embeddings import read_embeddings
from hist2st_pyg.io.labels import read_labels
from hist2st_pyg.io.spots import read_spots
from hist2st_pyg.io.tables import read_genes
from hist2st_pyg.training import run_data
from hist2st_pyg.utils.files import read_yaml

OURS = (ValueError, TypeError, OSError)
"""The errors of bad input; ``main`` makes one line of them."""


def _pixels(path: str) -> None:
    image = open_image(path)
    with image.open() as region:
        region(0, 0, *(min(side, 64) for side in image.size))
    image.thumbnail(32)


def _embedded(_: str) -> None:
    read_embeddings(load_sections("anndata", "ann"), "emb")


def _labels(path: str) -> None:
    read_labels(path, read_prediction("p.h5ad"))


TEXT: dict[str, Callable[[str], Any]] = {
    "s.csv": read_spots,
    "her/data/ST-cnts/A1.tsv": lambda _: load_sections("her2st", "her"),
    "her/data/ST-spotfiles/A1_selection.tsv": lambda _: load_sections("her2st", "her"),
    "her/data/ST-pat/lbl/A1_labeled_coordinates.tsv": lambda _: load_sections("her2st", "her"),
    "visium/spatial/tissue_positions.csv": lambda _: load_sections("visium", "visium"),
    "visium/spatial/scalefactors_json.json": lambda _: load_sections("visium", "visium"),
    "hest/metadata/T.json": lambda _: load_sections("hest", "hest"),
    "l.csv": _labels,
    "genes.txt": read_genes,
    "sets.gmt": read_gene_sets,
    "tiny.yaml": read_yaml,
    "run/config.yaml": lambda _: run_data("run"),
    "model/config.json": lambda _: load_model("model"),
}
BINARY: dict[str, Callable[[str], Any]] = {
    "cscc/GSM4284316_P2_ST_rep1_stdata.tsv.gz": lambda _: load_sections("cscc", "cscc"),
    "visium/filtered_feature_bc_matrix.h5": lambda _: load_sections("visium", "visium"),
    "hd/binned_outputs/square_008um/spatial/tissue_positions.parquet": lambda _: load_sections("visium_hd", "hd"),
    "ann/S.h5ad": lambda _: load_sections("anndata", "ann"),
    "p.h5ad": read_prediction,
    "emb/S.npz": _embedded,
    "model/model.safetensors": lambda _: load_model("model"),
    "c.ckpt": load_model,
    "a.png": _pixels,
    "her/data/ST-imgs/A/A1/HE.jpg": _pixels,
    "hest/wsis/T.tif": _pixels,
}
READERS = TEXT | BINARY
NEEDS = {"l.csv": ["p.h5ad"], "emb/S.npz": ["ann"]}
"""What else a reader reads."""

Edit = tuple[float, bytes]
edits = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.binary(min_size=0, max_size=6)), min_size=1, max_size=6
)
words = st.sampled_from(
    [b"nan", b"-1", b"1e999", b'"', b"\n", b"\t", b",", b"{", b"[", b"null", b"\0", b"\xff", b"99999999999999999999"]
)
spoiled = st.tuples(st.one_of(edits, st.lists(st.tuples(st.floats(0, 1, exclude_max=True), words), min_size=1, max_size=3)),
                    st.one_of(st.just(1.0), st.floats(0, 1)))  # fmt: skip


def spoil(raw: bytes, changes: list[Edit], share: float) -> bytes:
    """Bytes replaced at some places, then the file cut."""
    changed = bytearray(raw)
    for place, new in changes:
        at = int(place * len(changed))
        changed[at : at + max(len(new), 1)] = new
    return bytes(changed[: max(int(share * len(changed)), 0)])


def answer(read: Callable[[str], Any], path: str) -> str:
    """The reader's error, where it is one of ours, else "read"."""
    with limited(20):
        try:
            read(path)
        except OURS as error:
            return str(error)
    return "read"


def fuzz(path: str, world: Path, examples: int, derandomize: bool) -> None:
    take(world, [path, *NEEDS.get(path, [])])
    raw, read = Path(path).read_bytes(), READERS[path]
    read(path)  # as it is, it is right

    @settings(max_examples=examples, derandomize=derandomize, deadline=None, database=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(spoiled)
    def only_our_errors(changes: tuple[list[Edit], float]) -> None:
        Path(path).write_bytes(spoil(raw, *changes))
        assert answer(read, path)

    only_our_errors()


@pytest.mark.parametrize("path", TEXT)
def test_a_spoiled_text_file_is_read_or_refused(path: str, world: Path) -> None:
    fuzz(path, world, 12, derandomize=True)


@pytest.mark.slow
@pytest.mark.parametrize("path", READERS)
def test_a_spoiled_file_is_read_or_refused_whatever_is_changed(path: str, world: Path) -> None:
    fuzz(path, world, 250, derandomize=False)


@pytest.mark.slow
@settings(max_examples=300, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(
    st.binary(max_size=400),
    st.sampled_from(["csv", "tsv", "parquet", "h5ad", "png", "jpg", "tif", "yaml", "json", "gmt"]),
)
def test_any_bytes_are_refused_by_every_reader(raw: bytes, suffix: str) -> None:
    path = Path(f"any.{suffix}")
    path.write_bytes(raw)
    for read in (read_spots, read_genes, read_gene_sets, read_yaml, read_prediction, load_model, _pixels):
        assert answer(read, str(path))


@pytest.mark.slow
@settings(max_examples=100, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(st.floats(), st.floats()), min_size=1, max_size=6))
def test_any_numbers_are_spots_or_refused_in_time(points: list[tuple[float, float]]) -> None:
    Path("t.csv").write_text("x,y\n" + "".join(f"{x!r},{y!r}\n" for x, y in points))
    said = answer(read_spots, "t.csv")
    assert said == "read" or "t.csv" in said


@pytest.mark.slow
@settings(max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck))
@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from(["RGB", "L", "1", "P", "RGBA", "LA", "CMYK", "I", "F"]))
def test_any_mode_of_a_picture_is_read_or_refused(width: int, height: int, mode: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    for suffix, kind in (("png", "PNG"), ("jpg", "JPEG"), ("tif", "TIFF")):
        buffer = io.BytesIO()
        try:
            Image.fromarray(pixels).convert("L" if mode in "IF1" else mode).convert(mode).save(buffer, kind)
        except OSError:
            continue  # the format has no such mode
        Path(f"t.{suffix}").write_bytes(buffer.getvalue())
        said = answer(_pixels, f"t.{suffix}")
        assert said == "read" or f"t.{suffix}" in said
