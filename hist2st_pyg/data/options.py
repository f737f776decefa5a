"""The user's options for a section's ``Data``: patches, graph and target."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

from hist2st_pyg.data.expression import NormalizeBy
from hist2st_pyg.data.graph import check_graph
from hist2st_pyg.image.stain import STAINS
from hist2st_pyg.utils.bounds import above, at_least, between, check
from hist2st_pyg.utils.resolver import check_choice, resolve

LARGEST_PATCH = 4096
"""Largest side of a patch in pixels; one of them takes 48 MiB."""

MOST_NEIGHBORS = 1000
"""Largest number of neighbors of a spot, so that the number of edges does not grow with the square of the spots."""


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Options of a section's ``Data``, the same in a configuration and in the preprocessing of a model.

    Args:
        patch_size: Side of a patch in pixels, P.
        patch_um: Side of the field of view in µm; it is resampled to ``patch_size``.
        patch_pitch: Side of the field of view in spot pitches. No resolution is needed: it is the training spots' pitch
            in µm if that and the image's resolution are known, else the section's own pitch in pixels. With neither
            option, a patch is ``patch_size`` image pixels.
        scales: Factors of the field of view; each gives three channels.
        graph: Neighbors of a spot, a key of :data:`~hist2st_pyg.data.graph.GRAPHS`.
        graph_kwargs: Further arguments of it; ``radius`` in spot pitches, ``rings`` and ``hexagonal`` of ``"grid"``.
        k: Neighbors of each spot in the ``"knn"`` graph.
        max_distance: Drop neighbors farther than this many pitches.
        prune: Then drop some by distance, a key of :data:`~hist2st_pyg.data.graph.PRUNINGS`.
        coord_type: Positions that define neighbors; the paper's are those in the array.
        stain: Normalization of stains, a key of :data:`~hist2st_pyg.image.stain.STAINS`.
        normalize_by: Genes of the total by which a spot's counts are divided.
        transpose_patches: Patches are [3, W, H], as in the original programs, instead of [3, H, W].
        embedding: Instead of patches, ``x`` is the section's ``obsm[embedding]``, float [N, D].
    """

    patch_size: int = 112
    patch_um: float | None = None
    patch_pitch: float | None = None
    scales: tuple[float, ...] = (1.0,)
    graph: str = "knn"
    graph_kwargs: dict[str, Any] = field(default_factory=dict, hash=False)
    k: int = 4
    max_distance: float | None = None
    prune: str = "none"
    coord_type: Literal["pixel", "array"] = "pixel"
    stain: str = "none"
    normalize_by: NormalizeBy = "panel"
    transpose_patches: bool = False
    embedding: str | None = None

    PART: ClassVar[str] = "data"

    def __post_init__(self) -> None:
        """Refuse invalid values."""
        scales: Any = self.scales
        if isinstance(scales, list):  # from YAML or JSON
            object.__setattr__(self, "scales", tuple(scales))
        check(
            self,
            self.PART,
            patch_size=at_least(1),
            patch_um=between(0.1, 100_000),
            patch_pitch=above(0),
            scales=above(0),
            k=at_least(1),
            max_distance=above(0),
        )
        if self.patch_size > LARGEST_PATCH:
            raise ValueError(
                f"{self.PART}.patch_size must be at most {LARGEST_PATCH} pixels, got {self.patch_size}; set the field "
                "of view by patch_um or patch_pitch."
            )
        if self.k > MOST_NEIGHBORS:
            raise ValueError(f"{self.PART}.k must be at most {MOST_NEIGHBORS}, got {self.k}; use more layers.")
        if self.patch_um is not None and self.patch_pitch is not None:
            raise ValueError(
                f"Set the field of view by patch_um or patch_pitch, got both: {self.patch_um} and {self.patch_pitch}."
            )
        check_choice(("array", "pixel"), self.coord_type, "coord_type")
        resolve(STAINS, self.stain, "stain")
        check_graph(self.graph, self.graph_kwargs, self.prune)

    def data_options(self) -> dict[str, Any]:
        """These options by name, without what a subclass adds."""
        return {option.name: getattr(self, option.name) for option in fields(DataOptions)}
