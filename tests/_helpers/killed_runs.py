"""Training runs in processes of their own, stopped by a signal at a chosen moment of the work and not of the clock.

The moments are: before and after each step of training and validation, before and after a file takes its place, and
within a checkpoint's writing, when half of it is on the disk. An uninterrupted run counts them.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from hist2st_pyg import Section, train
from hist2st_pyg.training import ExpressionTask, TrainConfig
from hist2st_pyg.training import run as training_run

HANGS = 600
"""Seconds after which a process is thought to hang."""


def run(config: TrainConfig, sections: Sequence[Section], stops: dict[int, signal.Signals] | None = None) -> list[str]:
    """Train in a process of its own; it ends by the last of the signals, or with status 0 where there are none.

    Args:
        config: The configuration.
        sections: The data set's sections.
        stops: The signals that the process gets, by moment.

    Returns:
        The moments it came by.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])  # so that only the first process has to import torch
    process = context.Process(target=_run, args=(config, list(sections), stops or {}, os.getcwd(), dict(os.environ)))
    process.start()
    process.join(HANGS)
    last = list((stops or {}).values())[-1:]
    expected = 0 if not last else -signal.SIGKILL if last == [signal.SIGKILL] else 128 + last[0]
    assert process.exitcode == expected
    return Path("moments").read_text().splitlines()


def _run(
    config: TrainConfig,
    sections: list[Section],
    stops: dict[int, signal.Signals],
    folder: str,
    environment: dict[str, str],
) -> None:
    os.chdir(folder)
    os.environ.update(environment)
    torch.set_num_threads(1)
    passed = 0
    with Path("moments").open("w") as moments:

        def moment(name: str) -> None:
            nonlocal passed
            print(name, file=moments, flush=True)
            passed += 1
            if passed - 1 in stops:
                os.kill(os.getpid(), stops[passed - 1])

        def around(call: Callable[..., Any], name: Callable[..., str]) -> Callable[..., Any]:
            def moments(*args: Any, **kwargs: Any) -> Any:
                moment(f"before {name(*args)}")
                result = call(*args, **kwargs)
                moment(f"after {name(*args)}")
                return result

            return moments

        def save_in_halves(value: Any, file: Any) -> None:
            buffer = io.BytesIO()
            save(value, buffer)
            content = buffer.getvalue()
            file.write(content[: len(content) // 2])
            file.flush()
            moment("half a checkpoint")
            file.write(content[len(content) // 2 :])

        save = torch.save
        torch.save = save_in_halves
        for hook in ("training_step", "validation_step"):
            setattr(ExpressionTask, hook, around(getattr(ExpressionTask, hook), _step(hook)))
        os.replace = around(os.replace, lambda _, target: f"replace {Path(target).name}")
        os.link = around(os.link, lambda *_: "link")
        # The slowest part, and of what is compared.
        training_run.draw_training = lambda *_: {}
        train(config, sections)


def _step(hook: str) -> Callable[..., str]:
    return lambda task, _, index: f"{hook} {task.current_epoch}.{index}"


def content(folder: Path) -> dict[str, Any]:
    """What a run folder holds, but for times, its own name and ``resume``."""
    files: dict[str, Any] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = str(path.relative_to(folder))
        if path.suffix == ".ckpt":
            files[name] = torch.load(path, weights_only=True)
        elif name == "config.yaml":
            lines = path.read_text().splitlines()
            files[name] = [line for line in lines if not line.startswith(("output:", "resume:"))]
        elif name == "summary.json":
            files[name] = json.loads(path.read_text())
            del files[name]["seconds"], files[name]["config"]
        else:
            files[name] = path.read_bytes()
    return files


def difference(a: Any, b: Any, where: str = "") -> str | None:
    """The first place in which two contents differ by a bit; None where there is none."""
    if type(a) is not type(b):
        return f"{where}: {type(a)}, {type(b)}"
    if isinstance(a, torch.Tensor):
        return None if a.dtype == b.dtype and torch.equal(a, b) else f"{where}: {a}, {b}"
    if isinstance(a, dict):
        if list(a) != list(b):
            return f"{where}: {list(a)}, {list(b)}"
        pairs = [(a[name], b[name], f"{where}/{name}") for name in a]
    elif isinstance(a, list | tuple):
        if len(a) != len(b):
            return f"{where}: {len(a)} items, {len(b)}"
        pairs = [(x, y, f"{where}/{i}") for i, (x, y) in enumerate(zip(a, b, strict=True))]
    else:
        return None if a == b else f"{where}: {a!r}, {b!r}"[:500]
    return next((found for pair in pairs if (found := difference(*pair)) is not None), None)
