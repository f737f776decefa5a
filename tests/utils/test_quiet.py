from __future__ import annotations

import logging
import warnings

import pytest

from hist2st_pyg.utils import progress
from hist2st_pyg.utils.quiet import without_lines, without_warnings


def test_lines_below_the_level_are_left_out_and_only_inside(caplog: pytest.LogCaptureFixture) -> None:
    library = logging.getLogger("some_library")
    library.setLevel(logging.INFO)
    with without_lines("some_library"):
        library.info("inside")
        library.warning("a warning")
    library.info("outside")
    assert caplog.messages == ["a warning", "outside"]


def test_only_the_named_warnings_are_left_out() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with without_warnings("known"):
            warnings.warn("known to be of no use", stacklevel=1)
            warnings.warn("another", stacklevel=1)
        warnings.warn("known outside", stacklevel=1)
    assert [str(warning.message) for warning in seen] == ["another", "known outside"]


def test_nothing_is_left_out_where_all_is_asked_for(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress.PACKAGE, "level", logging.DEBUG)
    library = logging.getLogger("some_library")
    library.setLevel(logging.INFO)
    with without_lines("some_library"):
        library.info("inside")
    with without_warnings("known"), pytest.warns(UserWarning, match="known"):
        warnings.warn("known", stacklevel=1)
    assert caplog.messages == ["inside"]
