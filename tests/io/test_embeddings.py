from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from hist2st_pyg import Preprocessing, Section, evaluate, load_model, predict_section, train
from hist2st_pyg.io.embeddings import read_embeddings, section_embedding
from hist2st_pyg.training import preset_config


@pytest.fixture
def sections(cohort: list[Section]) -> list[Section]:
    """Without images, and nobody else's AnnData."""
    return [replace(section, adata=section.adata.copy(), image=None) for section in cohort]


def write(folder: Path, section: Section, suffix: str = ".npz", name: str = "barcodes") -> np.ndarray:
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(len(section.name))
    values = rng.normal(size=(len(section) + 2, 5)).astype(np.float32)
    order = rng.permutation(len(values))  # another order, and spots that the section does not have
    names = np.array([*section.adata.obs_names, "elsewhere", "nowhere"], dtype=str)[order]
    arrays = {"embeddings": values[order], name: names}
    if suffix == ".npz":
        np.savez(folder / f"{section.name}.npz", **arrays)
    else:
        with h5py.File(folder / f"{section.name}.h5", "w") as file:
            file["embeddings"] = arrays["embeddings"]
            file[name] = arrays[name].astype("S")
    return values[: len(section)]


@pytest.mark.parametrize("suffix", [".npz", ".h5"])
@pytest.mark.parametrize("name", ["barcodes", "names"])
def test_files_are_joined_by_spot(sections: list[Section], tmp_path: Path, suffix: str, name: str) -> None:
    expected = [write(tmp_path / "uni", section, suffix, name) for section in sections]
    read_embeddings(sections, tmp_path / "uni")
    for section, values in zip(sections, expected, strict=True):
        np.testing.assert_array_equal(section_embedding(section, "uni"), values)


def test_what_is_wrong_is_named(sections: list[Section], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"has neither A1\.npz nor A1\.h5"):
        read_embeddings(sections, tmp_path)
    with pytest.raises(ValueError, match=r"Section 'A1' has no obsm\['uni'\]; it has spatial"):
        section_embedding(sections[0], "uni")
    np.savez(tmp_path / "A1.npz", embeddings=np.zeros((2, 3)), names=["a", "b"])
    with pytest.raises(ValueError, match=r"A1\.npz lacks 48 of the 48 spots of section 'A1'"):
        read_embeddings(sections, tmp_path)
    np.savez(tmp_path / "A1.npz", embeddings=np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"A1\.npz holds 'embeddings' and 'barcodes'.*got embeddings"):
        read_embeddings(sections, tmp_path)
    np.savez(tmp_path / "A1.npz", embeddings=np.zeros((2, 3)), names=["a"])
    with pytest.raises(ValueError, match="embeddings are \\[M, D\\] for M names, got \\[2, 3\\] and 1 names"):
        read_embeddings(sections, tmp_path)
    sections[0].adata.obsm["bad"] = np.full((48, 2), np.nan)
    with pytest.raises(ValueError, match=r"obsm\['bad'\] is finite, \[N, D\]"):
        section_embedding(sections[0], "bad")


def test_a_model_of_embeddings_trains_and_predicts_without_images(sections: list[Section], tmp_path: Path) -> None:
    for section in sections:
        write(tmp_path / "uni", section)
    read_embeddings(sections, tmp_path / "uni")
    data = {"test": ["B1"], "n_genes": 4, "embedding": "uni"}
    config = preset_config("small", data, training={"epochs": 1}, output=str(tmp_path / "run"), wandb="off")
    model = load_model(train(config, sections))
    assert model.preprocessing is not None
    assert model.preprocessing.embedding == "uni"
    assert model.streams[0].vision.takes == "embeddings"  # type: ignore[union-attr]
    assert predict_section(model, sections[2]).shape == (48, 4)
    assert "pcc_mean" in evaluate(model, sections[2:])
    with pytest.raises(ValueError, match=r"The model reads precomputed embeddings \(obsm\['uni'\]\), not an image"):
        Preprocessing(genes=("A",), embedding="uni").image_data(None, sections[0].pos, sections[0].grid)  # type: ignore[arg-type]
