from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from hist2st_pyg import datasets
from hist2st_pyg.datasets import DATASETS, download, load_sections, paper_panel


def test_each_module_is_a_data_set() -> None:
    modules = Path(datasets.__file__).parent.glob("[!_]*.py")
    assert list(DATASETS) == sorted(path.stem for path in modules)
    assert {"anndata", "her2st", "visium"} < set(DATASETS)


def test_import_is_light() -> None:
    code = (
        "import sys, hist2st_pyg.datasets\n"
        "heavy = {'anndata', 'pandas', 'scanpy', 'sklearn', 'matplotlib', 'wandb'} & set(sys.modules)\n"
        "readers = [name for name in sys.modules if name.startswith('hist2st_pyg.datasets.') and '._' not in name]\n"
        "print(sorted(heavy), readers)\n"
    )
    # The package around it is not what is tested here, so its __init__ is stepped over.
    stub = (
        "import sys, types\n"
        "package = sys.modules['hist2st_pyg'] = types.ModuleType('hist2st_pyg')\n"
        "package.__path__ = [sys.argv[1]]\n"
    )
    package = Path(sys.modules["hist2st_pyg"].__path__[0])
    run = subprocess.run([sys.executable, "-c", stub + code, package], capture_output=True, text=True, check=True)
    assert run.stdout == "[] []\n"


def test_unknown_data_set() -> None:
    for call in (load_sections, paper_panel, download):
        with pytest.raises(ValueError, match=rf"Unknown dataset='visum'. Choose one of: {', '.join(DATASETS)}"):
            call("visum", "folder")


def test_unknown_option() -> None:
    with pytest.raises(TypeError, match=r"'synthetic' has no option 'spot'; its options: seed, patients, .*pitch"):
        load_sections("synthetic", spot=10)
    with pytest.raises(TypeError, match=r"'her2st' has no option 'seed'; its options: none"):
        load_sections("her2st", "folder", seed=1)


@pytest.mark.parametrize("dataset", ["anndata", "her2st"])
def test_root(dataset: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"'{dataset}' is read from files: set root"):
        load_sections(dataset)
    with pytest.raises(FileNotFoundError, match="absent"):
        load_sections(dataset, tmp_path / "absent")


def test_paper_panel_and_download_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'synthetic' has no published gene panel; use panel 'variable'"):
        paper_panel("synthetic", tmp_path)
    with pytest.raises(ValueError, match="'synthetic' has no download; these have: cscc, her2st"):
        download("synthetic", tmp_path)
