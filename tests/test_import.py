from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

import hist2st_pyg

HEAVY = {"anndata", "matplotlib", "pytorch_lightning", "scanpy", "sklearn", "tifffile", "wandb", "zarr"}
CODE = """
import hist2st_pyg as h, json, sys
print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))
print(json.dumps(dir(h)), h.figures.__name__, h.inference.predict is h.predict)
"""


def test_importing_is_light_and_quiet() -> None:
    command = [sys.executable, "-W", "ignore", "-c", CODE]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (process.returncode, process.stderr) == (0, "")
    line, names = process.stdout.splitlines()
    loaded = set(json.loads(line))
    assert {"hist2st_pyg", "torch", "torch_geometric"} <= loaded
    assert not loaded & HEAVY
    # Submodules are imported on first use.
    assert names == f"{json.dumps(dir(hist2st_pyg))} hist2st_pyg.figures True"


@pytest.mark.parametrize("name", hist2st_pyg.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(hist2st_pyg, name) is not None


def test_public_names_are_listed_once_in_order() -> None:
    names = hist2st_pyg.__all__
    assert len(set(names)) == len(names)
    constants = [name for name in names if name.isupper()]
    classes = [name for name in names if not name.isupper() and name[0].isupper()]
    assert names == sorted(constants) + sorted(classes) + sorted(set(names) - set(constants) - set(classes))


def test_the_version_is_the_distributions() -> None:
    try:
        expected = version("hist2st_pyg")
    except PackageNotFoundError:
        pytest.skip("hist2st_pyg is not installed")
    assert hist2st_pyg.__version__ == expected


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'hist2st_pyg' has no attribute 'nothing'"):
        _ = hist2st_pyg.nothing
    assert not hasattr(hist2st_pyg, "nothing")


def test_dir_lists_the_public_names_and_the_submodules_alone() -> None:
    rooms = {path.stem for path in Path(hist2st_pyg.__path__[0]).iterdir() if path.suffix in ("", ".py")}
    rooms = {room for room in rooms if not room.startswith("_")}
    assert {"training", "cli", "losses", "section"} <= rooms
    assert dir(hist2st_pyg) == sorted({*hist2st_pyg.__all__, *rooms, "__version__"})
    assert hist2st_pyg.cli.main
