from __future__ import annotations

import logging

import pytest

from hist2st_pyg.utils.warn_on_error import warn_on_error

logger = logging.getLogger(__name__)


def test_an_error_is_a_warning_of_one_line_and_what_follows_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    with warn_on_error(logger, "The map could not be drawn"):
        raise RuntimeError("first line\nsecond line")
    with warn_on_error(logger, "Nothing"):
        raise MemoryError
    assert caplog.messages == [
        "The map could not be drawn: RuntimeError: first line second line",
        "Nothing: MemoryError",
    ]


def test_a_signal_is_no_error() -> None:
    with pytest.raises(KeyboardInterrupt), warn_on_error(logger, "The map could not be drawn"):
        raise KeyboardInterrupt
