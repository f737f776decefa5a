"""Impossible values are refused where a configuration is made, from Python and from the command line."""

from __future__ import annotations

import math
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from hist2st_pyg.cli import main
from hist2st_pyg.training import AugmentConfig, DataConfig, TrainingConfig, preset_config

AT_LEAST = {
    "data": {"n_genes": 1, "patch_size": 1, "k": 1, "window": 1},
    "training": {
        "epochs": 1, "batch_size": 1, "accumulate_grad_batches": 1, "weight_decay": 0, "step_size": 1,
        "likelihood_weight": 0, "n_views": 0,
        "distillation_weight": 0, "patience": 1, "view_augmentation.rotation": 0,
        "view_augmentation.jitter": 0, "augment.rotation": 0, "augment.jitter": 0,
    },
}  # fmt: skip
ABOVE_0 = {
    "data": ["patch_pitch", "scales", "max_distance", "val_side"],
    "training": ["lr", "gamma", "gradient_clip_val", "max_minutes"],
}
SHARES = {
    "training": [
        "momentum",
        "warmup",
        "view_augmentation.grayscale",
        "view_augmentation.flip",
        "augment.grayscale",
        "augment.flip",
    ]
}

WRONG: list[tuple[str, str, Any, str]] = [
    *((part, key, low - 1, f"at least {low}") for part, keys in AT_LEAST.items() for key, low in keys.items()),
    *((part, key, value, "above 0") for part, keys in ABOVE_0.items() for key in keys for value in (0, -1)),
    *((part, key, value, "from 0 to 1") for part, keys in SHARES.items() for key in keys for value in (-0.1, 1.1)),
    *(("data", "patch_um", value, "from 0.1 to 100000") for value in (0, -1, 1e12)),
    *(("data", "val_share", value, "at least 0 and below 1") for value in (-0.1, 1, 2)),
    *(("training", "lr", value, "above 0") for value in (math.nan, math.inf)),
]
RIGHT: list[tuple[str, str, Any]] = [
    *((part, key, low) for part, keys in AT_LEAST.items() for key, low in keys.items()),
    *((part, key, 0.5) for part, keys in ABOVE_0.items() for key in keys if key != "scales"),
    *((part, key, value) for part, keys in SHARES.items() for key in keys for value in (0, 1)),
    *(("data", "val_share", value) for value in (0, 0.9)),
]


def config(part: str, key: str, value: Any) -> Any:
    """A configuration with one value of its own."""
    first, _, rest = key.partition(".")
    value = [value] if key == "scales" else value
    return preset_config("paper", **{part: {first: {rest: value} if rest else value}})


@pytest.mark.parametrize(("part", "key", "value", "text"), WRONG)
def test_what_cannot_be_meant_names_key_and_value(part: str, key: str, value: Any, text: str) -> None:
    with pytest.raises(ValueError, match=rf"^{part}\.{key} must be {text}, got {value!r}\.$"):
        config(part, key, value)


@pytest.mark.parametrize(("part", "key", "value"), RIGHT)
def test_the_bounds_themselves_are_accepted(part: str, key: str, value: Any) -> None:
    first, *rest = key.split(".")
    found = getattr(getattr(config(part, key, value), part), first)
    assert (getattr(found, *rest) if rest else found) == value


def test_every_number_has_a_bound() -> None:
    """A new number of the configuration is bounded, or stands in this list."""
    bounded = {key for keys in (*AT_LEAST.values(), *ABOVE_0.values(), *SHARES.values()) for key in keys}
    bounded = {key.rpartition(".")[2] for key in bounded} | {"val_share", "patch_um"}
    numbers = {
        field.name
        for kind in (DataConfig, TrainingConfig, AugmentConfig)
        for field in fields(kind)
        if re.match(r"(tuple\[)?(int|float)", str(field.type))
    }
    assert numbers == bounded


@pytest.mark.parametrize(
    ("part", "key", "value", "message"),
    [
        ("training", "epochs", 2.5, r"training\.epochs must be a whole number, got 2\.5\."),
        ("training", "epochs", True, r"training\.epochs must be a whole number, got True\."),
        ("training", "epochs", None, r"training\.epochs must be a whole number, got None\."),
        ("training", "lr", "1e-3", r"training\.lr must be a number, got '1e-3'\."),
        ("data", "max_distance", "far", r"data\.max_distance must be a number, got 'far'\."),
    ],
)
def test_what_is_no_number(part: str, key: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(part, key, value)


def test_the_others() -> None:
    with pytest.raises(ValueError, match=r"data\.scales must hold at least one number, got \(\)\."):
        preset_config(data={"scales": []})
    with pytest.raises(ValueError, match=r"data\.scales must be above 0, got -3\.5\."):
        preset_config(data={"scales": [1.0, -3.5]})
    with pytest.raises(ValueError, match=r"^seed must be from 0 to 4294967295, got -1\.$"):
        preset_config(seed=-1)
    assert preset_config(training={"augment": None, "patience": None}, data={"max_distance": None}) is not None


def test_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    for key, value in (("data.max_distance", "-1.0"), ("training.warmup", "2.0"), ("training.patience", "-1")):
        assert main(["train", f"--{key}={value}", "--output", "x"]) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"hist2st train: {key} must be ")
        assert error.endswith(f", got {value}.\n")


def test_data_is_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("emb").mkdir()
    assert DataConfig().with_absolute_paths() == DataConfig()
    given = DataConfig(root="d", cache="c", panel="genes.txt", embedding="emb").with_absolute_paths()
    root = str(tmp_path)
    expected = [f"{root}/d", f"{root}/c", f"{root}/genes.txt", f"{root}/emb"]
    assert [given.root, given.cache, given.panel, given.embedding] == expected
    assert given.with_absolute_paths() == given
    options = {"image": {"A": "emb", "B": "hires"}, "labels": "emb", "counts_layer": "emb"}
    changed = DataConfig(name="visium", options=options).with_absolute_paths().options
    assert changed == {"image": {"A": expected[3], "B": "hires"}, "labels": expected[3], "counts_layer": "emb"}
    assert DataConfig(embedding="X_uni", panel="paper").with_absolute_paths().embedding == "X_uni"  # a key of obsm
