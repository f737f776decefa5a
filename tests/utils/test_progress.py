"""Progress bars."""

from __future__ import annotations

import logging

import pytest

from hist2st_pyg.utils import progress


@pytest.mark.parametrize(("level", "disabled"), [(logging.NOTSET, False), (logging.WARNING, True)])
def test_bars_are_left_out_where_it_is_to_be_quiet(level: int, disabled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress.PACKAGE, "level", level)
    bar = progress.tqdm(range(3), disable=False)
    assert bar.disable is disabled
    bar.close()
