from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGTERM, SIGUSR1, raise_signal
from typing import Any

import numpy as np
import pytest
import torch
from _helpers.killed_runs import content, difference, run

import hist2st_pyg.training
from hist2st_pyg import Section, load_model, load_sections, train
from hist2st_pyg.cli import main
from hist2st_pyg.training import ExpressionTask, TrainConfig, preset_config
from hist2st_pyg.training import run as training_run
from hist2st_pyg.utils.runtime import preserve_num_threads

ALL = "validation, windows, views, early stopping"
SMALL = "the small preset"


def config(setting: str = ALL, **run: Any) -> TrainConfig:
    """Settings in which everything random is on: dropout, augmentation, views, windows, order."""
    validation = {"val_share": 0.3} if setting == ALL else {}
    training = {"epochs": 8, "n_views": 2, "patience": 2} if setting == ALL else {"epochs": 3}
    return preset_config(
        "small",
        data={"n_genes": 6, "patch_size": 14, "scales": [1.0], "test": ["B1"], "window": 24, **validation},
        model={
            "vision_kwargs": {"channels": [4], "out_channels": 8, "dropout": 0.3},
            "color_stream": False,
            "kernel_stream": setting == SMALL,
        },
        training={"batch_size": 2, "lr": 0.02, **training},
        **{"seed": 9, "wandb": "off", "output": "run", "accelerator": "cpu", **run},
    )


@pytest.fixture(scope="module")
def sections() -> list[Section]:
    return load_sections("synthetic", names=["A1", "A2", "B1"], patients=2, spots=48, genes=12, noise_genes=2)


@pytest.fixture(scope="module")
def uninterrupted(
    sections: list[Section], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple[list[str], dict[str, Any]]]:
    """The moments and the folder of a run that nothing stopped, by setting."""
    done: dict[str, tuple[list[str], dict[str, Any]]] = {}

    def of(setting: str) -> tuple[list[str], dict[str, Any]]:
        if setting not in done:
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(tmp_path_factory.mktemp("uninterrupted"))
                moments = run(config(setting), sections)
                done[setting] = moments, content(Path("run"))
        return done[setting]

    return of


Uninterrupted = Callable[[str], tuple[list[str], dict[str, Any]]]


def test_the_setting_does_what_it_is_for(uninterrupted: Uninterrupted) -> None:
    moments, files = uninterrupted(ALL)
    summary = files["summary.json"]
    chosen, epochs = summary["chosen_epoch"], summary["epochs"]
    assert 0 < chosen < epochs - 1 < 7  # neither the first nor the last, and stopped early
    assert files["best.ckpt"]["epoch"] == chosen
    assert files["last.ckpt"]["epoch"] == epochs - 1
    assert moments.count("half a checkpoint") == epochs
    assert moments.count("before link") >= 3
    assert len([name for name in moments if name.startswith("before training_step")]) == 2 * epochs


@pytest.mark.parametrize("moment", ["after training_step 3.0", "half a checkpoint 3", "before link 2"])
def test_a_killed_and_resumed_run_is_the_uninterrupted_one(
    moment: str, sections: list[Section], uninterrupted: Uninterrupted
) -> None:
    moments, expected = uninterrupted(ALL)
    name, _, which = moment.rpartition(" ") if "." not in moment else (moment, "", "0")
    at = [i for i, other in enumerate(moments) if other == name][int(which)]
    run(config(), sections, {at: SIGKILL})
    assert not Path("run/summary.json").exists()
    run(config(resume=True), sections)
    found = difference(content(Path("run")), expected)
    assert found is None


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_wherever_it_is_killed(seed: int, sections: list[Section], uninterrupted: Uninterrupted) -> None:
    setting = (ALL, SMALL)[seed % 2]
    moments, expected = uninterrupted(setting)
    rng = np.random.default_rng(seed)
    at = int(rng.integers(len(moments)))
    run(config(setting), sections, {at: SIGKILL})
    print(f"{setting}: killed at moment {at}, {moments[at]}")
    if seed % 4 < 2:  # once more; the resumed run has at least the moments from there to the end
        again = int(rng.integers(len(moments) - at))
        run(config(setting, resume=True), sections, {again: SIGKILL})
        print(f"killed again at its moment {again}")
    run(config(setting, resume=True), sections)
    found = difference(content(Path("run")), expected)
    assert found is None


def break_off(config: TrainConfig, sections: list[Section], epoch: int, stop: Callable[[], None]) -> None:
    """Train in this process, and stop in an epoch."""
    step = ExpressionTask.training_step

    def stopping(task: ExpressionTask, batch: Any, index: int) -> Any:
        if task.current_epoch == epoch:
            stop()
        return step(task, batch, index)

    with pytest.MonkeyPatch.context() as patch, preserve_num_threads():
        torch.set_num_threads(1)  # as in the processes that it is compared with, whatever a test before has set
        patch.setattr(ExpressionTask, "training_step", stopping)
        train(config, sections)


def fail() -> None:
    raise RuntimeError("the power went off")


@pytest.fixture
def broken_off(sections: list[Section], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run that broke off in its fifth epoch; its best is the third."""
    monkeypatch.setattr(training_run, "draw_training", lambda *_: {})
    with pytest.raises(RuntimeError, match="the power went off"):
        break_off(config(), sections, 4, fail)
    return Path("run")


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock")
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def test_last_is_the_last_epoch_and_best_the_best(broken_off: Path) -> None:
    last, best = (torch.load(broken_off / name, weights_only=True) for name in ("last.ckpt", "best.ckpt"))
    assert (last["epoch"], best["epoch"]) == (3, 2)
    assert set(last["random_states"][0]) == {"torch", "cuda", "numpy", "python"}
    assert load_model(broken_off / "last.ckpt").preprocessing == load_model(broken_off / "best.ckpt").preprocessing
    rows = list(csv.DictReader((broken_off / "metrics.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows if row["val/pcc"]] == ["0", "1", "2", "3"]


def test_a_moved_folder_is_the_same_run(
    broken_off: Path, sections: list[Section], uninterrupted: Uninterrupted
) -> None:
    shutil.copytree(broken_off, "elsewhere/moved")  # the link becomes a copy
    shutil.rmtree(broken_off)
    run(config(output="elsewhere/moved", resume=True), sections)
    found = difference(content(Path("elsewhere/moved")), uninterrupted(ALL)[1])
    assert found is None


def test_a_run_that_has_ended_is_not_touched(
    broken_off: Path, sections: list[Section], caplog: pytest.LogCaptureFixture
) -> None:
    train(config(resume=True), sections)
    before = snapshot(broken_off)
    caplog.set_level("INFO")
    for again in (config(resume=True), config(resume=True, wandb="disabled", accelerator="auto")):
        assert train(again) == broken_off  # nor are sections read
    assert caplog.text.count("The run in run is finished; nothing to do.") == 2
    assert snapshot(broken_off) == before
    with pytest.raises(ValueError, match=r"config\.yaml is of another run: seed is 9 there and 8 now"):
        train(config(resume=True, seed=8))
    assert snapshot(broken_off) == before


def test_a_fitted_model_s_run_that_has_ended_is_not_touched(sections: list[Section]) -> None:
    values = preset_config(
        "small", {"n_genes": 6, "patch_size": 14}, {"name": "mean"}, wandb="off", output="run", resume=True
    )
    before = snapshot(train(values, sections))
    train(values, sections)
    assert snapshot(Path("run")) == before


def with_training(**values: Any) -> TrainConfig:
    return replace(config(resume=True), training=replace(config().training, **values))


def test_another_run_is_not_gone_on_with(broken_off: Path, sections: list[Section]) -> None:
    before = snapshot(broken_off)
    given = config(resume=True)
    others = {
        r"training\.lr is 0\.02 there and 0\.1 now": with_training(lr=0.1),
        r"training\.epochs is 8 there and 9 now": with_training(epochs=9),  # the cosine looks ahead
        r"training\.augment\.jitter is 0\.03 there and None now": with_training(augment=None),
        r"data\.window is 24 there and None now": replace(given, data=replace(given.data, window=None)),
        r"model\.gnn_layers is 2 there and 3 now": replace(given, model={**given.model, "gnn_layers": 3}),
        "precision is '32-true' there and '64-true' now": replace(given, precision="64-true"),
    }
    for message, other in others.items():
        with pytest.raises(ValueError, match=rf"run/config\.yaml is of another run: .*{message}.*or another output"):
            train(other, sections)
    others = load_sections("synthetic", names=["A1", "A2", "B1"], patients=2, spots=48, genes=9, noise_genes=0)
    with pytest.raises(ValueError, match=r"last\.ckpt cannot be resumed: its preprocessing differs"):
        train(given, others)
    assert snapshot(broken_off) == before


def test_a_folder_that_is_not_whole_is_refused(broken_off: Path, sections: list[Section]) -> None:
    def refused(message: str) -> None:
        with pytest.raises((ValueError, FileNotFoundError), match=message):
            train(config(resume=True), sections)

    shutil.copytree(broken_off, "kept")
    shutil.copy("kept/last.ckpt", "run/best.ckpt")
    refused(r"run/best\.ckpt is not of epoch 2, the best one according to last\.ckpt")
    Path("run/best.ckpt").unlink()
    refused(r"run/best\.ckpt is not of epoch 2")
    shutil.copy("kept/best.ckpt", "run/best.ckpt")
    for text in (None, "epoch\nx\n", "step\n3\n"):
        Path("run/metrics.csv").unlink() if text is None else Path("run/metrics.csv").write_text(text)
        refused(r"run/metrics\.csv, the metrics of the finished epochs, cannot be read")
        assert Path("run/metrics.csv").exists() == (text is not None)  # what there is stays for who wants to mend it
    shutil.copy("kept/metrics.csv", "run/metrics.csv")
    checkpoint = torch.load("run/last.ckpt", weights_only=True)
    del checkpoint["random_states"]
    torch.save(checkpoint, "run/last.ckpt")
    refused(r"run/last\.ckpt lacks the state of the random generators")
    Path("run/config.yaml").unlink()
    refused(r"run holds a run without its config\.yaml")


def test_leftovers_of_killed_processes_are_removed(broken_off: Path, sections: list[Section]) -> None:
    mine = [Path("run/notes.txt"), Path("run/.last.mine.ckpt")]
    left = [
        Path("run", name) for name in (".last.ckpt.unfinished-abc_1/a", "hpc_ckpt_1.ckpt", "model/.x.unfinished-x/a")
    ]
    left.append(Path("run/figures/.curves.png.unfinished-abc_1/a"))
    for path in mine + left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    train(config(resume=True), sections)
    assert [path.exists() for path in mine + left] == [True, True, False, False, False, False]
    assert not Path("run/model/.x.unfinished-x").exists()


def test_weights_that_are_not_finite_are_not_kept(broken_off: Path, sections: list[Section]) -> None:
    before = (broken_off / "last.ckpt").read_bytes()
    end = ExpressionTask.on_validation_epoch_end

    def spoil(task: ExpressionTask) -> None:
        end(task)
        next(task.model.parameters()).data.fill_(float("nan"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ExpressionTask, "on_validation_epoch_end", spoil)
        with pytest.raises(ValueError, match=r"The weight model\.streams\.0\..* is not finite at the end of epoch 4"):
            train(config(resume=True), sections)
    assert (broken_off / "last.ckpt").read_bytes() == before
    assert not (broken_off / "summary.json").exists()


def test_longer_training_is_the_longer_run(sections: list[Section], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_run, "draw_training", lambda *_: {})

    def of(epochs: int, output: str, **run: Any) -> TrainConfig:
        given = config(SMALL, output=output, **run)
        return replace(given, training=replace(given.training, epochs=epochs, lr_scheduler="step"))

    train(of(1, "run"), sections)
    train(of(2, "run", resume=True), sections)
    train(of(2, "longer"), sections)
    longer, expected = content(Path("run")), content(Path("longer"))
    assert [line for line in longer.pop("config.yaml") if "epochs" in line]
    expected.pop("config.yaml")
    found = difference(longer, expected)
    assert found is None
    with pytest.raises(ValueError, match=r"last\.ckpt already has 2 epochs, more than training\.epochs=1"):
        train(of(1, "run", resume=True), sections)


def test_the_time_limit_ends_with_an_epoch(sections: list[Section], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_run, "draw_training", lambda *_: {})
    given = config(SMALL)
    with pytest.raises(ValueError, match=r"training\.max_minutes=1e-12 ends before the first epoch"):
        train(replace(given, training=replace(given.training, max_minutes=1e-12)), sections)
    assert not Path("run/model").exists()
    train(replace(given, training=replace(given.training, max_minutes=1e-6)), sections)
    summary = json.loads(Path("run/summary.json").read_text())
    steps = len([1 for row in csv.DictReader(Path("run/metrics.csv").read_text().splitlines()) if row["train/loss"]])
    assert (summary["epochs"], summary["chosen_epoch"], summary["steps"]) == (1, 0, steps)
    assert steps == 2
    train(config(SMALL, resume=True), sections)
    train(config(SMALL, output="unlimited"), sections)
    for name in ("metrics.csv", "model/model.safetensors"):
        assert Path("run", name).read_bytes() == Path("unlimited", name).read_bytes()


@pytest.mark.parametrize("epoch", [0, 2])
def test_signals_end_the_command_and_say_how_to_go_on(
    epoch: int, sections: list[Section], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(training_run, "draw_training", lambda *_: {})
    how = "No epoch was finished, so the next call starts from the beginning."
    if epoch:
        how = "run/last.ckpt holds the last finished epoch; --resume true (resume=True) continues from it."
    command = ["train", "--output", "run"]

    def training(signal: int) -> None:
        monkeypatch.setattr(
            hist2st_pyg.training, "train",
            lambda _: break_off(config(resume=True), sections, epoch, lambda: raise_signal(signal)),
        )  # fmt: skip

    training(SIGTERM)
    with pytest.raises(SystemExit) as stop:
        main(command)
    assert stop.value.code == 143
    assert f"Training was stopped by SIGTERM. {how}" in caplog.text
    training(SIGINT)
    assert main(command) == 130
    assert f"hist2st train: Training was interrupted. {how}" in capsys.readouterr().err
    assert Path("run/last.ckpt").exists() == bool(epoch)
    assert not Path("run/model").exists()


@pytest.mark.slow
def test_slurm_queues_the_job_again_and_it_goes_on(
    sections: list[Section], uninterrupted: Uninterrupted, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments, expected = uninterrupted(ALL)
    Path("bin").mkdir()
    Path("bin/scontrol").write_text('#!/bin/sh\necho "$@" > scontrol.log\n')
    Path("bin/scontrol").chmod(0o755)
    job = {"NTASKS": 1, "JOB_ID": 77, "JOB_NAME": "job", "PROCID": 0, "LOCALID": 0, "NODEID": 0, "NNODES": 1}
    for name, value in job.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    monkeypatch.setenv("PATH", f"{Path('bin').resolve()}:{os.environ['PATH']}")
    at = moments.index("before training_step 1.1")
    run(config(), sections, {at: SIGUSR1, at + 4: SIGTERM})  # the signal's checkpoint has three moments of its own
    assert Path("scontrol.log").read_text() == "requeue 77\n"
    assert Path("run/hpc_ckpt_1.ckpt").exists()
    assert Path("run/last.ckpt").exists()
    run(config(resume=True), sections)
    found = difference(content(Path("run")), expected)
    assert found is None
