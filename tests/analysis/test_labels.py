from __future__ import annotations

from pathlib import Path

import pytest
from _helpers.made_prediction import made_prediction
from anndata import AnnData

from hist2st_pyg.analysis.labels import labels_of
from hist2st_pyg.inference import LAID_GRID


@pytest.fixture
def adata() -> AnnData:
    return made_prediction()[0]


def test_a_column_a_file_or_nothing(adata: AnnData) -> None:
    assert labels_of(adata, None) is None
    adata.obs["label"] = adata.obs["tissue"].astype("category")
    adata.obs.loc["0x0", "label"] = None
    found = labels_of(adata, None)
    assert found is not None
    assert found[0] == "undetermined"
    assert list(found[1:]) == list(adata.obs["tissue"][1:])
    assert labels_of(adata, "tissue") is not None
    Path("labels.csv").write_text("spot,label\n0x0,fat\n")
    named = labels_of(adata, "labels.csv")
    assert named is not None
    assert named[0] == "fat"
    with pytest.raises(ValueError, match="'nowhere': there is no such file, and no such column of obs; columns: array"):
        labels_of(adata, "nowhere")


def test_places_of_a_grid_of_its_own_are_not_the_array_s(adata: AnnData) -> None:
    Path("labels.tsv").write_text("x\ty\tlabel\n1\t1\tfat\n")
    adata.uns["hist2st"]["positions"] = LAID_GRID
    with pytest.raises(ValueError, match="a grid on the tissue; predict at the section's spots"):
        labels_of(adata, "labels.tsv")
    adata.uns["hist2st"]["positions"] = "spots given"
    labels = labels_of(adata, Path("labels.tsv"))
    assert labels is not None
    assert labels[list(adata.obs_names).index("1x1")] == "fat"
