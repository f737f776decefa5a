"""A made world on disk: small data of every format, a trained model, a prediction. Cases spoil copies of it."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from _helpers.image_files import tissue
from _helpers.made_prediction import made_prediction
from _helpers.spaceranger import GENES as FEATURES
from _helpers.spaceranger import write_bins, write_visium
from anndata import AnnData
from PIL import Image

from hist2st_pyg import Hist2ST, Preprocessing
from hist2st_pyg.models.pretrained import describe
from hist2st_pyg.section import SectionRecord

GENES = [f"GENE{i}" for i in range(1, 7)]
COUNTS = "\tGENE1\tGENE2\tGENE3\n10x13\t0\t3\t1\n11x13\t2\t0\t0\n10x14\t5\t1\t0\n11x14\t1\t1\t7\n"
SPOTS = (
    "x\ty\tnew_x\tnew_y\tpixel_x\tpixel_y\tselected\n10\t13\t10.1\t13.0\t60.0\t60.0\t1\n11\t13\t11.0\t12.9\t120.0\t60.0"
    "\t1\n10\t14\t10.0\t14.0\t60.0\t120.0\t1\n11\t14\t11.0\t14.0\t120.0\t120.0\t1\n"
)
LABELS = "Row.names\tx\ty\tpixel_x\tpixel_y\tlabel\n1\t10.02\t13.21\t1\t2\tinvasive cancer\n2\t11.1\t12.8\t3\t4\tfat\n"
TINY = """\
preset: small
wandb: disabled
output: out
data:
  name: synthetic
  options: {patients: 3, sections_per_patient: 1, spots: 16, genes: 12, noise_genes: 2, pitch: 32}
  test: [C1]
  n_genes: 6
  patch_size: 16
training:
  epochs: 1
"""
SIZE = (400, 400)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder; tests take copies."""
    folder, before = tmp_path_factory.mktemp("world"), Path.cwd()
    os.chdir(folder)
    try:
        _tables()
        _datasets()
        _model()
    finally:
        os.chdir(before)
    return folder


def _tables() -> None:
    Image.fromarray(tissue(*SIZE)).save("a.png")
    Path("s.csv").write_text("x,y\n100,100\n160,100\n220,100\n100,160\n160,160\n220,160\n")
    Path("tiny.yaml").write_text(TINY)
    Path("genes.txt").write_text("".join(f"GENE{i}\n" for i in range(1, 4)))
    Path("sets.gmt").write_text("one\tno text\t" + "\t".join(f"GENE{i}" for i in range(8)) + "\n")
    prediction, measured = made_prediction()
    prediction.write_h5ad("p.h5ad")
    measured.write_h5ad("m.h5ad")
    Path("l.csv").write_text("spot,label\n" + "".join(f"{name},{name[0]}\n" for name in prediction.obs_names))


def _datasets() -> None:
    for name, text in (
        ("her/data/ST-cnts/A1.tsv", COUNTS),
        ("her/data/ST-spotfiles/A1_selection.tsv", SPOTS),
        ("her/data/ST-pat/lbl/A1_labeled_coordinates.tsv", LABELS),
    ):
        Path(name).parent.mkdir(parents=True)
        Path(name).write_text(text)
    Path("her/data/ST-imgs/A/A1").mkdir(parents=True)
    Image.fromarray(tissue(200, 180)).save("her/data/ST-imgs/A/A1/HE.jpg")
    Path("cscc").mkdir()
    Path("cscc/GSM4284316_P2_ST_rep1_stdata.tsv.gz").write_bytes(gzip.compress(COUNTS.encode()))
    spots = gzip.compress(SPOTS.replace("\tselected", "").replace("\t1\n", "\n").encode())
    Path("cscc/GSM4284316_spot_data-selection-P2_ST_rep1.tsv.gz").write_bytes(spots)
    Image.fromarray(tissue(200, 180)).save("cscc/GSM4284316_P2_ST_rep1.jpg")
    write_visium(Path("visium"))
    write_bins(Path("hd"), np.random.default_rng(0).poisson(2, (40, len(FEATURES))), 8)
    column, row = (values.ravel() for values in np.meshgrid(np.arange(4), np.arange(3)))
    section = AnnData(
        np.random.default_rng(0).poisson(3, (12, 6)).astype(np.float32),
        obs=pd.DataFrame({"array_col": column, "array_row": row}, index=[f"s{i}" for i in range(12)]),
        var=pd.DataFrame(index=GENES),
        obsm={"spatial": 60.0 + 60.0 * np.stack([column, row], axis=1)},
    )
    for name in ("ann", "hest/st"):
        Path(name).mkdir(parents=True)
    section.write_h5ad("ann/S.h5ad")
    Image.fromarray(tissue(*SIZE)).save("ann/S.png")
    section.write_h5ad("hest/st/T.h5ad")
    Path("hest/metadata").mkdir()
    Path("hest/metadata/T.json").write_text('{"pixel_size_um_estimated": 1.5, "patient": "P"}')
    Path("hest/wsis").mkdir()
    Image.fromarray(tissue(*SIZE)).save("hest/wsis/T.tif")
    Path("emb").mkdir()
    np.savez("emb/S.npz", embeddings=np.ones((12, 3), np.float32), barcodes=np.array(section.obs_names, dtype=str))


def _model() -> None:
    torch.manual_seed(0)
    model = Hist2ST(
        len(GENES), patch_size=16, vision="cnn", vision_kwargs={"channels": [8], "out_channels": 16},
        transformer_layers=0, position="none", gnn="sage", gnn_layers=1,
    )  # fmt: skip
    model.preprocessing = Preprocessing(tuple(GENES), patch_size=16, pitch=60.0, um_per_pixel=3.0)
    model.training_sections = {"train": [SectionRecord("A1", "A", "dataset")], "val": []}
    model.save_pretrained("model")
    Path("run").mkdir()
    Path("run/config.yaml").write_text(TINY)
    model.save_pretrained("run/model")
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    torch.save({"description": describe(model), "state_dict": weights}, "c.ckpt")
    torch.save({"description": {}, "state_dict": {}}, "other.ckpt")
