from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from _helpers.spaceranger import GENES, write_bins, write_visium

from hist2st_pyg import Section, load_sections
from hist2st_pyg.io.spaceranger import POSITION_FILES, positions_of
from hist2st_pyg.io.spots import read_spots


def save(table: pd.DataFrame, path: Path) -> None:
    """As Space Ranger writes a file of this name."""
    if path.suffix == ".parquet":
        table.to_parquet(path, index=False)
    else:
        table.to_csv(path, index=False, header="list" not in path.name)


@pytest.mark.parametrize("file", POSITION_FILES)
@pytest.mark.parametrize("dataset", ["visium", "visium_hd"])
def test_every_file_of_positions_is_read_everywhere(tmp_path: Path, dataset: str, file: str) -> None:
    if dataset == "visium":
        write_visium(tmp_path / "A")
        folder = tmp_path / "A"
    else:
        write_bins(tmp_path / "A", np.ones((40, len(GENES)), dtype=int), 8)
        folder = tmp_path / "A" / "binned_outputs" / "square_008um"
    written = positions_of(folder)
    assert written is not None
    table = (pd.read_parquet if written.suffix == ".parquet" else pd.read_csv)(written)
    expected = read(tmp_path, dataset)
    written.unlink()
    save(table, folder / file)
    section = read(tmp_path, dataset)
    pd.testing.assert_frame_equal(section.adata.obs, expected.adata.obs)
    np.testing.assert_array_equal(section.pos, expected.pos)
    assert section.um_per_pixel == expected.um_per_pixel
    spots = read_spots(folder / file)
    rows = [spots.names.index(name) for name in section.adata.obs_names]
    np.testing.assert_array_equal(spots.pos[rows], section.pos)
    np.testing.assert_array_equal(spots.grid[rows], section.grid)


def read(root: Path, dataset: str) -> Section:
    (section,) = load_sections(dataset, root)
    return section
