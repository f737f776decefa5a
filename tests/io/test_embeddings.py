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
    with pytest.raises(ValueError, match=r"A1\.npz must hold 'embeddings' and 'barcodes'.*got embeddings"):
        read_embeddings(sections, tmp_path)
    np.savez(tmp_path / "A1.npz", embeddings=np.zeros((2, 3)), names=["a"])
    with pytest.raises(ValueError, match="embeddings must be \\[M, D\\] for M names, got \\[2, 3\\] and 1 names"):
        read_embeddings(sections, tmp_path)
    sections[0].adata.obsm["bad"] = np.full((48, 2), np.nan)
    with pytest.raises(ValueError, match=r"obsm\['bad'\] must be finite, \[N, D\]"):
        section_embedding(sections[0], "bad")


def test_a_model_of_embeddings_trains_and_predicts_without_images(
    sections: list[Section], cohort: list[Section], tmp_path: Path
) -> None:
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
        Preprocessing(genes=("A",), embedding="uni").patches(cohort[0].require_image(), cohort[0].pos)


# Features of patches by position, as TRIDENT and CLAM write them.


def write_patches(path: Path, pos: np.ndarray, side: float = 40.0, **attributes: object) -> np.ndarray:
    """A file of side by side patches that cover the spots; the features are the patches' centers."""
    columns, rows = (np.arange(pos[:, axis].min() - 30, pos[:, axis].max() + 30, side) for axis in (0, 1))
    corners = np.stack(np.meshgrid(columns, rows), -1).reshape(-1, 2).astype(int)
    path.parent.mkdir(exist_ok=True)
    with h5py.File(path, "w") as file:
        file["features"] = (corners + side / 2).astype(np.float32)
        file["coords"] = corners
        file["coords"].attrs.update(attributes)
    return corners


@pytest.mark.parametrize(
    "attributes",
    [
        {"patch_size": 256, "patch_size_level0": 40, "overlap": 0, "name": "A1"},  # TRIDENT
        {"patch_size": 20, "patch_level": 1, "downsample": np.array([2.0, 2.0]), "name": "A1"},  # CLAM's patches
        {},  # CLAM's features
    ],
    ids=["trident", "clam", "clam, without attributes"],
)
def test_a_spot_takes_the_features_of_the_patch_that_it_lies_in(
    sections: list[Section], tmp_path: Path, attributes: dict[str, object]
) -> None:
    write_patches(tmp_path / "uni" / "A1.h5", sections[0].pos, **attributes)
    read_embeddings(sections[:1], tmp_path / "uni")
    found = section_embedding(sections[0], "uni")
    assert np.abs(found - sections[0].pos).max() <= 20


def test_a_slide_as_a_batch_of_one_is_read(sections: list[Section], tmp_path: Path) -> None:
    corners = write_patches(tmp_path / "uni" / "A1.h5", sections[0].pos)
    with h5py.File(tmp_path / "uni" / "A1.h5", "a") as file:
        del file["features"]
        file["features"] = np.ones((1, len(corners), 3))
    read_embeddings(sections[:1], tmp_path / "uni")
    assert section_embedding(sections[0], "uni").shape == (48, 3)


def test_spots_in_no_patch_are_counted(sections: list[Section], tmp_path: Path) -> None:
    path = tmp_path / "uni" / "A1.h5"
    corners = write_patches(path, sections[0].pos, patch_size_level0=40)
    far = (sections[0].pos[:, None] - corners - 20).__abs__().max(2)
    kept = far[:3].min(0) > 20  # without the patches of the first three spots
    with h5py.File(path, "w") as file:
        file["features"], file["coords"] = np.ones((kept.sum(), 2)), corners[kept]
        file["coords"].attrs["patch_size_level0"] = 40
    with pytest.raises(
        ValueError, match=r"A1\.h5: section 'A1': \d of the 48 spots lie in none of the \d+ patches of 40 px"
    ):
        read_embeddings(sections[:1], tmp_path / "uni")


@pytest.mark.parametrize(
    ("features", "coords", "attributes", "message"),
    [
        (np.ones((3, 2)), np.zeros((2, 2)), {}, r"features must be \[M, D\] for M patches, got \[3, 2\] and 2 patches"),
        (np.ones(3), np.zeros((3, 2)), {}, r"features must be \[M, D\] for M patches, got \[3\]"),
        (np.full((2, 2), np.nan), np.zeros((2, 2)), {"patch_size": 4}, "must be finite"),
        (np.ones((2, 2)), np.full((2, 2), np.inf), {}, "must be finite"),
        (np.ones((2, 2)), np.zeros((2, 3)), {}, r"coords must be numbers \[M, 2\], x and y, got float64 \[2, 3\]"),
        (np.ones((0, 2)), np.zeros((0, 2)), {}, r"coords must be numbers \[M, 2\]"),
        (np.array([[b"a"], [b"b"]]), np.zeros((2, 2)), {}, "features must be numbers"),
        (np.ones((2, 2)), np.zeros((2, 2)), {"patch_size_level0": -4}, "must be above 0 px, got -4"),
        (np.ones((2, 2)), np.zeros((2, 2)), {"patch_size_level0": "wide"}, "size of a patch cannot be read"),
        (np.ones((2, 2)), np.zeros((2, 2)), {"patch_size": np.nan}, "must be above 0 px, got nan"),
        (np.ones((3, 2)), np.zeros((3, 2)), {}, "size of a patch cannot be read from coords: More than half"),
    ],
    ids=str,
)
def test_patches_that_cannot_be_right_are_refused(
    sections: list[Section], tmp_path: Path, features: np.ndarray, coords: np.ndarray, attributes: dict[str, object],
    message: str,
) -> None:  # fmt: skip
    with h5py.File(tmp_path / "A1.h5", "w") as file:
        file["features"], file["coords"] = features, coords
        file["coords"].attrs.update(attributes)
    with pytest.raises(ValueError, match=rf"A1\.h5: .*{message}"):
        read_embeddings(sections[:1], tmp_path)


def test_features_without_positions_are_refused(sections: list[Section], tmp_path: Path) -> None:
    (tmp_path / "A1.pt").write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"A1\.pt holds features without the positions .* use the \.h5 of the same name"
    ):
        read_embeddings(sections[:1], tmp_path)
