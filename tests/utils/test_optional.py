"""A missing package is named with the extra that installs it."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from hist2st_pyg.utils.optional import installed_version, require_extra


def test_a_missing_package_is_told_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(
            ImportError, match=r"^The executor needs Ray \(.*\): pip install 'hist2st_pyg\[ray\]'\.$"
        ) as error,
        require_extra("The executor", "Ray", "ray"),
    ):
        import ray  # noqa: F401
    assert error.value.name == "ray"
    assert isinstance(error.value.__cause__, ImportError)


def test_what_is_there_is_imported_and_other_errors_pass() -> None:
    with require_extra("This", "json", "none"):
        import json
    assert json.loads("1") == 1
    with pytest.raises(KeyError, match="gene"), require_extra("This", "json", "none"):
        raise KeyError("gene")


def test_an_installed_version_is_the_package_s_own() -> None:
    assert installed_version("numpy") == np.__version__
    assert installed_version("no-such-package-is-installed") is None
