"""Pickles where weights, arrays or patches are read, as actual files: none is loaded."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from _helpers.attacks import PROOF, Evil
from _helpers.faults import put, run, take
from _helpers.image_files import tissue

from hist2st_pyg.data.patches import cut_patches
from hist2st_pyg.image import ArrayImage


@pytest.mark.parametrize("name", ["t.ckpt", "t.pth", "run/last.ckpt"])
@pytest.mark.parametrize("way", ["pickle", "torch", "legacy", "inside"])
def test_a_pickle_in_a_checkpoint_is_not_run(name: str, way: str, world: Path) -> None:
    take(world, ["run", "tiny.yaml", "a.png"])
    if way == "pickle":
        Path(name).write_bytes(pickle.dumps(Evil()))
    else:
        inside = {"description": {}, "state_dict": {"model.a": Evil()}}
        torch.save(inside if way == "inside" else Evil(), name, _use_new_zipfile_serialization=way != "legacy")
    assert run(f"info {name}") == 2
    assert run(f"predict {name} a.png -o out.h5ad") == 2
    assert run(f"convert {name} -o out") == 2
    if name == "run/last.ckpt":
        assert run("train tiny.yaml --output run --resume true") == 2
    assert not PROOF.exists()


def test_a_pickle_in_an_array_is_not_run(world: Path) -> None:
    take(world, ["ann", "emb"])
    np.savez("emb/S.npz", embeddings=np.array([Evil()] * 12, dtype=object), barcodes=np.array([Evil()], dtype=object))
    train = "train --data.name anndata --data.root ann --data.patients each_section --data.embedding emb --output out"
    assert run(train) == 2
    assert not PROOF.exists()


def test_a_pickle_in_the_patch_cache_is_not_run() -> None:
    image, pos = ArrayImage(tissue(100, 90)), np.array([[50.0, 40.0], [60.0, 40.0]])
    expected = np.array(cut_patches(image, pos, 16, cache="cache", name="A"))
    (file,) = Path("cache").iterdir()
    with file.open("wb") as opened:
        np.save(opened, np.array([Evil()] * 2, dtype=object), allow_pickle=True)
    np.testing.assert_array_equal(cut_patches(image, pos, 16, cache="cache", name="A"), expected)
    assert not PROOF.exists()


@pytest.mark.parametrize("codec", [{"name": "numcodecs.pickle"}, {"id": "pickle", "protocol": 5}])
def test_a_pickle_in_a_store_is_not_run(codec: dict[str, Any]) -> None:
    pytest.importorskip("spatialdata")
    raw = pickle.dumps(Evil())
    if "name" in codec:
        put(
            "x.zarr/zarr.json",
            '{"zarr_format": 3, "node_type": "group", "attributes": {"spatialdata_attrs": {"version": "0.2"}}}',
        )()
        put("x.zarr/images/zarr.json", '{"zarr_format": 3, "node_type": "group", "attributes": {}}')()
        meta = {"zarr_format": 3, "node_type": "array", "shape": [1], "data_type": "uint8", "fill_value": 0, "codecs": [codec],
                "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1]}}, "chunk_key_encoding": {"name": "default"}}  # fmt: skip
        put("x.zarr/images/he/zarr.json", json.dumps(meta))()
        put("x.zarr/images/he/c/0", raw)()
    else:
        put("x.zarr/.zgroup", '{"zarr_format": 2}')()
        put("x.zarr/.zattrs", '{"spatialdata_attrs": {"version": "0.1"}}')()
        meta = {"zarr_format": 2, "shape": [1], "chunks": [1], "dtype": "|O", "compressor": None, "filters": [codec],
                "fill_value": None, "order": "C"}  # fmt: skip
        put("x.zarr/images/he/.zarray", json.dumps(meta))()
        put("x.zarr/images/he/0", raw)()
    assert run("info x.zarr --dataset spatialdata") == 2
    assert not PROOF.exists()


def test_a_head_of_safetensors_that_is_huge_takes_no_memory(world: Path) -> None:
    take(world, ["model"])
    Path("model/model.safetensors").write_bytes(struct.pack("<Q", 2**40) + b"{}")
    assert run("info model") == 2
