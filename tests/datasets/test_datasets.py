from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from hist2st_pyg.datasets import DATASETS, download, grid_from_positions, load_sections, paper_panel


def test_keys() -> None:
    assert list(DATASETS) == ["anndata", "cscc", "her2st", "hest", "spatialdata", "synthetic", "visium", "visium_hd"]
    assert type(DATASETS) is dict


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


def test_names() -> None:
    options: dict[str, Any] = {"spots": 9, "genes": 4, "noise_genes": 0, "pitch": 16}
    assert [s.name for s in load_sections("synthetic", names=["B1", "A2"], **options)] == ["B1", "A2"]
    assert [s.name for s in load_sections("synthetic", **options)] == ["A1", "A2", "B1", "B2", "C1", "C2"]
    with pytest.raises(ValueError, match=r"no section 'Z1', 'Z2'\. Available: A1, A2, B1, B2, C1, C2"):
        load_sections("synthetic", names=["Z1", "A1", "Z2"])
    with pytest.raises(ValueError, match="no section an empty list"):
        load_sections("synthetic", names=[])
    with pytest.raises(ValueError, match="names holds 'A1' more than once"):
        load_sections("synthetic", names=["A1", "B1", "A1"])
    with pytest.raises(TypeError, match=r"got the string 'A1'; give \['A1'\]"):
        load_sections("synthetic", names="A1")


def test_unknown_option() -> None:
    with pytest.raises(TypeError, match=r"'synthetic' has no option 'spot'; its options: seed, patients, .*pitch"):
        load_sections("synthetic", spot=10)
    with pytest.raises(TypeError, match=r"'her2st' has no option 'seed'; its options: none"):
        load_sections("her2st", "folder", seed=1)


@pytest.mark.parametrize("dataset", ["anndata", "her2st"])
def test_root(dataset: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"'{dataset}' is read from files: give root"):
        load_sections(dataset)
    with pytest.raises(FileNotFoundError, match="absent"):
        load_sections(dataset, tmp_path / "absent")


def test_paper_panel_and_download_where_there_is_none(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'synthetic' has no published gene panel; use panel 'variable'"):
        paper_panel("synthetic", tmp_path)
    with pytest.raises(ValueError, match="'synthetic' has no download; these have: cscc, her2st"):
        download("synthetic", tmp_path)


def lattice(columns: int, rows: int) -> NDArray[np.int64]:
    return np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1).reshape(-1, 2)


def test_square_grid() -> None:
    rng = np.random.default_rng(0)
    places = lattice(30, 20)
    places = places[rng.random(len(places)) < 0.7]
    pos = 411.7 + 287.3 * (places + rng.normal(0, 0.06, places.shape))
    np.testing.assert_array_equal(grid_from_positions(pos), places - places.min(axis=0))
    np.testing.assert_array_equal(grid_from_positions(57.0 * places), places - places.min(axis=0))


def test_staggered_grid() -> None:
    """Visium: every other row is half a column to the side; places stay distinct, rows and columns in order."""
    places = lattice(12, 10)
    pos = np.column_stack([places[:, 0] + 0.5 * (places[:, 1] % 2), places[:, 1] * np.sqrt(3) / 2]) * 100 + 17
    np.testing.assert_array_equal(grid_from_positions(pos), places)


def test_rotated_square_grid() -> None:
    """A square array turned by 45 degrees (the 2k arrays) is a staggered one."""
    turned = lattice(9, 9) @ Rotation.from_euler("z", 45, degrees=True).as_matrix()[:2, :2]
    grid = grid_from_positions(31.7 * turned)
    assert len(np.unique(grid, axis=0)) == len(turned)
    assert grid.min() == 0


def test_scattered_cells() -> None:
    pos = np.random.default_rng(0).uniform(0, 1000, (300, 2))
    grid = grid_from_positions(pos)
    assert grid.dtype == np.int64
    # Order along each axis is kept, even though there is no array.
    for axis in (0, 1):
        assert (np.diff(grid[np.argsort(pos[:, axis]), axis]) >= 0).all()


def test_few_spots() -> None:
    assert grid_from_positions([[5, 9]]).tolist() == [[0, 0]]
    assert grid_from_positions([[0, 0], [0, 10], [0, 20]]).tolist() == [[0, 0], [0, 1], [0, 2]]


def test_grid_errors() -> None:
    with pytest.raises(ValueError, match=r"\[N, 2\], got shape \[3, 3\]"):
        grid_from_positions(np.zeros((3, 3)))
    with pytest.raises(ValueError, match="finite"):
        grid_from_positions(np.array([[0, 0], [np.nan, 1]]))
    with pytest.raises(ValueError, match="lie on one another"):
        grid_from_positions(np.zeros((5, 2)))


@pytest.mark.parametrize("name", ["A1", "C2", "H1"])
def test_grid_of_real_arrays(real_data: Path, name: str) -> None:
    (section,) = load_sections("her2st", real_data / "her2st", [name])
    np.testing.assert_array_equal(grid_from_positions(section.pos), section.grid - section.grid.min(axis=0))
