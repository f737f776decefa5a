"""What an attacker would hand over, as actual files: nothing of them runs, and nothing of the user's is lost."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import pickle
import re
import struct
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
import tifffile
import torch
import yaml
from _helpers.faults import content, put, run, take
from _helpers.image_files import tissue
from _helpers.local_server import Quiet, serving

from hist2st_pyg import Section, load_model
from hist2st_pyg.data.patches import cut_patches
from hist2st_pyg.image import ArrayImage
from hist2st_pyg.section import SectionRecord

PROOF = Path("PROOF")


class Evil:
    """Writes PROOF when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, (f"touch {PROOF.absolute()}",)


def call() -> dict[str, Any]:
    return {"class_path": "subprocess.getoutput", "init_args": {"cmd": f"touch {PROOF.absolute()}"}}


def module() -> dict[str, Any]:
    """A class of a module beside the configuration."""
    Path("evilmod.py").write_text(f"open({str(PROOF.absolute())!r}, 'w')\nclass L: pass\n")
    return {"class_path": "evilmod.L"}


PLACES: list[dict[str, Any]] = [
    {"model": {"gnn": "HERE"}},
    {"model": {"vision": "HERE"}},
    {"model": {"vision_kwargs": {"x": "HERE"}}},
    {"model": {"gnn_kwargs": {"x": "HERE"}}},
    {"model": {"name": "HERE"}},
    {"model": "HERE"},
    {"data": {"options": {"spots": "HERE"}}},
    {"data": {"options": "HERE"}},
    {"data": {"graph_kwargs": {"x": "HERE"}}},
    {"data": {"patients": {"A1": "HERE"}}},
    {"data": "HERE"},
    {"training": {"augment": "HERE"}},
    {"training": {"view_augmentation": "HERE"}},
    {"training": {"loss": "HERE"}},
    {"training": "HERE"},
    {"devices": "HERE"},
    {"output": "HERE"},
]


def filled(value: Any, attack: Any) -> Any:
    if isinstance(value, dict):
        return {key: filled(item, attack) for key, item in value.items()}
    return attack if value == "HERE" else value


@pytest.mark.parametrize("attack", [call, module])
@pytest.mark.parametrize(
    "place",
    [pytest.param(p, marks=[] if i in (0, 2, 6) else [pytest.mark.slow]) for i, p in enumerate(PLACES)],
    ids=lambda place: json.dumps(place).replace('"', ""),
)
def test_a_class_path_in_a_configuration_is_not_imported(
    place: dict[str, Any], attack: Callable[[], Any], world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take(world, ["tiny.yaml"])
    monkeypatch.syspath_prepend(str(Path.cwd()))
    Path("evil.yaml").write_text(yaml.safe_dump(filled(place, attack())))
    assert run("train tiny.yaml --config evil.yaml") == 2
    assert not PROOF.exists()
    assert not Path("out").exists()


@pytest.mark.parametrize("key", ["model.gnn", "model.vision", "model.vision_kwargs", "data.options"])
def test_a_class_path_on_the_command_line_is_not_imported(key: str, world: Path) -> None:
    take(world, ["tiny.yaml"])
    assert run(f"train tiny.yaml '--{key}={json.dumps(call())}'") == 2
    assert run(f"train tiny.yaml --{key}.class_path=subprocess.getoutput --{key}.init_args.cmd='touch PROOF'") == 2
    assert not PROOF.exists()


@pytest.mark.parametrize(
    "place", [{"model": {"gnn": "HERE"}}, {"data": {"name": "synthetic", "options": {"x": "HERE"}}}]
)
def test_a_class_path_in_a_run_folder_is_not_imported(place: dict[str, Any], world: Path) -> None:
    take(world, ["run", "tiny.yaml"])
    Path("run/config.yaml").write_text(yaml.safe_dump({"data": {"name": "synthetic"}, **filled(place, call())}))
    run("evaluate run --data.sections [Z9]")
    run("info run")
    run("train tiny.yaml run/config.yaml --output out")
    assert not PROOF.exists()


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:os.system [touch PROOF]", "!!python/object/new:os.system [touch PROOF]",
            "!!python/name:os.system", "!!python/module:evilmod"],
)  # fmt: skip
@pytest.mark.parametrize("command", ["train evil.yaml", "evaluate run", "info her --options evil.yaml"])
def test_a_yaml_tag_is_not_run(tag: str, command: str, world: Path) -> None:
    take(world, ["run", "her"])
    module()
    for name in ("evil.yaml", "run/config.yaml"):
        Path(name).write_text(f"data: {{name: synthetic}}\nseed: {tag}\n")
    assert run(command) == 2
    assert not PROOF.exists()


@pytest.mark.parametrize("name", ["gnn", "vision", "position", "likelihood", "gnn_act", "unknown"])
@pytest.mark.parametrize("value", ["os.system", {"class_path": "os.system"}, {"custom": "evilmod.L"}, "evilmod.L"])
def test_a_saved_model_names_no_code(name: str, value: Any, world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    take(world, ["model", "a.png", "s.csv"])
    module()
    monkeypatch.syspath_prepend(str(Path.cwd()))
    described = json.loads(Path("model/config.json").read_text())
    described["arguments"][name] = value
    Path("model/config.json").write_text(json.dumps(described))
    run("info model")
    run("predict model a.png -o out.h5ad --spots s.csv")
    assert not PROOF.exists()


def test_a_saved_model_reads_no_other_weights_and_asks_no_hub(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("asked the network")

    take(world, ["model"])
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    Path("weights.pth").write_bytes(pickle.dumps(Evil()))
    described = json.loads(Path("model/config.json").read_text())
    for vision, options in (
        ("phikon", {"source": "attacker/repo"}),
        ("phikon", {"source": str(Path("weights.pth").absolute())}),
        ("hf", {"source": "attacker/repo"}),
        ("hf", {"config": {"model_type": "timm_wrapper", "architecture": "hf_hub:attacker/repo"}}),
        ("hf", {"config": {"model_type": "detr", "backbone": "attacker/repo", "use_pretrained_backbone": True}}),
        ("densenet", {"weights": str(Path("weights.pth").absolute())}),
    ):
        described["arguments"] |= {"vision": vision, "vision_kwargs": options}
        Path("model/config.json").write_text(json.dumps(described))
        assert run("info model") == 2
    assert not PROOF.exists()


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


@pytest.mark.parametrize("described", ["bomb", "outside", "other file"])
def test_the_xml_of_a_slide_reads_nothing_else(described: str, world: Path) -> None:
    take(world, ["model", "s.csv"])
    put("secret.txt", "secret")()
    bomb = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12))
    xml = {
        "bomb": f'<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a0 "lol">{bomb}]><OME>&a11;</OME>',
        "outside": '<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a SYSTEM "secret.txt">]><OME>&a;</OME>',
        "other file": '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0"><Pixels '
        'DimensionOrder="XYCZT" Type="uint8" SizeX="400" SizeY="400" SizeC="3" SizeZ="1" SizeT="1" ID="Pixels:0"><TiffData '
        'IFD="0"><UUID FileName="../secret.tif">urn:uuid:1</UUID></TiffData></Pixels></Image></OME>',
    }[described]
    tifffile.imwrite("t.ome.tif", tissue(400, 400), photometric="rgb", description=xml, metadata=None)
    assert run("predict model t.ome.tif -o out.h5ad --spots s.csv") in (0, 2)
    if Path("out.h5ad").exists():
        assert b"secret" not in Path("out.h5ad").read_bytes()


@pytest.mark.parametrize(
    "name", ["../outside", "../../outside", "/tmp/outside-of-hist2st", "a/../../outside", "a\\..\\b", ".."]
)
def test_a_section_s_name_is_no_path(name: str, cohort: list[Section], tmp_path: Path) -> None:
    inner = tmp_path / "deep" / "inner"
    inner.mkdir(parents=True)
    os.chdir(inner)
    image, pos = ArrayImage(tissue(100, 90)), np.array([[50.0, 40.0], [60.0, 40.0]])
    section = Section(name, "P", cohort[0].adata.copy(), cohort[0].image)
    cut_patches(image, pos, 16, cache="cache", name=section.name)
    assert len(list((inner / "cache").iterdir())) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"deep"}
    assert {path.name for path in (tmp_path / "deep").iterdir()} == {"inner"}
    assert {path.name for path in inner.iterdir()} == {"cache"}
    assert not Path("/tmp/outside-of-hist2st").exists()


@pytest.mark.parametrize("cell", ["=cmd|'/C calc'!A0", "+1+1", "-2+3", "@SUM(1)", "\t=1", "\r=1"])
def test_a_spot_s_name_is_no_formula_in_a_table(cell: str, world: Path) -> None:
    take(world, ["p.h5ad"])
    read = anndata.read_h5ad("p.h5ad")
    read.obs_names = [cell, *read.obs_names[1:]]
    read.var_names = [cell, *read.var_names[1:]]
    read.write_h5ad("p.h5ad")
    assert run("confidence p.h5ad -o c.csv") == 0
    assert run("genes p.h5ad -o g.csv --regions tissue") == 0
    for name in ("c.csv", "g.csv", "g_markers.csv"):
        with Path(name).open(newline="") as file:
            fields = [field for row in csv.reader(file) for field in row]
        assert not [f for f in fields if f.startswith(("=", "+", "-", "@", "\t", "\r")) and not _number(f)], name


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def test_a_library_s_name_is_no_path_of_a_picture(world: Path) -> None:
    take(world, ["p.h5ad"])
    read = anndata.read_h5ad("p.h5ad")
    read.var_names = ["../../GENE", "a/b", "$\\frac{", *read.var_names[3:]]
    read.write_h5ad("p.h5ad")
    before = set(content(Path("..")))
    assert run("genes p.h5ad --figures f") == 0
    new = {Path(path).parts[1:] for path in set(content(Path(".."))) - before}
    assert all(parts[1:2] == ("f",) for parts in new), new


@pytest.mark.parametrize("command", ["demo --output work"])
def test_a_folder_of_the_user_s_survives(command: str, world: Path) -> None:
    take(world, ["run"])
    Path("run").rename("work")
    put("work/summary.json", "{}")()
    put("work/notes.txt", "a year's notes")()
    before = content(Path("work"))
    assert run(command) == 2
    assert content(Path("work")) == before


def test_a_download_stays_below_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    class Server(Quiet, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"evil")

    Path("victim").mkdir()
    Path("root/data").mkdir(parents=True)
    Path("root/data/ST-imgs").symlink_to(Path("victim").absolute())
    sha = hashlib.sha1(b"blob 4\0evil").hexdigest()
    paths = ("data/ST-imgs/A/A1/a.jpg", "../out.jpg", "/tmp/out.jpg", "data/ST-imgs/A/A1/../../../../../out.jpg")
    for path in paths:
        Path("m.tsv").write_text(f"path\tgit_blob_sha1\n{path}\t{sha}\n")
        with serving(Server, monkeypatch) as url:
            run(f"download her2st --root root --manifest m.tsv --base_url {url}/ --parts [images]")
    assert not list(Path("victim").rglob("*"))
    assert not Path("out.jpg").exists()


def test_a_grid_removes_no_folder_of_another_s(tmp_path: Path) -> None:
    from benchmarks.run import main as bench

    victim = tmp_path / "victim" / "0"
    victim.mkdir(parents=True)
    (victim / "precious.txt").write_text("precious")
    for label in (str(tmp_path / "victim"), "../../../../../victim"):
        Path("g.yaml").write_text(
            yaml.safe_dump(
                {
                    "datasets": {"synthetic": {"options": {"spots": 16, "genes": 12, "pitch": 32}}},
                    "models": {label: {"model": {"name": "ridge"}}},
                    "data": {"n_genes": 4, "patch_size": 16},
                }
            )
        )
        with contextlib.suppress(SystemExit):
            bench(["g.yaml", "--index", "0", "--results", "results", "--work", "a/b/work", "--wandb", "disabled"])
    assert (victim / "precious.txt").read_text() == "precious"


def test_a_head_of_safetensors_that_is_huge_takes_no_memory(world: Path) -> None:
    take(world, ["model"])
    Path("model/model.safetensors").write_bytes(struct.pack("<Q", 2**40) + b"{}")
    assert run("info model") == 2


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "`<script>alert(1)</script>", "a`` `<script>x</script>"])
def test_a_name_is_text_in_a_model_card(text: str, world: Path) -> None:
    model = load_model(world / "model")
    model.training_sections = {"train": [SectionRecord(text, text, "dataset")], "val": []}
    model.save_pretrained("out")
    card = Path("out/README.md").read_text()
    assert "<script>" not in re.sub(
        r"(?<!`)(`+)(?!`).*?(?<!`)\1(?!`)", "", card
    )  # but for code, which is shown as it is
