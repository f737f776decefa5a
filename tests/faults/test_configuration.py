"""Impossible configurations: refused before a file is read, by the key and the value."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from _helpers.faults import Case, case, check, put, rows

VALUES = """
seed=-1 seed=1.5 seed=text seed=5000000000 preset=huge preset=0 wandb=perhaps accelerator=abacus devices=-3 devices=text
precision=7-bit precision=text data.name=nowhere data.k=0 data.k=-1 data.k=1.5 data.k=many data.patch_size=0
data.patch_size=-16 data.patch_size=10000000 data.patch_size=16.5 data.patch_um=0 data.patch_um=-3 data.patch_um=.inf
data.patch_um=.nan data.patch_um=1e9 data.patch_pitch=0 data.patch_pitch=-1 data.patch_pitch=.nan data.scales=[]
data.scales=[0] data.scales=[1,-2] data.scales=[.nan] data.scales=text data.graph=web data.max_distance=0
data.max_distance=-1 data.max_distance=.nan data.prune=hard data.coord_type=polar data.stain=blue data.normalize_by=none
data.split=random data.panel=nowhere.txt data.panel=. data.n_genes=0 data.n_genes=-5 data.n_genes=1.5 data.window=0
data.window=-1 data.window=2.5 data.val_share=1 data.val_share=-0.1 data.val_share=2 data.val_share=.nan
data.val_side=0 data.val_side=-1 data.val_side=.nan data.stripes=7 data.test=[Z9] data.val=[Z9] data.train=[Z9]
data.train=[A1,A1] data.patients={"Z9":A} data.patients=text data.patients={"A1":[1,2]} data.options={"spots":2}
data.options={"spots":text} data.options={"spots":1e9} data.options={"unknown":1} data.options=text data.options=[1]
data.graph_kwargs={"radius":-1} data.graph_kwargs={"unknown":1} data.graph_kwargs=text data.embedding=nowhere
training.epochs=0 training.epochs=-1 training.epochs=1.5 training.epochs=many training.batch_size=0
training.batch_size=-1 training.accumulate_grad_batches=0 training.accumulate_grad_batches=1.5 strategy=magic
num_workers=-1 num_workers=1000 num_workers=text training.optimizer=magic training.lr=0 training.lr=-1 training.lr=.nan training.lr=.inf
training.lr=1e30 training.lr=fast training.weight_decay=-1 training.momentum=2 training.momentum=-1
training.lr_scheduler=stairs training.step_size=0 training.gamma=0 training.gamma=-1 training.warmup=2
training.warmup=-1 training.gradient_clip_val=0 training.gradient_clip_val=-1 training.reduction=max training.loss=none
training.likelihood_weight=-1 training.n_views=-1 training.n_views=1000000 training.distillation_weight=-1
training.view_augmentation.flip=2 training.view_augmentation.rotation=-1 training.patience=0 training.patience=-1
training.max_minutes=0 training.max_minutes=-1 training.augment={"flip":2} training.augment={"unknown":1}
training.augment=text model.name=oracle model.gnn=nowhere model.gnn_layers=-1 model.gnn_layers=text
model.gnn_layers=1000000 model.gnn_kwargs={"unknown":1} model.gnn_kwargs=text model.vision=eye
model.vision_kwargs={"out_channels":0} model.vision_kwargs={"out_channels":-1} model.vision_kwargs={"unknown":1}
model.vision=hf
model.vision_kwargs={"channels":[1000000000]} model.vision_kwargs=text model.position=nowhere model.likelihood=zeros
model.transformer_layers=-1 model.jk=nowhere model.n_pos=0 model.n_pos=-5 model.transformer_heads=0
model.transformer_heads=7 model.dropout=2 model.dropout=-1 unknown=1 data.unknown=1 training.unknown=1 model.unknown=1
training.max_epochs=3 training.learning_rate=1 data.val_fraction=1 data.total=all training.clip=1 training.schedule=step
"""
"""Each a key and a value that it cannot have, for tiny.yaml."""

FILES = {
    "not YAML": ("a: [1\nb: 2\n", r"c\.yaml, line 2"),
    "tab": ("data:\n\tk: 4\n", r"c\.yaml, line 2"),
    "key twice": ("seed: 1\nseed: 2\n", r"c\.yaml, line 2: duplicate key 'seed'"),
    "list": ("- 1\n", r"c\.yaml must hold keys and values, got list"),
    "number": ("7\n", r"c\.yaml must hold keys and values, got int"),
    "text": ("seed\n", r"c\.yaml must hold keys and values, got str"),
    "empty": ("", r"c\.yaml"),
    "comment alone": ("# seed: 1\n", r"c\.yaml"),
    "deep": ("a: " + "[" * 5000, r"c\.yaml"),
    "closed and deep": ("a: " + "[" * 3000 + "]" * 3000 + "\n", r"c\.yaml"),
    "python tag": ("seed: !!python/object/apply:os.getcwd []\n", r"c\.yaml, line 1"),
    "own tag": ("seed: !mine 1\n", r"c\.yaml, line 1"),
    "anchor that is not there": ("seed: *one\n", r"c\.yaml, line 1"),
    "two documents": ("seed: 1\n---\nseed: 2\n", r"c\.yaml"),
    "control characters": ("seed: \x01\n", r"c\.yaml"),
    "part left empty": ("data:\n", r"data"),
    "model left empty": ("model:\n", r"model"),
    "training left empty": ("training:\n", r"training"),
    "part that is a list": ("data: [1]\n", r"data"),
    "part that is text": ("model: hist2st\n", r"model"),
    "key that is a number": ("1: 2\n", r"1"),
    "key that is null": ("~: 2\n", r"c\.yaml|None|null"),
    "key without a value": ("seed\ndata: {k: 4}\n", r"c\.yaml, line 2"),
    "date": ("seed: 2020-01-01\n", r"seed"),
    "null": ("seed: null\n", r"seed"),
    "bool for a number": ("training: {epochs: true}\n", r"training\.epochs.*[Tt]rue"),
    "number for a list": ("data: {test: 1}\n", r"data\.test.*1"),
    "mapping for a list": ("data: {test: {A1: 1}}\n", r"data\.test"),
    "both fields of view": ("data: {patch_um: 100, patch_pitch: 2}\n", r"patch_um.*patch_pitch"),
    "config in a config": ("config: c.yaml\n", r"[Cc]onfig"),
    "a section in two parts": ("data: {val: [A1], test: [A1]}\n", r"A1"),
    "nothing left to train": ("data: {test: [A1, B1, C1]}\n", r"A1|train"),
    "a patient in two parts": ("data: {patients: {A1: X, B1: X, C1: Y}, test: [B1]}\n", r"X|A1"),
    "embedding of images": ("data: {embedding: c.yaml}\n", r"data\.embedding|c\.yaml"),
    "renamed": ("training: {max_epochs: 3}\n", r"max_epochs"),
    "class path": ("model: {gnn: {class_path: os.getcwd}}\n", r"gnn.*class_path|class_path.*gnn|trust-code"),
}
"""Files, each with what has to be said."""


def _named(pair: str) -> str:
    """The key, or a word of the value: a file, a section, a choice, an option."""
    key, _, value = pair.partition("=")
    return "|".join([re.escape(key.rpartition(".")[2]), *re.findall(r"[A-Za-z]\w+(?:\.txt)?", value)])


CASES: list[Case] = [
    *(
        case(pair, f"train tiny.yaml '--{pair}'", _named(pair))
        for pair in VALUES.split()
    ),
    *(case(f"file: {name}", "train tiny.yaml --config c.yaml", said, put("c.yaml", text)) for name, (text, said) in FILES.items()),
    case("file that is not there", "train nowhere.yaml", r"nowhere\.yaml"),
    case("folder for a file", "train her", r"her"),
    case("empty name", "train ''", r"file|config"),
    case("UTF-16", "train c.yaml", r"c\.yaml.*UTF-8", put("c.yaml", "seed: 1\n".encode("utf-16"))),
    case("Latin-1", "train c.yaml", r"c\.yaml.*UTF-8", put("c.yaml", "output: für\n".encode("latin-1"))),
    case("image for a file", "train a.png", r"a\.png"),
    case("value missing", "train tiny.yaml --seed", r"seed"),
    case("word too many", "train tiny.yaml --seed 1 2", r"2"),
    case("resume of text", "train tiny.yaml --resume perhaps", r"resume.*perhaps"),
    case("output is a file", "train tiny.yaml --output a.png", r"a\.png"),
    case("output below a file", "train tiny.yaml --output a.png/out", r"a\.png"),
    case("output is no path", "train tiny.yaml --output /proc/out", r"/proc/out"),
    case("output is empty", "train tiny.yaml --output ''", r"output"),
    case("output holds a run", "train tiny.yaml --output run", r"run", put("run/summary.json", "{}")),
    case("cache is a file", "train tiny.yaml --data.cache a.png", r"a\.png"),
    case("cache is no path", "train tiny.yaml --data.cache /proc/cache", r"/proc/cache"),
    case("root is not there", "train tiny.yaml --data.name anndata --data.root no --data.options {}", r"no\b"),
    case("root is missing", "train tiny.yaml --data.name anndata --data.options {}", r"root"),
]  # fmt: skip


@pytest.mark.parametrize("case", rows(CASES, every=24))
def test_a_configuration_that_cannot_be_meant_is_refused_in_one_line(
    case: Case, world: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    check(case, world, capfd)
