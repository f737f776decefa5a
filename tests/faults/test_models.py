"""Saved models, checkpoints and run folders that are damaged or ask for what cannot be: refused by the model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from _helpers.faults import Case, Change, case, check, cut, drop, folder, json_file, put, rows
from safetensors.torch import load_file, save_file

PREDICT = "predict model a.png -o out.h5ad --spots s.csv"
INFO, CONFIG, WEIGHTS = "info model", "model/config.json", "model/model.safetensors"


def config(id: str, said: str, edit: Callable[[dict[str, Any]], object], command: str = PREDICT) -> Case:
    return case(f"config.json: {id}", command, said, json_file(CONFIG, edit))


def argument(name: str, value: Any) -> Case:
    said = rf"model\b.*({name}|argument|memory|large|damaged)"
    return config(f"{name} is {value!r:.30}", said, lambda c: c["arguments"].update({name: value}))


def prepared(name: str, value: Any) -> Case:
    said = rf"model\b.*({name}|preprocessing|damaged)"
    return config(f"preprocessing.{name} is {value!r:.30}", said, lambda c: c["preprocessing"].update({name: value}))


def weights(edit: Callable[[dict[str, torch.Tensor]], object]) -> Change:
    def change() -> None:
        state = load_file(WEIGHTS)
        edit(state)
        save_file(state, WEIGHTS)

    return change


def first(value: float) -> Callable[[dict[str, torch.Tensor]], object]:
    return lambda state: next(v for v in state.values() if v.is_floating_point() and v.ndim).fill_(value)


def checkpoint(id: str, value: Any, said: str = r"t\.ckpt") -> Case:
    return case(f"checkpoint: {id}", "info t.ckpt", said, lambda: torch.save(value, "t.ckpt"))


def published(id: str, value: Any, said: str = r"t\.ckpt", more: str = "") -> Case:
    return case(f"convert: {id}", f"convert t.ckpt -o out{more}", said, lambda: torch.save(value, "t.ckpt"))


def header(text: bytes, size: int | None = None) -> bytes:
    return (len(text) if size is None else size).to_bytes(8, "little") + text


CASES: list[Case] = [
    case("no config.json", PREDICT, r"model\b.*config\.json", drop(CONFIG)),
    case("no weights", PREDICT, r"model\b.*safetensors", drop(WEIGHTS)),
    case("config.json empty", PREDICT, r"model\b", put(CONFIG)),
    case("config.json of text", PREDICT, r"model\b.*", put(CONFIG, "text")),
    case("config.json cut", PREDICT, r"model\b", cut(CONFIG)),
    case("config.json a list", PREDICT, r"model\b.*mapping", put(CONFIG, "[]")),
    case("config.json a number", PREDICT, r"model\b.*mapping", put(CONFIG, "7")),
    case("config.json null", PREDICT, r"model\b.*mapping", put(CONFIG, "null")),
    case("config.json deep", PREDICT, r"model\b", put(CONFIG, "[" * 9000)),
    case("config.json in UTF-16", PREDICT, r"model\b", put(CONFIG, "{}".encode("utf-16"))),
    case("config.json a folder", PREDICT, r"model\b", folder(CONFIG)),
    case("weights empty", PREDICT, r"model\b", put(WEIGHTS)),
    case("weights of text", PREDICT, r"model\b", put(WEIGHTS, "text" * 50)),
    case("weights cut", PREDICT, r"model\b", cut(WEIGHTS)),
    case("weights, a head of terabytes", PREDICT, r"model\b", put(WEIGHTS, header(b"{}", 2**60))),
    case("weights, a head of text", PREDICT, r"model\b", put(WEIGHTS, header(b"text"))),
    case("weights, none", PREDICT, r"model\b.*weight", put(WEIGHTS, header(b"{}"))),
    case("weights, offsets beyond the file", PREDICT, r"model\b",
         put(WEIGHTS, header(json.dumps({"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}).encode()))),
    case("weights, one not finite", PREDICT, r"model\b.*not finite", weights(first(float("nan")))),
    case("weights, one infinite", PREDICT, r"model\b.*not finite", weights(first(float("inf")))),
    case("weights, one missing", PREDICT, r"model\b.*weights", weights(lambda state: state.pop(sorted(state)[0]))),
    case("weights, one more", PREDICT, r"model\b.*other", weights(lambda state: state.update(other=torch.ones(1)))),
    case("weights, another shape", PREDICT, r"model\b.*weights", weights(lambda s: s.update({sorted(s)[0]: torch.ones(7, 7)}))),
    case("weights, all huge", PREDICT, r"model\b|finite", weights(lambda s: [v.fill_(3e38) for v in s.values() if v.is_floating_point()])),
    case("weights, a deviation of 0", PREDICT, r"model\b|finite|pixel_std", weights(lambda s: s["pixel_std"].zero_())),
    config("another format", r"model\b.*format 99", lambda c: c.update(format=99)),
    config("format of text", r"model\b.*format 'new'", lambda c: c.update(format="new")),
    config("format of a list", r"model\b.*format", lambda c: c.update(format=[3])),
    config("no format", r"model\b.*format", lambda c: c.pop("format")),
    config("no model", r"model\b.*lacks model", lambda c: c.pop("model")),
    config("another model", r"oracle", lambda c: c.update(model="oracle")),
    config("a model of a number", r"model\b", lambda c: c.update(model=7)),
    config("a model of a list", r"model\b", lambda c: c.update(model=["hist2st"])),
    config("arguments null", r"model\b", lambda c: c.update(arguments=None)),
    config("arguments a list", r"model\b", lambda c: c.update(arguments=[1])),
    config("arguments without genes", r"model\b.*n_genes", lambda c: c["arguments"].pop("n_genes")),
    config("preprocessing null", r"model\b|preprocessing", lambda c: c.update(preprocessing=None)),
    config("preprocessing a list", r"model\b", lambda c: c.update(preprocessing=[1])),
    config("preprocessing empty", r"model\b.*genes", lambda c: c.update(preprocessing={})),
    config("gene_trust a list", r"model\b.*gene_trust", lambda c: c.update(gene_trust=[1])),
    config("gene_trust too short", r"model\b.*gene_trust", lambda c: c.update(gene_trust={"val_pcc": [1]})),
    *(
        config(f"training_sections is {value!r:.30}", r"model\b.*training_sections", lambda c, v=value: c.update(training_sections=v))
        for value in (None, [], "A/A1", 7, {"train": "A1"}, {"train": [7]}, {"train": [{"name": 1}]}, {"train": [None]},
                      {"train": [{"name": "A1", "patient": 3}]}, {"train": {"A1": "A"}})
    ),
    *(
        argument(name, value)
        for name, value in (
            ("n_genes", 10**10), ("n_genes", 0), ("n_genes", -1), ("n_genes", "six"), ("n_genes", 7), ("n_genes", None),
            ("patch_size", 10**7), ("patch_size", "wide"), ("patch_size", 0), ("gnn_layers", -1), ("gnn_layers", "two"),
            ("gnn_layers", 10**6), ("gnn", "os.system"), ("gnn", 7), ("gnn", {"class_path": "os.getcwd"}),
            ("gnn", {"custom": "os.system"}), ("vision", "nowhere"), ("vision", 7), ("vision_kwargs", 7),
            ("vision_kwargs", {"out_channels": 10**9, "channels": [8]}), ("vision_kwargs", {"channels": [10**9], "out_channels": 16}),
            ("vision_kwargs", {"unknown": 1}), ("position", "nowhere"), ("unknown", 1), ("dropout", "much"),
            ("likelihood", "nowhere"), ("transformer_layers", 10**9), ("n_scales", 10**9), ("n_scales", 2),
        )
    ),
    *(
        prepared(name, value)
        for name, value in (
            ("genes", []), ("genes", None), ("genes", "GENE1"), ("genes", [1, 2, 3, 4, 5, 6]), ("genes", ["GENE1"] * 6),
            ("patch_size", 0), ("patch_size", 10**7), ("patch_size", "wide"), ("patch_um", -1), ("patch_um", 1e12), ("patch_um", "w"),
            ("scales", [1, 2]), ("scales", []), ("scales", "one"), ("k", 0), ("k", "four"), ("graph", "web"), ("stain", "blue"),
            ("um_per_pixel", -1), ("um_per_pixel", "fine"), ("pitch", -1), ("pitch", "wide"), ("pitch", 0), ("unknown", 1),
            ("graph_kwargs", [1]), ("embedding", 7), ("coord_type", "polar"), ("normalize_by", "none"),
        )
    ),
    case("nowhere", "predict nowhere a.png -o out.h5ad", r"nowhere"),
    case("hub id", "predict owner/name a.png -o out.h5ad", r"owner/name"),
    case("an image for a model", "predict a.png a.png -o out.h5ad", r"a\.png"),
    case("a folder of nothing", "predict her a.png -o out.h5ad", r"her"),
    case("info on a folder of nothing", "info empty", r"empty", put("empty/a.txt", "t")),
    case("run without a model", "predict run a.png -o out.h5ad", r"run\b", drop("run/model")),
    case("run: config.yaml of text", "evaluate run", r"config\.yaml", put("run/config.yaml", "text")),
    case("run: config.yaml empty", "evaluate run", r"config\.yaml", put("run/config.yaml")),
    case("run: config.yaml in UTF-16", "evaluate run", r"config\.yaml", put("run/config.yaml", "a: 1\n".encode("utf-16"))),
    case("run: config.yaml without data", "evaluate run", r"config\.yaml.*data", put("run/config.yaml", "seed: 1\n")),
    case("run: data of text", "evaluate run", r"config\.yaml", put("run/config.yaml", "data: text\n")),
    case("run: data unknown", "evaluate run", r"config\.yaml.*unknown", put("run/config.yaml", "data: {unknown: 1}\n")),
    case("run: data set unknown", "evaluate run", r"nowhere", put("run/config.yaml", "data: {name: nowhere}\n")),
    case("run: config.yaml missing", "evaluate run", r"config\.yaml", drop("run/config.yaml")),
    case("checkpoint: empty", "info t.ckpt", r"t\.ckpt", put("t.ckpt")),
    case("checkpoint: text", "info t.ckpt", r"t\.ckpt(?!.*weights_only)", put("t.ckpt", "text\n" * 99)),
    case("checkpoint: cut", "info other.ckpt", r"other\.ckpt(?!.*weights_only)", cut("other.ckpt")),
    checkpoint("a tensor", torch.ones(3)),
    checkpoint("a list", [1, 2]),
    checkpoint("no weights", {"description": {}}),
    checkpoint("weights a list", {"description": {"format": 3}, "state_dict": [1]}),
    checkpoint("weights of numbers", {"description": {}, "state_dict": {"model.a": 1}}),
    checkpoint("weights named by numbers", {"description": {}, "state_dict": {1: torch.ones(1)}}),
    checkpoint("description a list", {"description": [1], "state_dict": {}}),
    checkpoint("an object", {"description": Path("a"), "state_dict": {}}, r"t\.ckpt(?!.*weights_only=False)"),
    checkpoint("an array", np.ones(3), r"t\.ckpt(?!.*weights_only=False)"),
    published("a tensor", torch.ones(3)),
    published("a list", [1]),
    published("nothing", {}),
    published("other weights", {"state_dict": {"a": torch.ones(1)}}),
    published("weights of numbers", {"state_dict": {"a": 1}}),
    published("weights a list", {"state_dict": [1]}),
    published("a name that is a number", {1: torch.ones(1)}),
    published("program of text", {"a": torch.ones(1)}, r"oracle|t\.ckpt", " --name oracle"),
    published("an object", {"state_dict": {"a": Path("a")}}, r"t\.ckpt"),
    case("convert: config of text", "convert other.ckpt -o out --config t.json", r"t\.json|other\.ckpt", put("t.json", "text")),
    case("convert: config deep", "convert other.ckpt -o out --config t.json", r"t\.json", put("t.json", "[" * 9000)),
    case("convert: config a list", "convert other.ckpt -o out --config t.json", r"t\.json", put("t.json", "[]")),
    case("explain: damaged", "explain model a.png --gene GENE1 --figures f", r"model\b", put(CONFIG, "text")),
    case("evaluate: damaged", "evaluate model --data.name anndata --data.root ann", r"model\b", cut(WEIGHTS)),
    case("evaluate: other genes", "evaluate model --data.name anndata --data.root ann", r"gene",
         json_file(CONFIG, lambda c: c["preprocessing"].update(genes=[f"X{i}" for i in range(6)]))),
    case("cohort: damaged", "predict model a.png -o out", r"model\b", cut(WEIGHTS)),
]  # fmt: skip


@pytest.mark.parametrize("case", rows(CASES, every=20))
def test_a_model_that_cannot_be_read_is_refused_in_one_line(
    case: Case, world: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    check(case, world, capfd)
