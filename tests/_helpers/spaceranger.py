"""Made folders as Space Ranger writes them, by h5py, gzip and csv alone."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from scipy.io import mmwrite
from scipy.sparse import csr_matrix

GENES = ["GAPDH", "TBCE", "ACTB", "TBCE", "CD3", "KRT5"]  # one symbol of two genes, and an antibody
IDS = ["ENSG01", "ENSG02", "ENSG03", "ENSG04", "CD3-UCHT1", "ENSG06"]
TYPES = ["Gene Expression"] * 4 + ["Antibody Capture", "Gene Expression"]
SIZE = (420, 300)
"""Width and height of the full-resolution image."""
HIRES = 0.25
HEADER = ["barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres", "pxl_col_in_fullres"]


def write_h5(
    path: Path, counts: NDArray[Any] | csr_matrix, barcodes: Sequence[str], genes: Sequence[str] = GENES
) -> None:
    """``filtered_feature_bc_matrix.h5``, counts [spots, features]; features beyond the made ones are plain genes."""
    matrix = csr_matrix(counts)
    extra = range(len(GENES), len(genes))
    with h5py.File(path, "w") as file:
        file.attrs["library_ids"] = np.array([b"lib"])
        file.attrs["chemistry_description"] = b"Visium"
        group = file.create_group("matrix")
        group["barcodes"] = np.array(barcodes, dtype="S")
        group["data"], group["indices"] = matrix.data.astype(np.int32), matrix.indices.astype(np.int64)
        group["indptr"], group["shape"] = matrix.indptr.astype(np.int64), np.array(matrix.shape[::-1], dtype=np.int32)
        features = group.create_group("features")
        features["id"] = np.array([*IDS, *(f"ENSGX{i}" for i in extra)], dtype="S")
        features["name"] = np.array(genes, dtype="S")
        features["feature_type"] = np.array([*TYPES, *("Gene Expression" for _ in extra)], dtype="S")
        features["genome"] = np.full(len(genes), b"GRCh38")
        features["_all_tag_keys"] = np.array([b"genome"])


def write_mtx(folder: Path, counts: NDArray[Any], barcodes: Sequence[str]) -> None:
    """The folder ``filtered_feature_bc_matrix``."""
    folder.mkdir(parents=True)
    with gzip.open(folder / "matrix.mtx.gz", "wb") as file:
        mmwrite(file, csr_matrix(counts.T), field="integer")
    for name, rows in (("features", list(zip(IDS, GENES, TYPES, strict=True))), ("barcodes", [[b] for b in barcodes])):
        with gzip.open(folder / f"{name}.tsv.gz", "wt", newline="") as file:
            csv.writer(file, delimiter="\t", lineterminator="\n").writerows(rows)


def colors(places: NDArray[np.int64]) -> NDArray[np.uint8]:
    """A color that tells a spot's row and column, [N, 3]."""
    return np.column_stack([100 + 10 * places[:, 0], 100 + 5 * places[:, 1], np.full(len(places), 90)]).astype(np.uint8)


def write_image(path: Path, pos: NDArray[Any], places: NDArray[np.int64], scale: float, side: int) -> None:
    """White, with a square in a spot's color around it."""
    width, height = (round(length * scale) for length in SIZE)
    pixels = np.full((height, width, 3), 255, dtype=np.uint8)
    for (x, y), color in zip(np.rint(pos * scale).astype(int), colors(places), strict=True):
        pixels[max(y - side, 0) : y + side, max(x - side, 0) : x + side] = color
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


class Made:
    """A made Visium array: places [N, 2] (row, column), positions [N, 2] (x, y), counts, and what is in the tissue."""

    def __init__(self, seed: int = 0, rows: int = 6, columns: int = 12, pitch: float = 40.0) -> None:
        rng = np.random.default_rng(seed)
        row, half = (axis.ravel() for axis in np.mgrid[:rows, :columns])
        self.places = np.column_stack([row, 2 * half + row % 2])[rng.permutation(rows * columns)]
        # 100 µm are `pitch` pixels; the slide lies a little askew.
        steps = self.places[:, ::-1] * [pitch / 2, pitch * np.sqrt(3) / 2]
        turn = np.deg2rad(4)
        turned = steps @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        self.pos = np.rint(turned * 0.8 + [30, 10]).astype(int)
        self.um_per_pixel = 100 / (0.8 * pitch)
        self.barcodes = [f"{'ACGT'[i % 4]}{i:04d}-1" for i in range(len(self.places))]
        self.in_tissue = (self.places[:, 1] > 4).astype(int)
        self.counts = rng.poisson(3, (len(self.places), len(GENES)))
        self.kept = np.flatnonzero(self.in_tissue)[rng.permutation(self.in_tissue.sum())]  # in the matrix's order


def write_visium(
    folder: Path, made: Made | None = None, *, version: int = 2, mtx: bool = False, extra: Sequence[int] = ()
) -> Made:
    """An ``outs`` folder of Space Ranger 1, 2 or 3.

    Args:
        folder: The folder.
        made: What is in it.
        version: Space Ranger's.
        mtx: The counts are a folder.
        extra: Spots off the tissue that have counts all the same.
    """
    made = made or Made()
    (folder / "spatial").mkdir(parents=True)
    spots = [*made.kept, *extra]
    barcodes = [made.barcodes[i] for i in spots]
    if mtx:
        write_mtx(folder / "filtered_feature_bc_matrix", made.counts[spots], barcodes)
    else:
        write_h5(folder / "filtered_feature_bc_matrix.h5", made.counts[spots], barcodes)
    name = "tissue_positions_list.csv" if version == 1 else "tissue_positions.csv"
    with (folder / "spatial" / name).open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if version > 1:
            writer.writerow(HEADER)
        for barcode, inside, (row, column), (x, y) in zip(
            made.barcodes, made.in_tissue, made.places, made.pos, strict=True
        ):
            writer.writerow([barcode, inside, row, column, y, x])
    scales = {"spot_diameter_fullres": 20.8, "tissue_hires_scalef": HIRES, "fiducial_diameter_fullres": 33.6}
    scales["tissue_lowres_scalef"] = 0.1
    if version > 2:
        scales["regist_target_img_scalef"] = 0.5
    (folder / "spatial" / "scalefactors_json.json").write_text(json.dumps(scales))
    for image, scale in (("hires", HIRES), ("lowres", 0.1)):
        write_image(folder / "spatial" / f"tissue_{image}_image.png", made.pos, made.places, scale, 2)
    return made


def write_bins(folder: Path, counts: Any, side: int, *, um: int = 8, genes: Sequence[str] = GENES) -> pd.DataFrame:
    """``binned_outputs/square_<um>um``: a square of bins, of which the first ones [N of the counts] are in the tissue.

    Returns:
        The positions, as they are in the parquet file, which has them in another order.
    """
    bins = folder / "binned_outputs" / f"square_{um:03d}um"
    (bins / "spatial").mkdir(parents=True)
    row, column = (axis.ravel() for axis in np.mgrid[:side, :side])
    table = pd.DataFrame(
        {
            "barcode": [f"s_{um:03d}um_{r:05d}_{c:05d}-1" for r, c in zip(row, column, strict=True)],
            "in_tissue": (np.arange(side * side) < counts.shape[0]).astype(np.int64),
            "array_row": row,
            "array_col": column,
            # HD's rows may run against the image's; a bin is four pixels.
            "pxl_row_in_fullres": 4.0 * (side - row) + 0.25,
            "pxl_col_in_fullres": 4.0 * column + 7.5 + 0.01 * row,
        }
    )
    write_h5(bins / "filtered_feature_bc_matrix.h5", counts, list(table["barcode"][: counts.shape[0]]), genes)
    table.sample(frac=1, random_state=0).to_parquet(bins / "spatial" / "tissue_positions.parquet", index=False)
    scales = {
        "spot_diameter_fullres": 4.0,
        "bin_size_um": float(um),
        "microns_per_pixel": um / 4,
        "regist_target_img_scalef": 0.5,
        "tissue_lowres_scalef": 0.05,
        "fiducial_diameter_fullres": 90.0,
        "tissue_hires_scalef": HIRES,
    }
    (bins / "spatial" / "scalefactors_json.json").write_text(json.dumps(scales))
    hires = Image.new("RGB", (round((4 * side + 20) * HIRES), round((4 * side + 10) * HIRES)), "white")
    hires.save(bins / "spatial" / "tissue_hires_image.png")
    return table
