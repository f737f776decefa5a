from __future__ import annotations

import logging

import pytest

from hist2st_pyg.utils.only_warns import only_warns

logger = logging.getLogger(__name__)


def test_an_error_is_a_warning_of_one_line_and_what_follows_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    with only_warns(logger, "The map could not be drawn"):
        raise RuntimeError("first line\nsecond line")
    with only_warns(logger, "Nothing"):
        raise MemoryError
    assert caplog.messages == [
        "The map could not be drawn: RuntimeError: first line second line",
        "Nothing: MemoryError",
    ]


def test_a_signal_is_no_error() -> None:
    with pytest.raises(KeyboardInterrupt), only_warns(logger, "The map could not be drawn"):
        raise KeyboardInterrupt
