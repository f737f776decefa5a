"""The patches of a section's spots, cut on demand."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hist2st_pyg.data.patches import check_on_image, cut_patches
from hist2st_pyg.image import ArrayImage, HistologyImage, RasterImage, Region
from hist2st_pyg.image.stain import StainMap, apply_stain, fit_stain, normalize_stain, stain_spots

Patches = Callable[[NDArray[np.int64] | None], Tensor]
"""Spots of a section (None: all) -> their patches uint8 [n, 3·S, P, P] or embeddings float [n, D]."""

FITTED = ("stain_map", "_cached")
"""Attributes computed once for the whole section; the image's hash alone takes seconds for a large file."""

PATCHES_AT_ONCE = 256
"""Patches cut at a time to fit the stain map, so that its memory does not grow with the section."""


@dataclass(frozen=True, eq=False)
class SpotPatches:
    """Patches of one section, all or some, with the section's stain map; a spot's patch is the same in both.

    Args:
        image: The section's image.
        pos: Spot centers [N, 2] (x right, y down) in image pixels.
        patch_size: Side of a patch in pixels, P.
        field: Side of the field of view in image pixels; None means ``patch_size``.
        scales: Factors of the field of view; each gives three channels.
        stain: A key of :data:`~hist2st_pyg.image.stain.STAINS`.
        transpose_patches: Patches are [3, W, H] instead of [3, H, W].
        cache: Folder of the patch cache of whole sections, or None.
        name: The section's name, for errors.

    Raises:
        ValueError: If a spot's center is not on the image.
    """

    image: HistologyImage
    pos: NDArray[np.float64]
    patch_size: int = 112
    field: float | None = None
    scales: Sequence[float] = (1.0,)
    stain: str = "none"
    transpose_patches: bool = False
    cache: str | Path | None = None
    name: str = ""

    @property
    def sides(self) -> tuple[float, ...]:
        """Side of each field of view, in pixels of the image."""
        return tuple((self.patch_size if self.field is None else self.field) * scale for scale in self.scales)

    def __post_init__(self) -> None:
        check_on_image(self.image, self.pos, self.name)  # before the first of many parts is cut

    def __call__(self, spots: NDArray[np.int64] | None = None) -> Tensor:
        """Patches of some spots, or of all, uint8 [n, 3·S, P, P].

        Raises:
            ValueError: If the stain map cannot be fitted.
        """
        if spots is None:
            x = normalize_stain(self._cut(None, self.scales), self.stain, self.name)
        else:
            x = apply_stain(self._cut(spots, self.scales), self.stain_map)
        return torch.from_numpy(np.ascontiguousarray(x.transpose(0, 1, 3, 2)) if self.transpose_patches else x)

    @cached_property
    def stain_map(self) -> StainMap | None:
        """The map of the section's stain to the reference; None if stains are not normalized."""
        spots = stain_spots(len(self.pos))
        return fit_stain(self._first_fields(spots), len(spots) * self.patch_size**2, self.stain, self.name)

    def _first_fields(self, spots: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
        for start in range(0, len(spots), PATCHES_AT_ONCE):
            yield self._cut(spots[start : start + PATCHES_AT_ONCE], self.scales[:1])

    @cached_property
    def _cached(self) -> Any:
        """All patches before their stain is normalized, a memory map of the cache."""
        return cut_patches(self.image, self.pos, self.patch_size, self.field, self.scales, self.cache, self.name)

    def _cut(self, spots: NDArray[np.int64] | None, scales: Sequence[float]) -> NDArray[np.uint8]:
        if self.cache is not None:
            whole = self._cached
            if spots is not None:  # mapped again, so that the pages read of a large section do not stay in this process
                whole = np.memmap(whole.filename, np.uint8, "r", whole.offset, whole.shape)
            patches: NDArray[np.uint8] = whole[slice(None) if spots is None else spots, : 3 * len(scales)]
            return patches
        pos = self.pos if spots is None else self.pos[spots]
        return cut_patches(self.image, pos, self.patch_size, self.field, scales, None, self.name)


def rows_of(x: Tensor) -> Patches:
    """The patches or embeddings of spots, from a tensor that holds those of all spots, [N, ...]."""
    return lambda spots: x if spots is None else x[spots]


def decoded_once(patches: Patches) -> Patches:
    """Decode the JPEG or PNG of patches once and keep it in memory.

    Args:
        patches: Patches of a section; those of a cache, of other images or embeddings are returned unchanged.
    """
    if not isinstance(patches, SpotPatches) or patches.cache is not None or not isinstance(patches.image, RasterImage):
        return patches
    with patches.image.open() as region:
        return replace(patches, image=ArrayImage(region(0, 0, *patches.image.size)))


@contextmanager
def kept_open(patches: Patches) -> Iterator[Patches]:
    """Keep the image of patches open while they are cut piece by piece: JPEG and PNG are decoded once.

    Args:
        patches: Patches of a section; embeddings are returned unchanged.
    """
    if not isinstance(patches, SpotPatches):
        yield patches
        return
    regions: dict[int, Region] = {}
    with ExitStack() as levels:
        image = copy.copy(patches.image)

        def reopened(level: int = 0) -> AbstractContextManager[Region]:
            if level not in regions:
                regions[level] = levels.enter_context(patches.image.open(level) if level else patches.image.open())
            return nullcontext(regions[level])

        image.open = reopened  # type: ignore[method-assign]
        opened = replace(patches, image=image)
        vars(opened).update({name: vars(patches)[name] for name in FITTED if name in vars(patches)})
        yield opened
