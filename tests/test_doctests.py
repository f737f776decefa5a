"""The examples in the docstrings run and print what they show."""

from __future__ import annotations

import doctest
import inspect
from importlib import import_module
from pathlib import Path

import pytest

import hist2st_pyg

PACKAGE = Path(hist2st_pyg.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in PACKAGE.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


def test_modules_with_examples_are_found() -> None:
    assert {"hist2st_pyg.losses", "hist2st_pyg.nn.gnn", "hist2st_pyg.section"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_a_module(name: str) -> None:
    module = import_module(name)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for test in doctest.DocTestFinder().find(module, name):
        result = runner.run(test)
        assert not result.failed, f"{test.name}: {result.failed} of {result.attempted} examples fail, see above"
    assert runner.tries


def test_every_public_function_and_class_has_an_example() -> None:
    public = {name: getattr(hist2st_pyg, name) for name in hist2st_pyg.__all__}
    assert [n for n, value in public.items() if callable(value) and ">>>" not in (inspect.getdoc(value) or "")] == []
