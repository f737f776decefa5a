"""From a section to PyG's ``Data``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from hist2st_pyg.data.expression import NormalizeBy, expression_target, panel_counts
from hist2st_pyg.data.graph import check_graph
from hist2st_pyg.data.section_data import SectionData, section_graph
from hist2st_pyg.data.source import Patches, SpotPatches, rows_of
from hist2st_pyg.image import HistologyImage
from hist2st_pyg.image.stain import STAINS
from hist2st_pyg.io.embeddings import section_embedding
from hist2st_pyg.io.tables import check_genes
from hist2st_pyg.section import Section
from hist2st_pyg.utils.array_places import spot_pitch
from hist2st_pyg.utils.bounds import above, at_least, between, check
from hist2st_pyg.utils.resolver import resolve

__all__ = ["DataOptions", "Preprocessing", "SectionData", "spot_pitch", "to_data"]

LARGEST_PATCH = 4096
"""Largest side of a patch in pixels; one of them takes 48 MiB."""

MOST_NEIGHBORS = 1000
"""Largest number of neighbors of a spot, so that the number of edges does not grow with the square of the spots."""


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """What of a section's ``Data`` a user chooses: patches, graph and target.

    Args:
        patch_size: Side of a patch in pixels, P.
        patch_um: Side of the field of view in µm; it is resampled to ``patch_size``.
        patch_pitch: Side of the field of view in spot pitches. No resolution is needed: it is the training spots' pitch
            in µm where that and the image's resolution are known, else the section's own pitch in pixels. With neither
            a patch is ``patch_size`` image pixels.
        scales: Factors of the field of view; each gives three channels.
        graph: Neighbors of a spot, a key of :data:`~hist2st_pyg.data.graph.GRAPHS`.
        graph_kwargs: Further arguments of it; ``radius`` in spot pitches, ``rings`` and ``hexagonal`` of ``"grid"``.
        k: Neighbors of each spot in the ``"knn"`` graph.
        max_distance: Drop neighbors farther than so many pitches.
        prune: Then drop some by distance, a key of :data:`~hist2st_pyg.data.graph.PRUNINGS`.
        coord_type: Positions that make neighbors; the paper takes those in the array.
        stain: Normalization of stains, a key of :data:`~hist2st_pyg.image.stain.STAINS`.
        normalize_by: Genes of the total by which a spot's counts are divided.
        transpose_patches: Patches are [3, W, H]; as in the original programs, instead of [3, H, W].
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
        """Refuse what cannot be meant."""
        scales: Any = self.scales
        if isinstance(scales, list):  # as YAML and JSON hold it
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
                f"{self.PART}.patch_size is at most {LARGEST_PATCH} pixels, got {self.patch_size}; the field of view "
                "is chosen by patch_um or patch_pitch, whatever the number of pixels."
            )
        if self.k > MOST_NEIGHBORS:
            raise ValueError(f"{self.PART}.k is at most {MOST_NEIGHBORS}, got {self.k}; more layers reach farther.")
        if self.patch_um is not None and self.patch_pitch is not None:
            raise ValueError(
                f"The field of view is patch_um or patch_pitch, got both: {self.patch_um} and {self.patch_pitch}."
            )
        if self.coord_type not in ("pixel", "array"):
            raise ValueError(f"Unknown coord_type={self.coord_type!r}. Choose one of: pixel, array.")
        resolve(STAINS, self.stain, "stain")
        check_graph(self.graph, self.graph_kwargs, self.prune)

    def data_options(self) -> dict[str, Any]:
        """These options by name, without what a subclass adds."""
        return {option.name: getattr(self, option.name) for option in fields(DataOptions)}


@dataclass(frozen=True)
class Preprocessing(DataOptions):
    """How a section becomes a ``Data``: fitted on the training sections, it travels with the model.

    Args:
        genes: The gene panel, in order.
        um_per_pixel: Resolution of the training images in µm per pixel, where known.
        pitch: Median distance of neighboring training spots in pixels.

    The further options are those of :class:`DataOptions`.

    >>> from hist2st_pyg.datasets import load_sections
    >>> (section,) = load_sections("synthetic", names=["A1"], spots=16)
    >>> preprocessing = Preprocessing(genes=("GENE1", "GENE2"), patch_size=32, k=2, scales=(1.0, 3.0))
    >>> list(preprocessing.to_data(section).x.shape)
    [16, 6, 32, 32]
    """

    genes: tuple[str, ...]
    um_per_pixel: float | None = None
    pitch: float | None = None

    PART: ClassVar[str] = "Preprocessing"

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        super().__post_init__()
        check(self, self.PART, um_per_pixel=above(0), pitch=above(0))
        object.__setattr__(self, "genes", tuple(self.genes))
        if wrong := [gene for gene in self.genes if not isinstance(gene, str) or not gene]:
            raise ValueError(f"Preprocessing.genes holds names, got {wrong[0]!r}.")
        check_genes(self.genes, "Preprocessing")

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        return asdict(self)

    def image_data(
        self, image: HistologyImage, pos: NDArray[np.float64], grid: NDArray[np.int64], **known: Any
    ) -> SectionData:
        """Patches and graph of spots on an image: all that a prediction needs.

        Args:
            image: The H&E image.
            pos: Spot centers [N, 2] (x, y) in pixels.
            grid: Array column and row [N, 2].
            known: What else is known, see :meth:`patches`.

        Raises:
            ValueError: As :meth:`patches`.
        """
        x = self.patches(image, pos, **known)()
        data = self.build_graph(pos, grid)
        data.x = x
        return data

    def patches(
        self,
        image: HistologyImage,
        pos: NDArray[np.float64],
        *,
        um_per_pixel: float | None = None,
        pitch: float | None = None,
        cache: str | Path | None = None,
        name: str = "",
    ) -> SpotPatches:
        """The patches of spots on an image, which are cut when they are asked for.

        Args:
            image: The H&E image.
            pos: Spot centers [N, 2] (x, y) in pixels.
            um_per_pixel: Resolution of the image in µm per pixel; needed with ``patch_um``.
            pitch: Distance of the array's spots in image pixels; None measures it.
            cache: Folder of the patch cache, or None.
            name: The section's name, for errors.

        Raises:
            ValueError: If ``patch_um`` is asked for on an image of unknown resolution, or the model reads embeddings.
        """
        if self.embedding is not None:
            raise ValueError(
                f"The model reads precomputed embeddings (obsm[{self.embedding!r}]), not an image; predict a section "
                "that has them."
            )
        return SpotPatches(
            image,
            pos,
            self.patch_size,
            self._field(pos, um_per_pixel, pitch, name),
            self.scales,
            self.stain,
            self.transpose_patches,
            cache,
            name,
        )

    def _field(
        self, pos: NDArray[np.float64], um_per_pixel: float | None, pitch: float | None, name: str
    ) -> float | None:
        """Side of the field of view in image pixels; None means ``patch_size`` of them."""
        if self.patch_um is not None:
            if um_per_pixel is None:
                raise ValueError(
                    f"Section {name!r}: patch_um={self.patch_um} needs the image's um_per_pixel, which is unknown."
                )
            return self.patch_um / um_per_pixel
        if self.patch_pitch is None:
            return None
        return self.patch_pitch * (self.pitch_in(um_per_pixel) or pitch or spot_pitch(pos))

    def pitch_in(self, um_per_pixel: float | None) -> float | None:
        """Distance of the training spots in pixels of an image; None where a resolution is unknown."""
        if self.pitch is None or self.um_per_pixel is None or um_per_pixel is None:
            return None
        return self.pitch * self.um_per_pixel / um_per_pixel

    def input_data(self, section: Section, cache: str | Path | None = None) -> SectionData:
        """A section's patches (or embeddings) and graph: all that a model reads of it, no counts."""
        data = self.build_graph(section.pos, section.grid)
        data.x = self.section_patches(section, cache)(None)
        return data

    def section_patches(self, section: Section, cache: str | Path | None = None) -> Patches:
        """A section's patches (or embeddings), of the spots that are asked for."""
        if self.embedding is not None:
            return rows_of(torch.from_numpy(section_embedding(section, self.embedding)))
        return self.patches(
            section.require_image(), section.pos, um_per_pixel=section.um_per_pixel, cache=cache, name=section.name
        )

    def build_graph(
        self, pos: NDArray[np.float64], grid: NDArray[np.int64], arrays: Sequence[NDArray[np.int64]] | None = None
    ) -> SectionData:
        """The graph of spots, without what they show; see :func:`~hist2st_pyg.data.section_data.section_graph`."""
        kwargs = {"k": self.k, **self.graph_kwargs} if self.graph == "knn" else self.graph_kwargs
        return section_graph(
            pos,
            grid,
            self.graph,
            kwargs,
            self.max_distance,
            prune=self.prune,
            coord_type=self.coord_type,
            arrays=arrays,
        )

    def to_data(self, section: Section, cache: str | Path | None = None) -> SectionData:
        """The whole ``Data`` of a measured section, as :func:`to_data` describes it."""
        return self.add_measured(self.input_data(section, cache), section)

    def add_measured(self, data: SectionData, section: Section) -> SectionData:
        """Add what was measured of a section to its graph, and return it: counts, target and names.

        Raises:
            ValueError: If the section has none of the panel's counts.
        """
        counts, gene_mask = panel_counts(section, self.genes)
        self.describe(data, section, counts.sum(1), gene_mask)
        data.counts = torch.from_numpy(counts)
        data.y = torch.from_numpy(expression_target(section, counts, self.normalize_by))
        return data

    def describe(
        self, data: SectionData, section: Section, totals: NDArray[np.float32], gene_mask: NDArray[np.bool_]
    ) -> None:
        """Add to a section's graph what was measured but for counts and target: size factors, mask, labels, names.

        Args:
            data: The graph.
            section: The section.
            totals: The panel's counts of each spot [N].
            gene_mask: The genes that the section measured, bool [G].

        Raises:
            ValueError: If the section has none of the panel's counts.
        """
        median = float(np.median(totals))
        if not gene_mask.any() or median == 0:
            raise ValueError(
                f"Section {section.name!r}: {int(gene_mask.sum())} of the panel's {len(self.genes)} genes are measured "
                f"and the median spot has {median:g} counts of them; is this the panel for it?"
            )
        data.size_factor = torch.from_numpy((totals / median).astype(np.float32))
        data.gene_mask = torch.from_numpy(gene_mask)
        if section.label is not None:
            data.label = [str(label) for label in section.label]
        data.section, data.patient = section.name, section.patient or ""  # PyG keeps no None


def to_data(
    section: Section,
    genes: Sequence[str],
    patch_size: int = 112,
    k: int = 4,
    *,
    cache: str | Path | None = None,
    **preprocessing: Any,
) -> SectionData:
    """Turn a section into PyG's ``Data``.

    Args:
        section: A section with an image.
        genes: The gene panel.
        patch_size: Side of a patch in pixels, P.
        k: Neighbors of each spot.
        cache: Folder of the patch cache, or None.
        preprocessing: Further fields of :class:`Preprocessing`.

    Returns:
        ``Data`` with ``x`` uint8 [N, 3·S, P, P], ``pos`` [N, 2] pixels (x, y), ``grid`` [N, 2] array column and row,
        ``edge_index`` [2, E] (source, target), ``edge_attr`` [E, 1] distance in spot pitches (array steps where the
        graph is on the array), ``counts`` and ``y`` [N, G], ``size_factor`` [N] (panel counts / section median),
        ``gene_mask`` [G] (False: not measured), ``label`` where known, and the names ``section`` and ``patient``
        (empty where it is not known).

    Raises:
        ValueError: If the section has no image, or none of the panel's counts.

    >>> from hist2st_pyg.datasets import load_sections
    >>> (section,) = load_sections("synthetic", names=["A1"], spots=16)
    >>> data = to_data(section, ["GENE1", "GENE2", "GENE3"], patch_size=32, k=4)
    >>> list(data.x.shape), list(data.edge_index.shape), list(data.y.shape)
    ([16, 3, 32, 32], [2, 64], [16, 3])
    """
    return Preprocessing(genes=tuple(genes), patch_size=patch_size, k=k, **preprocessing).to_data(section, cache)
