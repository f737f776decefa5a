"""What a training tells while it runs, and what libraries would tell."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from hist2st_pyg import Section, train
from hist2st_pyg.cli import main
from hist2st_pyg.training import fitting, preset_config, progress

COMMAND = [
    "train",
    "--data.options={patients: 2, sections_per_patient: 1, spots: 48}",
    "--data.n_genes=8",
    "--data.patch_size=28",
    "--model.vision_kwargs={channels: [8], out_channels: 16}",
    "--training.epochs=3",
]
SCRIPT = """
import sys
from hist2st_pyg.cli import main
for options in (["--wandb=off"], ["--wandb=offline"], ["--wandb=offline", "-q"]):
    assert main([*sys.argv[1:], *options]) == 0
    sys.stdout.flush()
    print("end", file=sys.stderr, flush=True)
"""
OWN = ["The targets are denoised", "epoch 1/3", "epoch 2/3", "epoch 3/3"]


def test_a_training_tells_what_concerns_it() -> None:
    """Without a terminal; of PyTorch Geometric's deprecations nothing either, which newer torch shows by default."""
    shown = "always:`torch.jit"
    done = subprocess.run(
        [sys.executable, "-W", shown, "-c", SCRIPT, *COMMAND], capture_output=True, text=True, check=True
    )
    expected = [
        *OWN,
        "end",
        OWN[0],
        "wandb is offline; `wandb sync runs/hist2st/version_1/wandb/",
        *OWN[1:],
        "end",
        "end",
    ]
    lines = done.stderr.splitlines()
    assert len(lines) == len(expected), done.stderr
    assert all(line.startswith(start) for line, start in zip(lines, expected, strict=True))
    runs = [f"runs/hist2st/version_{n}" for n in range(3)]
    assert done.stdout == "".join(f"The run is in {run}, the model in {run}/model.\n" for run in runs)


def test_verbose_tells_what_libraries_say(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(logging.getLogger("pytorch_lightning"), "handlers", [logging.StreamHandler(sys.stderr)])
        assert main([*COMMAND, "--wandb=off", "-v"]) == 0
    assert "GPU available" in capfd.readouterr().err
    assert logging.getLogger("hist2st_pyg").level == logging.NOTSET


class Bar:
    """A bar that notes what it is told."""

    def __init__(self, **options: object) -> None:
        self.options, self.n, self.said = options, options["initial"], list[str]()
        self.closed = False

    def set_description(self, text: str, refresh: bool) -> None:
        self.said.append(text)

    def set_postfix(self, values: dict[str, str], refresh: bool = True) -> None:
        self.said.append(", ".join(values))

    def update(self) -> None:
        self.n += 1  # type: ignore[operator]

    def close(self) -> None:
        self.closed = True


def test_one_bar_is_over_all_epochs_and_goes_on_in_a_resumed_run(
    cohort: list[Section], monkeypatch: pytest.MonkeyPatch
) -> None:
    bars: list[Bar] = []
    monkeypatch.setattr(fitting, "shows_progress", lambda: True)
    monkeypatch.setattr(progress, "tqdm", lambda **options: bars.append(Bar(**options)) or bars[-1])
    data = {"n_genes": 8, "patch_size": 28, "val_share": 0.3}
    model = {"vision_kwargs": {"channels": [8], "out_channels": 16}}
    for epochs, resume in ((2, False), (3, True)):
        training = {"epochs": epochs, "lr_scheduler": "constant"}
        train(
            preset_config(data=data, model=model, training=training, wandb="off", output="run", resume=resume), cohort
        )
    first, second = bars
    batches = first.options["total"] // 2  # type: ignore[operator]
    assert (first.options["initial"], first.n) == (0, 2 * batches)
    assert (second.options["total"], second.options["initial"], second.n) == (3 * batches, 2 * batches, 3 * batches)
    assert [said for said in first.said if said.startswith("epoch")] == ["epoch 1/2", "epoch 2/2"]
    assert "train/loss, val/pcc" in first.said
    assert first.closed
    assert second.closed


def test_a_bar_is_drawn_where_it_can_be_and_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert progress.shows_progress()
    monkeypatch.setattr(logging.getLogger("hist2st_pyg"), "level", logging.WARNING)
    assert not progress.shows_progress()
