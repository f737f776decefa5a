from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from signal import SIGKILL
from typing import Any

import numpy as np
import pytest
from killed_runs import content, difference, run

from hist2st_pyg import Section, load_sections
from hist2st_pyg.training import TrainConfig, preset_config

ALL = "validation, windows, views, early stopping"
SMALL = "the small preset"


def config(setting: str = ALL, **run: Any) -> TrainConfig:
    """Settings in which everything random is on: dropout, augmentation, views, windows, order."""
    validation = {"val_share": 0.3} if setting == ALL else {}
    training = {"epochs": 8, "views": 2, "patience": 1} if setting == ALL else {"epochs": 3}
    return preset_config(
        "small",
        data={"n_genes": 6, "patch_size": 14, "scales": [1.0], "test": ["B1"], "window": 24, **validation},
        model={"vision_kwargs": {"channels": [4], "out_channels": 8, "dropout": 0.3}, "statistics": False},
        training={"batch_size": 2, "lr": 0.02, **training},
        **{"seed": 7, "wandb": "off", "output": "run", "accelerator": "cpu", **run},
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
    assert difference(content(Path("run")), expected) is None


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
    assert difference(content(Path("run")), expected) is None
