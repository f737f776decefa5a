from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from numpy.typing import NDArray
from PIL import Image

from hist2st_pyg import Preprocessing, Section
from hist2st_pyg.data import spot_patches
from hist2st_pyg.data.patches import cut_patches
from hist2st_pyg.data.spot_patches import SpotPatches, decoded_once, kept_open, rows_of
from hist2st_pyg.image import ArrayImage, HistologyImage, open_image, stain
from hist2st_pyg.image.stain import normalize_stain

PARTS = [np.array([3]), np.array([0, 1, 2]), np.array([40, 7, 21, 7])]


def patches_of(section: Section, image: HistologyImage | None = None, **options: Any) -> SpotPatches:
    return SpotPatches(
        image or section.require_image(), section.pos, 14, 33.0, (1.0, 2.5), name=section.name, **options
    )


def pyramid(section: Section, path: Path) -> HistologyImage:
    """The section's image as a tiled pyramid."""
    array: NDArray[np.uint8] = section.require_image().array  # type: ignore[attr-defined]
    with tifffile.TiffWriter(path) as tif:
        for level, step in enumerate((1, 2, 4)):
            options: dict[str, Any] = {"subifds": 2} if level == 0 else {"subfiletype": 1}
            tif.write(array[::step, ::step], photometric="rgb", tile=(64, 64), **options)
    return open_image(path)


@pytest.mark.parametrize("transpose_patches", [False, True])
@pytest.mark.parametrize("stain", ["none", "macenko", "standardize"])
def test_some_patches_are_those_of_all(cohort: list[Section], stain: str, transpose_patches: bool) -> None:
    patches = patches_of(cohort[0], stain=stain, transpose_patches=transpose_patches)
    whole = patches()
    assert whole.shape == (48, 6, 14, 14)
    assert whole.dtype == torch.uint8
    for spots in PARTS:
        assert torch.equal(patches(spots), whole[spots])


def test_patches_of_a_pyramid_do_not_depend_on_their_company(cohort: list[Section], tmp_path: Path) -> None:
    patches = patches_of(cohort[0], pyramid(cohort[0], tmp_path / "image.tif"), stain="macenko")
    whole = patches()
    for spots in PARTS:
        assert torch.equal(patches(spots), whole[spots])


def test_they_are_cut_and_stained_as_for_training(cohort: list[Section]) -> None:
    section = cohort[0]
    x = cut_patches(section.require_image(), section.pos, 14, 33.0, (1.0, 2.5))
    expected = normalize_stain(x, "macenko")
    np.testing.assert_array_equal(patches_of(section, stain="macenko")().numpy(), expected)
    np.testing.assert_array_equal(patches_of(section, stain="macenko")(PARTS[2]).numpy(), expected[PARTS[2]])


def test_the_stain_map_of_a_large_section_is_that_of_some_spots(
    cohort: list[Section], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stain, "SAMPLE_SPOTS", 20)
    monkeypatch.setattr(spot_patches, "PATCHES_AT_ONCE", 6)  # the last part is smaller
    cut, asked = spot_patches.cut_patches, list[int]()

    def spy(image: Any, pos: Any, *rest: Any) -> Any:
        asked.append(len(pos))
        return cut(image, pos, *rest)

    monkeypatch.setattr(spot_patches, "cut_patches", spy)
    patches = patches_of(cohort[0], stain="macenko")
    part = patches(PARTS[1])
    assert asked == [3, 6, 6, 6, 2]
    assert torch.equal(part, patches()[PARTS[1]])
    patches(PARTS[2])
    assert asked[-1] == 4  # the map is fitted once
    monkeypatch.setattr(stain, "SAMPLE_SPOTS", 48)
    assert not torch.equal(part, patches_of(cohort[0], stain="macenko")(PARTS[1]))


def test_a_spot_off_the_image_is_refused_before_anything_is_cut(cohort: list[Section]) -> None:
    pos = cohort[0].pos.copy()
    pos[40] = [5_000, 10]
    with pytest.raises(ValueError, match="1 of 48 spots are not on the image"):
        SpotPatches(cohort[0].require_image(), pos)


def test_the_cache_is_of_whole_sections(cohort: list[Section], tmp_path: Path) -> None:
    patches = patches_of(cohort[0], cache=tmp_path / "cache")
    part = patches(PARTS[0])
    assert torch.equal(part, patches_of(cohort[0])(PARTS[0]))
    assert torch.equal(part, patches()[PARTS[0]])
    assert len(list((tmp_path / "cache").iterdir())) == 1


class Counted(ArrayImage):
    """Counts how often it is opened and closed."""

    opened = 0

    def open(self, level: int = 0) -> Any:
        self.opened += 1
        return super().open(level)


def test_a_file_that_is_decoded_whole_is_decoded_once(
    cohort: list[Section], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(cohort[0].require_image().array).save(tmp_path / "image.png")  # type: ignore[attr-defined]
    image = open_image(tmp_path / "image.png")
    patches = patches_of(cohort[0], image)
    expected = patches(PARTS[2])
    held = decoded_once(patches)
    monkeypatch.setattr(type(image), "open", None)
    assert torch.equal(held(PARTS[2]), expected)
    of_array = patches_of(cohort[0])
    assert decoded_once(of_array) is of_array
    cached = patches_of(cohort[0], image, cache=tmp_path)
    assert decoded_once(cached) is cached
    rows = rows_of(torch.ones(2, 3))
    assert decoded_once(rows) is rows


def test_an_image_is_kept_open(cohort: list[Section]) -> None:
    image = Counted(cohort[0].require_image().array)  # type: ignore[attr-defined]
    patches = patches_of(cohort[0], image, stain="macenko")
    with kept_open(patches) as cut:
        parts = [cut(spots) for spots in PARTS]
    assert image.opened == 1
    fitted = patches.stain_map
    with kept_open(patches) as again:
        assert again.stain_map is fitted  # type: ignore[attr-defined]
    for spots, part in zip(PARTS, parts, strict=True):
        assert torch.equal(part, patches(spots))
    assert image.opened > 1  # the image itself is as it was


def test_each_level_of_a_pyramid_is_kept_open_and_closed(
    cohort: list[Section], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = pyramid(cohort[0], tmp_path / "image.tif")
    levels, open_level = list[int](), type(image).open

    def spy(self: Any, level: int = 0) -> Any:
        levels.append(level)
        return open_level(self, level)

    monkeypatch.setattr(type(image), "open", spy)
    with kept_open(patches_of(cohort[0], image)) as cut:
        for spots in PARTS:
            cut(spots)
    assert sorted(levels) == [1, 2]


def test_what_is_at_hand_is_indexed() -> None:
    x = torch.arange(12).view(6, 2)
    rows = rows_of(x)
    with kept_open(rows) as same:
        assert same is rows
    assert rows(None) is x
    assert rows(np.array([4, 1])).tolist() == [[8, 9], [2, 3]]


def test_a_recipe_s_graph_joins_spots_of_one_array(cohort: list[Section]) -> None:
    section, preprocessing = cohort[0], Preprocessing(("A",), k=3)
    even, odd = np.arange(0, 48, 2), np.arange(1, 48, 2)
    graph = preprocessing.build_graph(section.pos, section.grid, [even, odd])
    source, target = graph.edge_index.numpy()
    assert (source % 2 == target % 2).all()
    assert (np.diff(target) >= 0).all()
    alone = preprocessing.build_graph(section.pos[odd], section.grid[odd])
    own = target % 2 == 1
    np.testing.assert_array_equal(graph.edge_index.numpy()[:, own], odd[alone.edge_index.numpy()])
    np.testing.assert_array_equal(graph.edge_attr.numpy()[own], alone.edge_attr.numpy())
