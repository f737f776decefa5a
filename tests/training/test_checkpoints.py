from __future__ import annotations

import errno
import io
import os
import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hist2st_pyg.training.checkpoints import BEST, LAST, AtomicCheckpointIO, link_best, random_state, set_random_state


def draws() -> list[float]:
    return [*torch.rand(3).tolist(), *torch.randn(3).tolist(), *np.random.normal(size=3), random.gauss(0, 1)]  # noqa: NPY002


def test_random_states_are_plain_and_go_on_where_they_were() -> None:
    cpu = torch.device("cpu")
    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    torch.manual_seed(3)
    draws()  # a normal draw of numpy and of Python keeps another for the next
    torch.save(random_state(cpu), "state")
    expected = draws()
    assert draws() != expected
    set_random_state(torch.load("state", weights_only=True), cpu)
    assert draws() == expected


def test_a_checkpoint_that_cannot_be_written_leaves_the_former(monkeypatch: pytest.MonkeyPatch) -> None:
    writer = AtomicCheckpointIO()
    writer.save_checkpoint({"epoch": 1}, "run/last.ckpt")
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")  # another file system, say
    writer.save_checkpoint({"epoch": 2}, "run/last.ckpt")

    with monkeypatch.context() as full:
        full.setattr(Path, "open", lambda path, mode: open_on_a_full_disk(path))
        with pytest.raises(
            OSError, match=r"run/last\.ckpt cannot be written \(.*No space left on device\); the former"
        ):
            writer.save_checkpoint({"epoch": 3, "weights": torch.zeros(9999)}, "run/last.ckpt")
    assert torch.load("run/last.ckpt", weights_only=True) == {"epoch": 2}
    assert os.listdir("run") == ["last.ckpt"]


def open_on_a_full_disk(path: Path) -> io.BufferedWriter:
    class Full(io.FileIO):
        def write(self, content: Any) -> int:
            if self.tell() + len(content) > 5000:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(content)

    return io.BufferedWriter(Full(path, "wb"), 1)


@pytest.mark.parametrize("links", [True, False])
def test_the_best_stays_when_the_last_goes_on(links: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not links:

        def none(*args: Any) -> None:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

        monkeypatch.setattr(os, "link", none)
    writer, folder = AtomicCheckpointIO(), Path("run")
    for best in (1, 2):
        writer.save_checkpoint({"epoch": best}, folder / LAST)
        link_best(folder)
        link_best(folder)  # again, as a resumed run does
        assert (folder / BEST).samefile(folder / LAST) == links
        writer.save_checkpoint({"epoch": 9}, folder / LAST)
        assert torch.load(folder / BEST, weights_only=True) == {"epoch": best}
    assert sorted(os.listdir(folder)) == [BEST, LAST]
