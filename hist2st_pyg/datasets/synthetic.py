"""Made-up sections with a known link from image to expression, for tests, demonstrations and debugging.

Tissue regions differ in stain and in nuclei. Genes depend on the regions, the nuclei and the eosin under the spot, on
the tissue around the spot (so neighbors help), and on a smooth field that the image does not show (so no model is
perfect). Patients differ in stain and in depth. The noise genes are independent of all this.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from hist2st_pyg.io.names import select_names
from hist2st_pyg.section import Section
from hist2st_pyg.utils.rows import Floats

if TYPE_CHECKING:
    from anndata import AnnData


REGIONS = ("adipose", "immune", "stroma", "tumor")
HEMATOXYLIN = np.array([0.02, 0.14, 0.07, 0.20])  # of the region's ground, optical density
EOSIN = np.array([0.06, 0.14, 0.34, 0.22])
NUCLEI = np.array([2.0, 24.0, 7.0, 15.0])  # in a box as wide as half the pitch
STAINS = np.array([[0.65, 0.70, 0.29], [0.16, 0.92, 0.35]])  # red, green, blue absorption of hematoxylin, eosin
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def load(
    root: str | Path | None = None,
    names: Sequence[str] | None = None,
    *,
    seed: int = 0,
    patients: int = 3,
    sections_per_patient: int = 2,
    spots: int = 144,
    genes: int = 60,
    noise_genes: int = 6,
    pitch: int = 64,
) -> list[Section]:
    """Make sections ``A1, A2, B1, ...``; a section depends on the seed and its name, not on the other sections.

    Args:
        root: Not used; there are no files.
        names: The sections wanted, all when None.
        seed: Seed of everything random.
        patients: Number of patients, named by letters.
        sections_per_patient: Sections of each patient, numbered from 1.
        spots: Spots of each section, on a square array inside the tissue.
        genes: Genes, ``GENE1, ...``, followed by the noise genes.
        noise_genes: Number of genes that are pure noise, ``NOISE1, ...``.
        pitch: Distance of neighboring spots in pixels (200 µm).

    Raises:
        ValueError: If a number is out of range or a name unknown.
    """
    for what, value, low, high in (
        ("seed", seed, 0, 2**63),
        ("patients", patients, 1, len(LETTERS)),
        ("sections_per_patient", sections_per_patient, 1, 99),
        ("spots", spots, 4, 3000),
        ("genes", genes, 2, 20_000),
        ("noise_genes", noise_genes, 0, genes - 2),
        ("pitch", pitch, 16, 512),
    ):
        if not isinstance(value, int) or not low <= value <= high:
            raise ValueError(f"{what} must be a whole number from {low} to {high}, got {value!r}.")
    keys = {f"{LETTERS[p]}{s + 1}": (p, s) for p in range(patients) for s in range(sections_per_patient)}
    sections = []
    for name in select_names(names, keys, "Data set 'synthetic'"):
        patient, number = keys[name]
        tissue = _Tissue(default_rng([seed, 1, patient, number]), spots, pitch)
        image = _stain(tissue, default_rng([seed, 2, patient]), default_rng([seed, 3, patient, number]))
        counts = _counts(tissue, genes - noise_genes, noise_genes, seed, patient, number)
        sections.append(
            Section(
                name=name,
                patient=LETTERS[patient],
                patient_source="dataset",
                adata=_annotate(tissue, counts, genes - noise_genes),
                image=image,
                spot_diameter=pitch / 2,
                um_per_pixel=200 / pitch,
            )
        )
    return sections


class _Tissue:
    """The tissue: fields over the image [height, width] and, averaged under each spot, values [N]."""

    def __init__(self, rng: Generator, spots: int, pitch: int) -> None:
        from scipy.ndimage import gaussian_filter

        side = int(np.ceil(np.sqrt(1.15 * spots)))
        size = (side + 1) * pitch
        self.rng = rng
        across = np.linspace(-1, 1, size)
        outline = 1 - across[:, None] ** 4 - across**4 + 0.08 * _smooth(rng, size, 3 * pitch)
        grid = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2)
        pos = (1 + grid) * pitch + rng.normal(0, 0.02 * pitch, grid.shape)
        column, row = np.rint(pos).astype(int).T
        # The level that leaves exactly the wanted number of spots inside.
        inside = np.sort(np.argsort(-outline[row, column], kind="stable")[:spots])
        self.grid, self.pos = grid[inside], pos[inside]
        self.mask = outline > outline[row, column][inside].min() - 0.03

        fields = np.stack([_smooth(rng, size, 1.5 * pitch) for _ in REGIONS])
        weight = np.exp(5 * (fields - fields.max(axis=0)))
        self.regions = weight / weight.sum(axis=0)
        self.eosin = _smooth(rng, size, 0.8 * pitch)
        cells = _smooth(rng, size, 0.8 * pitch)
        density = np.tensordot(NUCLEI, self.regions, axes=1) * np.exp(0.35 * cells) / (pitch / 2) ** 2
        self.nuclei = (rng.random((size, size)) < density) & self.mask
        small = self.nuclei & (rng.random((size, size)) < self.regions[1])
        blobs = [
            2 * np.pi * radius**2 * gaussian_filter(points.astype(np.float32), radius, truncate=3)
            for points, radius in ((small, 0.03 * pitch), (self.nuclei & ~small, 0.045 * pitch))
        ]
        self.blobs = np.minimum(np.sum(blobs, axis=0), 1.5)

        self.spot_regions = np.stack([self._under(field, pitch) for field in self.regions], axis=1)
        self.spot_eosin = self._under(self.eosin, pitch)
        self.spot_nuclei = self._under((pitch / 2) ** 2 * self.nuclei, pitch)
        hidden = _smooth(rng, size, 2 * pitch)
        self.spot_hidden = self._under(hidden, pitch)
        square = ((self.pos[:, None] - self.pos) ** 2).sum(axis=-1)
        around = np.exp(-square / (2 * (1.2 * pitch) ** 2))
        np.fill_diagonal(around, 0)
        self.around = around / around.sum(axis=1, keepdims=True)

    def _under(self, field: NDArray[np.floating[Any] | np.bool_], pitch: int) -> Floats:
        half = pitch // 4
        corners = np.rint(self.pos).astype(int) - half
        return np.array([np.mean(field[y : y + 2 * half, x : x + 2 * half]) for x, y in corners], dtype=np.float64)


def _smooth(rng: Generator, size: int, scale: float) -> NDArray[np.float32]:
    """A random field of zero mean and unit variance that changes over ``scale`` pixels, [size, size]."""
    from scipy.ndimage import gaussian_filter, zoom

    step = max(1, int(scale / 6))
    small = -(-size // step) + 2
    field = gaussian_filter(rng.normal(size=(small, small)), scale / 2 / step, mode="wrap")
    field = zoom(field.astype(np.float32), step, order=1)[:size, :size]
    standard: NDArray[np.float32] = (field - field.mean()) / field.std()
    return standard


def _stain(tissue: _Tissue, patient: Generator, rng: Generator) -> NDArray[np.uint8]:
    """Stain the tissue (Beer-Lambert: light falls by 10^-optical density), in a color that depends on the patient."""
    strength = patient.lognormal(0, 0.10, 2)
    stains = np.maximum(STAINS + patient.normal(0, 0.025, STAINS.shape), 0)
    white = patient.uniform(238, 250, 3)
    hematoxylin = np.tensordot(HEMATOXYLIN, tissue.regions, axes=1) + 0.55 * tissue.blobs
    eosin = np.tensordot(EOSIN, tissue.regions, axes=1) * np.exp(0.30 * tissue.eosin)
    eosin = np.maximum(eosin + 0.04 * _smooth(rng, len(eosin), 6), 0)
    density = np.stack([hematoxylin, eosin], axis=-1) * strength * tissue.mask[..., None]
    light = white * 10.0 ** -(density @ stains) + rng.normal(0, 2.5, (*density.shape[:2], 3))
    image: NDArray[np.uint8] = np.clip(np.rint(light), 0, 255).astype(np.uint8)
    return image


def _counts(tissue: _Tissue, signal: int, noise: int, seed: int, patient: int, number: int) -> NDArray[np.int64]:
    """Draw zero-inflated negative binomial counts, [N, signal + noise]."""
    biology = default_rng([seed, 4])
    rng = default_rng([seed, 5, patient, number])
    regions, nuclei = tissue.spot_regions - 0.25, np.log1p(tissue.spot_nuclei) - 2.3
    cause = np.column_stack(
        [
            regions,
            nuclei,
            tissue.spot_eosin,
            tissue.around @ regions,
            tissue.around @ nuclei,
            tissue.spot_hidden,
        ]
    )
    scale = np.array([1.1] * 4 + [0.5, 0.35] + [1.6] * 4 + [0.8, 0.3])
    loading = biology.normal(size=(signal, cause.shape[1])) * scale
    log_share = biology.normal(0, 0.6, signal) + cause @ loading.T
    share = np.exp(log_share - log_share.max(axis=1, keepdims=True))
    noise_share = 0.5 * biology.lognormal(0, 0.5, noise) / max(signal, 1)
    share = np.column_stack([share / share.sum(axis=1, keepdims=True), np.tile(noise_share, (len(share), 1))])
    # Dispersion and dropout depend on the gene; depth depends on the patient and the spot, not on the image.
    dispersion = biology.uniform(3, 15, signal + noise)
    dropout = biology.beta(1, 15, signal + noise)
    depth = 60.0 * signal * default_rng([seed, 6, patient]).lognormal(0, 0.3) * rng.lognormal(0, 0.25, (len(share), 1))
    mean = depth * share
    drawn = rng.negative_binomial(dispersion, dispersion / (dispersion + mean))
    return np.where(rng.random(drawn.shape) < dropout, 0, drawn)


def _annotate(tissue: _Tissue, counts: NDArray[np.int64], signal: int) -> AnnData:
    import pandas as pd
    from anndata import AnnData
    from scipy.sparse import csr_matrix

    column, row = tissue.grid.T
    obs = pd.DataFrame(
        {
            "array_col": column,
            "array_row": row,
            "label": np.array(REGIONS, dtype=object)[tissue.spot_regions.argmax(axis=1)],
        },
        index=[f"{c}x{r}" for c, r in tissue.grid],
    )
    names = [f"GENE{i + 1}" if i < signal else f"NOISE{i + 1 - signal}" for i in range(counts.shape[1])]
    matrix = csr_matrix(counts.astype(np.float32))
    return AnnData(matrix, obs=obs, var=pd.DataFrame(index=names), obsm={"spatial": tissue.pos.copy()})
