from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from hist2st_pyg.datasets import load_sections
from hist2st_pyg.image import ArrayImage
from hist2st_pyg.section import Section

Floats = NDArray[np.float64]
SMALL: dict[str, Any] = {"spots": 30, "genes": 12, "noise_genes": 3, "pitch": 32}


def pixels(section: Section) -> NDArray[np.uint8]:
    image = section.require_image()
    assert isinstance(image, ArrayImage)
    return image.array


def counts(section: Section) -> Floats:
    return np.asarray(section.adata.X.toarray())


def target(section: Section) -> Floats:
    values = counts(section)
    scaled: Floats = np.log10(1 + 1e4 * values / values.sum(axis=1, keepdims=True))
    return scaled


def colors(section: Section, size: int = 64) -> Floats:
    """Mean and standard deviation of red, green and blue in each spot's patch, [N, 6]."""
    image = pixels(section).astype(float)
    corners = np.rint(section.pos).astype(int) - size // 2
    patches = np.stack([image[y : y + size, x : x + size].reshape(-1, 3) for x, y in corners])
    return np.concatenate([patches.mean(axis=1), patches.std(axis=1)], axis=1)


def with_neighbors(section: Section, features: Floats) -> Floats:
    distance = np.linalg.norm(section.pos[:, None] - section.pos, axis=-1)
    nearest = np.argsort(distance, axis=1)[:, 1:5]
    return np.concatenate([features, features[nearest].mean(axis=1)], axis=1)


def pearson(a: Floats, b: Floats) -> Floats:
    return np.array([np.corrcoef(x, y)[0, 1] for x, y in zip(a.T, b.T, strict=True)])


def test_shape() -> None:
    sections = load_sections("synthetic", **SMALL)
    assert [(s.name, s.patient) for s in sections] == [(f"{p}{n}", p) for p in "ABC" for n in (1, 2)]
    for section in sections:
        assert section.adata.shape == (30, 12)
        assert list(section.adata.var_names) == [*(f"GENE{i}" for i in range(1, 10)), "NOISE1", "NOISE2", "NOISE3"]
        assert section.spot_diameter == 16
        assert section.um_per_pixel == pytest.approx(200 / 32)
        assert set(section.adata.obs["label"]) <= {"adipose", "immune", "stroma", "tumor"}
        assert len(np.unique(section.grid, axis=0)) == 30
        width, height = section.require_image().size
        assert (section.pos > 0).all()
        assert (section.pos < [width, height]).all()


def test_spots_lie_on_tissue_and_the_border_is_white() -> None:
    for section in load_sections("synthetic", names=["A1", "B2"]):
        image = pixels(section).astype(int)
        border = np.concatenate([image[:8].reshape(-1, 3), image[-8:].reshape(-1, 3), image[:, :8].reshape(-1, 3)])
        assert border.min() > 215
        x, y = np.rint(section.pos).astype(int).T
        assert np.mean([image[b - 8 : b + 8, a - 8 : a + 8].mean() for a, b in zip(x, y, strict=True)]) < 190
        assert min(image[b - 16 : b + 16, a - 16 : a + 16].min() for a, b in zip(x, y, strict=True)) < 150


def test_positions_follow_the_array() -> None:
    (section,) = load_sections("synthetic", names=["A1"], **SMALL)
    assert np.abs(section.pos - 32 * (1 + section.grid)).max() < 5
    assert list(section.adata.obs_names) == [f"{column}x{row}" for column, row in section.grid]


def test_a_section_depends_on_seed_and_name_only() -> None:
    whole = {s.name: s for s in load_sections("synthetic", **SMALL)}
    (again,) = load_sections("synthetic", names=["B2"], patients=2, **SMALL)
    (other,) = load_sections("synthetic", names=["B2"], seed=1, **SMALL)
    np.testing.assert_array_equal(pixels(again), pixels(whole["B2"]))
    np.testing.assert_array_equal(counts(again), counts(whole["B2"]))
    np.testing.assert_array_equal(again.pos, whole["B2"].pos)
    assert not np.array_equal(pixels(other), pixels(again))
    assert not np.array_equal(counts(other), counts(again))
    assert not np.array_equal(counts(whole["B1"]), counts(whole["B2"]))


def test_counts_are_overdispersed_and_depth_is_the_patients() -> None:
    sections = load_sections("synthetic", genes=40, noise_genes=20)
    depth = {s.name: counts(s).sum(axis=1).mean() for s in sections}
    within = max(abs(np.log(depth[f"{p}1"] / depth[f"{p}2"])) for p in "ABC")
    assert within < 0.5 * np.ptp(np.log(list(depth.values())))
    noise = np.concatenate([counts(s)[:, 20:] / depth[s.name] * 1000 for s in sections])
    assert (noise.var(axis=0) > noise.mean(axis=0)).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_learnable(seed: int) -> None:
    """Ridge on the patch's colors carries over to a new patient; neighbors help; noise genes stay noise."""
    sections = load_sections("synthetic", seed=seed, genes=70, noise_genes=16)
    features = {s.name: colors(s) for s in sections}

    def score(design: dict[str, Floats]) -> Floats:
        train = [s for s in sections if s.patient != "C"]
        model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 4, 11)))
        model.fit(np.concatenate([design[s.name] for s in train]), np.concatenate([target(s) for s in train]))
        test = [pearson(target(s), model.predict(design[s.name])) for s in sections if s.patient == "C"]
        mean: Floats = np.stack(test).mean(axis=0)
        return mean

    alone = score(features)
    around = score({s.name: with_neighbors(s, features[s.name]) for s in sections})
    assert 0.3 < alone[:54].mean() < 0.7
    assert around[:54].mean() > alone[:54].mean() + 0.01
    assert abs(alone[54:].mean()) < 0.06


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("patients", 27, "patients must be a whole number from 1 to 26, got 27"),
        ("sections_per_patient", 0, "sections_per_patient must be a whole number from 1"),
        ("spots", 3, "spots must be a whole number from 4"),
        ("noise_genes", 59, "noise_genes must be a whole number from 0 to 58, got 59"),
        ("genes", 1, "genes must be a whole number from 2"),
        ("pitch", 64.5, r"pitch must be a whole number from 16 to 512, got 64\.5"),
        ("seed", -1, "seed must be a whole number from 0"),
    ],
)
def test_errors(option: str, value: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_sections("synthetic", **{option: value})
