from __future__ import annotations

import ast
import configparser
import os
import re
import runpy
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import hist2st_pyg
from hist2st_pyg.models.packaged import packaged_models

MODEL_FILES = ("README.md", "config.json", "model.safetensors")
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


def test_python_m_is_the_command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["hist2st_pyg", "--help"])
    with pytest.raises(SystemExit) as done:
        runpy.run_module("hist2st_pyg", run_name="__main__")
    assert done.value.code == 0
    assert capsys.readouterr().out.startswith("usage: hist2st")


def test_links_of_the_long_description_lead_into_the_repository_at_the_tag() -> None:
    text = runpy.run_path(str(ROOT / "setup.py"), run_name="setup")["long_description"]()
    metadata = setup_cfg()["metadata"]
    links = re.findall(r"""(?:\]\(|(?:src|href)=")([^)\s"]+)""", text)
    assert [link for link in links if not link.startswith(("https://", "#"))] == []
    inside = [link for link in links if f"/v{metadata['version']}/" in link]
    assert len(inside) > 3
    for link in inside:
        place, path = link.split(f"/v{metadata['version']}/")
        assert (ROOT / path.partition("#")[0]).is_file(), link
        raw = metadata["url"].replace("github.com", "raw.githubusercontent.com")
        assert place == (raw if path.endswith(".png") else f"{metadata['url']}/blob")


def test_the_source_distribution_is_complete(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "setup.py", "-q", "egg_info", "--egg-base", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    files = set((tmp_path / "hist2st_pyg.egg-info" / "SOURCES.txt").read_text(encoding="utf-8").splitlines())
    expected = ["CHANGELOG.md", "CITATION.cff", "LICENSE", "README.md", "constraints.txt", "docs/conf.py", "setup.py"]
    expected += ["benchmarks/configs/train/her2st_a.yaml", "benchmarks/cell.py", "hist2st_pyg/py.typed"]
    expected += [f"hist2st_pyg/models/weights/{name}/{file}" for name in packaged_models() for file in MODEL_FILES]
    expected += ["hist2st_pyg/models/weights/index.json"]
    expected += ["notebooks/01_train_and_predict.ipynb", "tests/conftest.py", "tests/golden/graphs.npz"]
    assert [name for name in expected if name not in files] == []
    assert [name for name in files if "benchmarks/results" in name or "_build" in name or "__pycache__" in name] == []


def test_each_python_that_is_declared_is_tested() -> None:
    lines = setup_cfg()["metadata"]["classifiers"].splitlines()
    declared = [line.rpartition(" ")[2] for line in lines if re.search(r":: 3\.\d+$", line)]
    assert declared[0] == setup_cfg()["options"]["python_requires"].removeprefix(">=")
    assert workflow("test")["jobs"]["newest"]["strategy"]["matrix"]["python"] == declared


def test_the_citation_has_the_version_and_the_paper() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    metadata = setup_cfg()["metadata"]
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert (citation["version"], citation["license"]) == (metadata["version"], metadata["license"])
    assert citation["repository-code"] == metadata["url"]
    (paper,) = citation["references"]
    assert (paper["type"], paper["doi"]) == ("article", "10.1093/bib/bbac297")


def test_lowest_versions_are_the_bounds() -> None:
    pinned = {Requirement(line).name: Requirement(line) for line in run_lowest()}
    for requirement in INSTALL:
        (bound,) = requirement.specifier
        assert str(pinned[requirement.name].specifier) == f"=={bound.version}"


def run_lowest() -> list[str]:
    lines: list[str] = runpy.run_path(str(ROOT / ".ci" / "lowest.py"))["lowest"]()
    return lines


def workflow(name: str) -> dict[str, Any]:
    text = (ROOT / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8")
    read: dict[str, Any] = yaml.safe_load(text)
    return read


@pytest.mark.parametrize("name", ["test", "release"])
def test_what_workflows_run_is_there(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    for job in workflow(name)["jobs"].values():
        commands = [step["run"] for step in job["steps"] if "run" in step]
        assert commands or any("uses" in step for step in job["steps"])
        for command in commands:
            assert set(re.findall(r"\bmake (\w+)", command)) <= targets, command
            paths = re.findall(r"(?:^|\s)((?:tests|\.ci)/[\w./]+)", command)
            assert [path for path in paths if not (ROOT / path).exists()] == [], command
        assert job["timeout-minutes"] <= 90


def test_a_release_is_published_without_a_token() -> None:
    publish = workflow("release")["jobs"]["publish"]
    assert (publish["needs"], publish["permissions"]) == ("build", {"id-token": "write"})


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda p: p.stem)
def test_issue_forms_have_what_they_need(path: Path) -> None:
    form = yaml.safe_load(path.read_text(encoding="utf-8"))
    if path.stem == "config":
        assert form["contact_links"]
    else:
        assert {"name", "description", "body"} <= set(form)
        assert all({"id", "type", "attributes"} <= set(part) for part in form["body"])
    assert path.stem != "bug" or "hist2st doctor" in str(form["body"])


@pytest.mark.parametrize("file", [".readthedocs.yaml", "Dockerfile", ".github/workflows/test.yml"])
def test_extras_that_are_installed_exist(file: str) -> None:
    found = re.findall(r"'\.\[([\w,]+)\]'", (ROOT / file).read_text(encoding="utf-8"))
    assert found
    assert {extra for names in found for extra in names.split(",")} <= set(EXTRAS)


def test_the_image_is_built_of_files_that_exist() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = [line.removeprefix("!") for line in lines if line.startswith("!")]
    assert {"hist2st_pyg", "setup.cfg", "setup.py", "pyproject.toml", "constraints.txt", "README.md"} <= set(kept)
    assert [name for name in kept if not (ROOT / name).exists()] == []


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
