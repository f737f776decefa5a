from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from _helpers.spaceranger import GENES, write_bins, write_visium
from anndata import AnnData

from hist2st_pyg.datasets import DATASETS, detect_dataset, detect_datasets, load_sections


def her2st(folder: Path) -> None:
    (folder / "data" / "ST-cnts").mkdir(parents=True)


def h5ad(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    AnnData(np.ones((2, 2))).write_h5ad(folder / "a.h5ad")


def own_folders(folder: Path) -> None:
    h5ad(folder)
    (folder / "b").mkdir()
    (folder / "a.h5ad").rename(folder / "b" / "section.h5ad")


def bins(folder: Path) -> None:
    write_bins(folder, np.ones((4, len(GENES)), dtype=int), 3)


MAKE: list[tuple[str, Callable[[Path], object]]] = [
    ("her2st", her2st),
    ("anndata", h5ad),
    ("anndata", own_folders),
    ("visium", write_visium),
    ("visium", lambda folder: write_visium(folder / "outs", version=1)),
    ("visium", lambda folder: write_visium(folder / "s1" / "outs", mtx=True)),
    ("visium_hd", bins),
    ("visium_hd", lambda folder: bins(folder / "s1" / "outs")),
]


@pytest.mark.parametrize(("dataset", "make"), MAKE)
def test_formats(tmp_path: Path, dataset: str, make: Callable[[Path], object]) -> None:
    make(tmp_path / "x")
    assert detect_dataset(tmp_path / "x") == dataset
    assert detect_datasets(str(tmp_path / "x")) == [dataset]


def test_inner_folders_and_files(tmp_path: Path) -> None:
    her2st(tmp_path / "h")
    assert detect_dataset(tmp_path / "h" / "data") == "her2st"
    h5ad(tmp_path / "a")
    assert detect_dataset(tmp_path / "a" / "a.h5ad") == "anndata"


def test_the_specific_wins(tmp_path: Path) -> None:
    """A prediction beside the output of Space Ranger does not make it something else."""
    write_visium(tmp_path)
    h5ad(tmp_path)
    assert detect_dataset(tmp_path) == "visium"


def test_no_guess_between_two(tmp_path: Path) -> None:
    her2st(tmp_path)
    write_visium(tmp_path / "A")
    with pytest.raises(ValueError, match="looks like 'her2st' and like 'visium'; say which data set it is"):
        detect_dataset(tmp_path)


def test_nothing_recognized(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    for path in (tmp_path, tmp_path / "notes.txt"):
        assert detect_datasets(path) == []
        with pytest.raises(ValueError, match=r"is not recognized as data\. Recognized are") as error:
            detect_dataset(path)
    lines = str(error.value).splitlines()[1:]
    assert "  anndata: an .h5ad file, or a folder of <name>.h5ad files or <name>/section.h5ad" in lines
    assert {line.split(":")[0].strip() for line in lines} >= {"anndata", "her2st", "visium", "visium_hd"}
    assert all(len(line.split(": ")[1]) > 10 for line in lines)
    with pytest.raises(FileNotFoundError, match=r"There is no file or folder .*absent"):
        detect_dataset(tmp_path / "absent")


def test_half_of_an_output_is_not_recognized(tmp_path: Path) -> None:
    write_visium(tmp_path / "A")
    (tmp_path / "A" / "filtered_feature_bc_matrix.h5").unlink()
    (tmp_path / "B" / "binned_outputs").mkdir(parents=True)
    assert detect_datasets(tmp_path) == []


def test_what_is_guessed_is_read(tmp_path: Path) -> None:
    write_visium(tmp_path / "A")
    (section,) = load_sections(detect_dataset(tmp_path), tmp_path)
    assert section.name == "A"


def test_synthetic_is_not_guessed(tmp_path: Path) -> None:
    assert "synthetic" in DATASETS
    assert "synthetic" not in detect_datasets(tmp_path)


def test_real_data(real_data: Path) -> None:
    assert detect_dataset(real_data / "her2st") == "her2st"
    if (real_data / "sections").is_dir():
        assert detect_dataset(real_data / "sections") == "anndata"
