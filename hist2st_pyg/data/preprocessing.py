"""From a section to PyG's ``Data``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from hist2st_pyg.data.expression import expression_target, panel_counts
from hist2st_pyg.data.options import DataOptions
from hist2st_pyg.data.section_data import SectionData, section_graph
from hist2st_pyg.data.spot_patches import Patches, SpotPatches, rows_of
from hist2st_pyg.image import HistologyImage
from hist2st_pyg.io.embeddings import section_embedding
from hist2st_pyg.io.tables import check_genes
from hist2st_pyg.section import Section
from hist2st_pyg.utils.array_places import spot_pitch
from hist2st_pyg.utils.bounds import above, check

__all__ = ["Preprocessing", "SectionData", "spot_pitch", "to_data"]


@dataclass(frozen=True)
class Preprocessing(DataOptions):
    """How a section becomes a ``Data``: fitted on the training sections and saved with the model.

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
        """Refuse invalid values."""
        super().__post_init__()
        check(self, self.PART, um_per_pixel=above(0), pitch=above(0))
        object.__setattr__(self, "genes", tuple(self.genes))
        if wrong := [gene for gene in self.genes if not isinstance(gene, str) or not gene]:
            raise ValueError(f"Preprocessing.genes must hold names, got {wrong[0]!r}.")
        check_genes(self.genes, "Preprocessing")

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain values."""
        return asdict(self)

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
        """The patches of spots on an image, cut on demand.

        Args:
            image: The H&E image.
            pos: Spot centers [N, 2] (x, y) in pixels.
            um_per_pixel: Resolution of the image in µm per pixel; needed with ``patch_um``.
            pitch: Distance of the array's spots in image pixels; None measures it.
            cache: Folder of the patch cache, or None.
            name: The section's name, for errors.

        Raises:
            ValueError: If ``patch_um`` is set and the image's resolution is unknown, or the model reads embeddings.
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
        """Distance of the training spots in pixels of an image; None if a resolution is unknown."""
        if self.pitch is None or self.um_per_pixel is None or um_per_pixel is None:
            return None
        return self.pitch * self.um_per_pixel / um_per_pixel

    def input_data(self, section: Section, cache: str | Path | None = None) -> SectionData:
        """A section's patches (or embeddings) and graph: all that a model reads of it, no counts."""
        data = self.build_graph(section.pos, section.grid)
        data.x = self.section_patches(section, cache)(None)
        return data

    def section_patches(self, section: Section, cache: str | Path | None = None) -> Patches:
        """A section's patches (or embeddings), cut on demand."""
        if self.embedding is not None:
            return rows_of(torch.from_numpy(section_embedding(section, self.embedding)))
        return self.patches(
            section.require_image(), section.pos, um_per_pixel=section.um_per_pixel, cache=cache, name=section.name
        )

    def build_graph(
        self, pos: NDArray[np.float64], grid: NDArray[np.int64], arrays: Sequence[NDArray[np.int64]] | None = None
    ) -> SectionData:
        """The graph of spots, without patches; see :func:`~hist2st_pyg.data.section_data.section_graph`."""
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
        """Add a section's measurements to its graph, and return it: counts, target and names.

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
        """Add size factors, gene mask, labels and names to a section's graph.

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
                f"and the median spot has {median:g} counts of them; check that the panel fits."
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
        ``edge_index`` [2, E] (source, target), ``edge_attr`` [E, 1] distance in spot pitches (array steps if the
        graph is on the array), ``counts`` and ``y`` [N, G], ``size_factor`` [N] (panel counts / section median),
        ``gene_mask`` [G] (False: not measured), ``label`` if known, and the names ``section`` and ``patient`` (empty if
        unknown).

    Raises:
        ValueError: If the section has no image, or none of the panel's counts.

    >>> from hist2st_pyg.datasets import load_sections
    >>> (section,) = load_sections("synthetic", names=["A1"], spots=16)
    >>> data = to_data(section, ["GENE1", "GENE2", "GENE3"], patch_size=32, k=4)
    >>> list(data.x.shape), list(data.edge_index.shape), list(data.y.shape)
    ([16, 3, 32, 32], [2, 64], [16, 3])
    """
    return Preprocessing(genes=tuple(genes), patch_size=patch_size, k=k, **preprocessing).to_data(section, cache)
