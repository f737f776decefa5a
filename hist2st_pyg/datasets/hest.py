"""Samples in the layout of HEST-1k (Jaume et al., *NeurIPS* 2024; https://github.com/mahmoodlab/HEST).

``st/<id>.h5ad`` holds counts and positions, ``wsis/<id>.tif`` the slide, ``patches/<id>.h5`` the patches around the
spots, and ``metadata/<id>.json`` the resolution, the patient and more. A sample is a section.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hist2st_pyg.image import HistologyImage
from hist2st_pyg.image.mosaic import PatchMosaic
from hist2st_pyg.io.alignment import in_order, on_image
from hist2st_pyg.io.anndata import first, read_adata, set_places, visium_diameter
from hist2st_pyg.io.hest_sample import Sample, find_samples
from hist2st_pyg.io.labels import LABEL, label_by_column
from hist2st_pyg.io.names import select_names
from hist2st_pyg.io.sidecars import check_patients
from hist2st_pyg.patients import Patients, with_patients
from hist2st_pyg.section import Section
from hist2st_pyg.utils.rows import Floats

logger = logging.getLogger(__name__)

OFF_CENTER = 0.1
"""Largest distance of a patch's center from its spot, as a share of the patch's side; HEST rounds to pixels."""


def load(
    root: str | Path,
    names: Sequence[str] | None = None,
    *,
    swap_xy: bool | None = None,
    use_patches: bool | None = None,
    patients: Patients | None = None,
    um_per_pixel: float | None = None,
    label_key: str = LABEL,
    counts_layer: str | None = None,
) -> list[Section]:
    """Read samples.

    Positions are ``obsm["spatial"]`` (x, y), else two columns of ``obs``. Some files have x and y swapped: the reader
    checks in which order more spots are on the slide's tissue, and raises an error if the slide contradicts the file.
    Spots that are not on the slide are dropped with a warning.

    Args:
        root: The folder that holds ``st``.
        names: Samples such as ``["TENX99"]``, all when None.
        swap_xy: True swaps x and y, False keeps them, both without an error; None keeps them and checks them.
        use_patches: Use the patches instead of the slide, with white around them; spots without a patch are dropped.
            None does so if there is no slide.
        patients: Sample -> patient. When None, the metadata name it, or it is unknown; ``"each_section"`` declares each
            sample whose metadata do not name it a separate patient.
        um_per_pixel: Resolution of the slides; None takes the metadata's: HEST's estimate from the spots, else the
            value from the slide's file.
        label_key: The column of ``obs`` with each spot's region.
        counts_layer: The layer that holds the raw counts, if ``X`` does not.

    Raises:
        FileNotFoundError: If the folder is not in this layout, or ``use_patches`` is set and there are none.
        ValueError: If a sample is unknown, a file is malformed, x and y look swapped, or patches are not around spots.
    """
    samples = find_samples(Path(root))
    chosen = select_names(names, samples, f"Data set 'hest' in {root}")
    check_patients(patients, chosen, samples)
    sections = []
    for name in chosen:
        resolution = first(um_per_pixel, samples[name].um_per_pixel())
        sections.append(_read_section(samples[name], resolution, swap_xy, use_patches, label_key, counts_layer))
    if not isinstance(patients, Mapping):
        _log_shared_patients([samples[name] for name in chosen])
    return with_patients(sections, patients)


def is_dataset(root: Path) -> bool:
    """Whether this is a folder in HEST's layout: st/<id>.h5ad beside wsis, patches or metadata."""
    return any(root.glob("st/*.h5ad")) and any((root / folder).is_dir() for folder in ("wsis", "patches", "metadata"))


def _read_section(
    sample: Sample,
    um_per_pixel: float | None,
    swap_xy: bool | None,
    use_patches: bool | None,
    label_key: str,
    counts_layer: str | None,
) -> Section:
    adata = read_adata(sample.path, counts_layer)
    slide = sample.slide()
    picture, size = sample.picture(slide, adata)
    pos = in_order(sample.positions(adata), picture, size, swap_xy, str(sample))
    image = _image(sample, slide, use_patches, size, um_per_pixel)
    spots = [str(name) for name in adata.obs_names]
    keep = np.ones(len(pos), dtype=np.bool_) if size is None else on_image(pos, size)
    _log_dropped(sample, keep, f"are not on the slide ({size[0]} x {size[1]} px)" if size else "")
    if isinstance(image, PatchMosaic):
        has_patch = _on_patches(image, spots, pos, bool(swap_xy), sample)
        _log_dropped(sample, has_patch, f"have no patch in {image.path.name}")
        keep &= has_patch
    adata = adata[keep].copy()
    adata.obsm["spatial"] = pos[keep]
    set_places(adata, sample.path)
    label_by_column(adata, sample.path, label_key)
    return Section(
        name=sample.name,
        patient=sample.patient,
        adata=adata,
        image=image,
        spot_diameter=first(sample.spot_diameter(um_per_pixel), visium_diameter(adata, sample.path)),
        um_per_pixel=um_per_pixel,
        patient_source="dataset",
    )


def _image(
    sample: Sample,
    slide: HistologyImage | None,
    use_patches: bool | None,
    size: tuple[int, int] | None,
    um_per_pixel: float | None,
) -> HistologyImage | None:
    """The slide, or the patches in its place, or None if there are neither."""
    patches = sample.patches()
    if use_patches and patches is None:
        raise FileNotFoundError(f"{sample}: there are no patches {sample.root / 'patches' / sample.name}.h5.")
    if patches is None or use_patches is False or (slide is not None and not use_patches):
        if slide is None:
            logger.info("%s: there is no slide, so the section has no image", sample)
        return slide
    mosaic = PatchMosaic(patches, size, um_per_pixel)
    logger.warning(
        "%s: the image is made of %d patches of %.0f px; beyond them it is white, also in a larger field of view",
        sample,
        len(mosaic.barcodes),
        mosaic.side,
    )
    return mosaic


def _on_patches(
    mosaic: PatchMosaic, spots: Sequence[str], pos: Floats, swapped: bool, sample: Sample
) -> NDArray[np.bool_]:
    """Whether each spot has a patch, bool [N]; they must lie around their spots."""
    row = {name: i for i, name in enumerate(mosaic.barcodes)}
    has_patch = np.array([name in row for name in spots])
    if not has_patch.any():
        raise ValueError(
            f"{sample}: no spot is among the barcodes of {mosaic.path}, such as {mosaic.barcodes[0]!r}; the spots "
            f"have names like {spots[0]!r}."
        )
    centers = mosaic.centers[[row[name] for name in spots if name in row]]
    here, other = (float(np.median(np.abs(centers - each[has_patch]).max(axis=1))) for each in (pos, pos[:, ::-1]))
    allowed = max(2.0, OFF_CENTER * mosaic.side)
    if here > allowed >= other:
        raise ValueError(
            f"{sample}: {mosaic.path} was cut around spots with x and y {'as in the file' if swapped else 'swapped'} "
            f"(median distance {other:.1f} px, else {here:.1f} px). Set swap_xy={not swapped}."
        )
    if here > allowed:
        raise ValueError(
            f"{sample}: the patches of {mosaic.path} are not around their spots (median distance {here:.1f} px, their "
            f"side {mosaic.side:.1f} px). coords must be the upper left corners, x and y, in the slide's pixels; if "
            "the file does not state the side, set um_per_pixel."
        )
    return has_patch


def _log_dropped(sample: Sample, keep: NDArray[np.bool_], why: str) -> None:
    if not keep.any():
        raise ValueError(f"{sample}: all {len(keep)} spots {why}.")
    if not keep.all():
        logger.warning("%s: %d of %d spots %s and are dropped", sample, (~keep).sum(), len(keep), why)


def _log_shared_patients(samples: Sequence[Sample]) -> None:
    """Warn if several studies share a patient's name: HEST numbers patients within a study."""
    studies: dict[str, set[str]] = {}
    for sample in samples:
        if sample.patient is not None:
            studies.setdefault(sample.patient, set()).add(sample.study)
    if shared := sorted(patient for patient, titles in studies.items() if len(titles) > 1):
        logger.warning(
            "hest: several studies have a patient %s; splits treat them as one, set patients=... to separate them",
            ", ".join(map(repr, shared)),
        )
