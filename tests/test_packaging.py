from __future__ import annotations

import ast
import configparser
import os
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import hist2st_pyg

ROOT = Path(__file__).parents[1]


def setup_cfg() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read_string((ROOT / "setup.cfg").read_text(encoding="utf-8"))
    return config


def requirements(section: str, key: str) -> list[Requirement]:
    return [Requirement(line) for line in setup_cfg()[section][key].splitlines() if line]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


INSTALL = requirements("options", "install_requires")
EXTRAS = {key: requirements("options.extras_require", key) for key in setup_cfg()["options.extras_require"]}
OTHERS = [r for group in EXTRAS.values() for r in group if canonicalize_name(r.name) != "hist2st-pyg"]


def test_pyproject_holds_only_the_build_system_and_tool_tables() -> None:
    assert set(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))) == {"build-system", "tool"}


def test_constraints_hold_plain_pins_only() -> None:
    lines = [x for x in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if not x.startswith("#")]
    parsed = [Requirement(line) for line in lines]
    assert [line for line, pin in zip(lines, parsed, strict=True) if line != f"{pin.name}{pin.specifier}"] == []
    assert [line for line in lines if line.count("==") != 1 or "*" in line or "+" in line] == []
    assert len({canonicalize_name(pin.name) for pin in parsed}) == len(parsed)


@pytest.mark.parametrize("requirement", [*INSTALL, *OTHERS], ids=lambda r: r.name)
def test_each_requirement_is_pinned_within_its_bounds(requirement: Requirement) -> None:
    pin = pins()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(pin, prereleases=True)


@pytest.mark.parametrize("requirement", INSTALL, ids=lambda r: r.name)
def test_each_dependency_has_a_lower_bound_and_its_reason(requirement: Requirement) -> None:
    lines = [line.strip() for line in (ROOT / "setup.cfg").read_text(encoding="utf-8").splitlines()]
    assert [s.operator for s in requirement.specifier] == [">="]
    assert lines[lines.index(str(requirement)) - 1].startswith("#")


def test_every_import_of_the_package_is_a_declared_dependency() -> None:
    distributions = packages_distributions()
    declared = {canonicalize_name(r.name) for r in [*INSTALL, *OTHERS]}
    undeclared = set()
    for path in sorted((ROOT / "hist2st_pyg").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in {full.partition(".")[0] for full in names} - sys.stdlib_module_names - {"hist2st_pyg"}:
                if not {canonicalize_name(found) for found in distributions.get(name, [])} & declared:
                    undeclared.add(f"{path.relative_to(ROOT)}: {name}")
    assert undeclared == set()


def test_the_version_is_that_of_setup_cfg() -> None:
    assert hist2st_pyg.__version__ == setup_cfg()["metadata"]["version"]


def test_ci_runs_the_command_that_developers_run() -> None:
    script = ROOT / ".ci" / "run"
    assert "make test" in script.read_text(encoding="utf-8").splitlines()
    assert os.access(script, os.X_OK)
    assert "bash .ci/run" in (ROOT / ".github" / "workflows" / "test.yml").read_text(encoding="utf-8")


@pytest.mark.parametrize("folder", ["hist2st_pyg", "benchmarks"])
def test_tensors_are_brought_to_the_cpu_before_numpy_reads_them(folder: str) -> None:
    """``Tensor.numpy()`` raises on a GPU, which no test here has: the last step of every training did so once."""
    bare = re.compile(r"(?<!\.cpu\(\))\.numpy\(\)")
    found = [path for path in (ROOT / folder).rglob("*.py") if bare.search(path.read_text(encoding="utf-8"))]
    assert not found
