from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from hist2st_pyg import Section, to_data
from hist2st_pyg.image import ArrayImage
from hist2st_pyg.image import stain as module
from hist2st_pyg.image.stain import HE, HE_STRENGTH, STAINS, apply_stain, fit_stain, normalize_stain, stain_spots


def stained(strength: tuple[float, float] = (1.0, 1.0), seed: int = 0, share: float = 0.5) -> NDArray[np.uint8]:
    """Patches whose pixels are mostly one of two stains, ``share`` of them hematoxylin's."""
    rng = np.random.default_rng(seed)
    amount = rng.gamma(4.0, 0.15, (24, 16, 16, 2)) * strength
    nucleus = rng.random((24, 16, 16)) < share
    amount[..., 0] *= np.where(nucleus, 1.0, 0.0)
    amount[..., 1] *= np.where(nucleus, 0.0, 1.0)
    light = 256 * np.exp(-(amount @ HE)) - 1
    return np.rint(light.clip(0, 255)).astype(np.uint8).transpose(0, 3, 1, 2)


@pytest.mark.parametrize("stain", sorted(STAINS))
def test_each_way_keeps_shape_and_bytes(stain: str) -> None:
    patches = np.concatenate([stained(), stained(seed=1)], axis=1)
    result = normalize_stain(patches, stain)
    assert result.shape == patches.shape
    assert result.dtype == np.uint8
    assert (result is patches) == (stain == "none")


@pytest.mark.parametrize("stain", ["macenko", "standardize"])
def test_a_stronger_stain_comes_out_the_same(stain: str) -> None:
    weak, strong = stained((0.8, 0.8)), stained((1.2, 1.2))
    before = np.abs(weak.astype(float) - strong).mean()
    after = np.abs(normalize_stain(weak, stain).astype(float) - normalize_stain(strong, stain)).mean()
    assert after < before / 6


def test_macenko_finds_the_stains_and_their_strength() -> None:
    matrix, offset = STAINS["macenko"](-np.log((stained((0.7, 1.3)).transpose(0, 2, 3, 1).reshape(-1, 3) + 1.0) / 256))  # type: ignore[misc]
    amount = np.array([[0.9, 0.0], [0.0, 0.8]])
    gain = np.diag(amount @ HE @ matrix.T @ np.linalg.pinv(HE)) / np.diag(amount)
    pure = np.random.default_rng(0).gamma(4.0, 0.15, (100_000, 2)) * (0.7, 1.3)
    expected = HE_STRENGTH / np.percentile(pure * (np.random.default_rng(1).random((100_000, 1)) < 0.5), 99, axis=0)
    np.testing.assert_allclose(gain, expected, rtol=0.15)
    np.testing.assert_array_equal(offset, 0)


def test_macenko_keeps_a_difference_in_tissue_that_standardizing_takes_away() -> None:
    cellular, sparse = stained(share=0.8), stained(share=0.2)

    def red(stain: str) -> float:
        return float(normalize_stain(sparse, stain)[:, 0].mean() - normalize_stain(cellular, stain)[:, 0].mean())

    assert red("macenko") > 20
    assert abs(red("standardize")) < red("macenko") / 4


def test_the_map_is_fitted_to_the_first_field_of_view_and_applied_to_all() -> None:
    first, second = stained(), stained(seed=1)
    both = normalize_stain(np.concatenate([first, second], axis=1), "macenko")
    np.testing.assert_array_equal(both[:, :3], normalize_stain(first, "macenko"))
    again = normalize_stain(np.concatenate([first, first], axis=1), "macenko")
    np.testing.assert_array_equal(again[:, 3:], again[:, :3])


def reference(patches: NDArray[np.uint8], stain: str, sample: int) -> NDArray[np.uint8]:
    """One map for all patches, fitted to evenly spaced pixels of all: what small sections always had."""
    table = -np.log((np.arange(256, dtype=np.float32) + 1) / 256)
    pixels = patches[:, :3].transpose(0, 2, 3, 1).reshape(-1, 3)
    matrix, offset = STAINS[stain](table[pixels[:: len(pixels) // sample + 1]])  # type: ignore[misc]
    density = table[patches].reshape(len(patches), -1, 3, *patches.shape[2:]).transpose(0, 1, 3, 4, 2)
    light = 256 * np.exp(-(density @ matrix.T.astype(np.float32) + offset.astype(np.float32))) - 1
    return np.rint(light.clip(0, 255)).astype(np.uint8).transpose(0, 1, 4, 2, 3).reshape(patches.shape)


@pytest.mark.parametrize("sample", [500_000, 10_000, 777])
@pytest.mark.parametrize("stain", ["macenko", "standardize"])
def test_all_spots_of_a_section_share_the_map(stain: str, sample: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SAMPLE_PIXELS", sample)
    patches = np.concatenate([np.concatenate([stained(seed=s), stained(seed=s + 1)], axis=1) for s in range(5)])
    np.testing.assert_array_equal(normalize_stain(patches, stain), reference(patches, stain, sample))


@pytest.mark.parametrize("sizes", [(24,), (1,) * 24, (5, 19), (7, 7, 10)])
def test_a_map_may_be_fitted_to_parts_and_applied_to_parts(
    sizes: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SAMPLE_PIXELS", 1000)
    patches = np.concatenate([stained(), stained(seed=1)], axis=1)
    parts = np.split(patches, np.cumsum(sizes)[:-1])
    fitted = fit_stain(iter(parts), 24 * 16 * 16, "macenko")
    np.testing.assert_array_equal(
        np.concatenate([apply_stain(part, fitted) for part in parts]), normalize_stain(patches, "macenko")
    )


def test_without_a_way_nothing_is_read_and_nothing_changes() -> None:
    assert fit_stain(iter([]), 0, "none") is None
    patches = stained()
    assert apply_stain(patches, None) is patches


def test_a_large_section_s_map_is_fitted_to_evenly_spaced_spots(monkeypatch: pytest.MonkeyPatch) -> None:
    np.testing.assert_array_equal(stain_spots(4096), np.arange(4096))
    for n in (4097, 9_999, 1_000_000):
        spots = stain_spots(n)
        assert len(np.unique(spots)) == 4096
        assert (spots[0], spots[-1]) == (0, n - 1)
        assert np.ptp(np.diff(spots)) <= 1
    monkeypatch.setattr(module, "SAMPLE_SPOTS", 8)
    patches = np.concatenate([stained((1.0, 1.0)), stained((0.6, 1.4), seed=1)])
    fitted = fit_stain([patches[stain_spots(48)]], 8 * 16 * 16, "macenko")
    np.testing.assert_array_equal(normalize_stain(patches, "macenko"), apply_stain(patches, fitted))


def test_a_recipe_normalizes_what_it_cuts(cohort: list[Section]) -> None:
    genes = list(cohort[0].adata.var_names)[:4]
    image = cohort[0].require_image()
    with image.open() as region:
        pixels = region(0, 0, *image.size)
    faded = 256 * np.exp(0.7 * np.log((pixels.astype(float) + 1) / 256)) - 1
    section = replace(cohort[0], image=ArrayImage(np.rint(faded.clip(0, 255)).astype(np.uint8)))
    plain = [to_data(s, genes, patch_size=14).x.float() for s in (cohort[0], section)]
    normal = [to_data(s, genes, patch_size=14, stain="macenko").x.float() for s in (cohort[0], section)]
    assert (normal[0] - normal[1]).abs().mean() < (plain[0] - plain[1]).abs().mean() / 5


def test_what_cannot_be_normalized_is_named(cohort: list[Section]) -> None:
    with pytest.raises(ValueError, match=r"Section 'S1': 0 of 6144 sampled pixels are stained.*stain: none"):
        normalize_stain(np.full((24, 3, 16, 16), 250, np.uint8), "macenko", "S1")
    with pytest.raises(ValueError, match=r"Unknown stain='vahadane'. Choose one of: macenko, none, standardize"):
        to_data(cohort[0], ["g"], stain="vahadane")
