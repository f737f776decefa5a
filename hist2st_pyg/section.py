"""A tissue section: an image, the spots on it, and the counts measured there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from hist2st_pyg.image import HistologyImage, open_image
from hist2st_pyg.utils.array_places import places_on_array
from hist2st_pyg.utils.bounds import is_positive

if TYPE_CHECKING:
    from anndata import AnnData

PLACES = ("array_col", "array_row")
"""The columns of ``obs`` with a spot's place on its array."""

UNKNOWN = ("", "nan", "none", "null", "na", "n/a", "<na>", "nat")
"""Texts for a missing value, in lower case."""

PatientSource = Literal["dataset", "given", "each_section", "unknown", "unrecorded"]
"""The source of a section's patient: the data set, the user, the user's declaration that each section has a separate
patient, or none; ``"unrecorded"`` marks models of earlier versions."""


@dataclass(frozen=True)
class SectionRecord:
    """A section by name, as a model stores its training sections.

    Args:
        name: The section's name.
        patient: Its patient; None if unknown.
        patient_source: The source of the patient.
    """

    name: str
    patient: str | None = None
    patient_source: PatientSource = "unknown"


@dataclass(frozen=True, eq=False)
class Section:
    """One tissue section, validated on construction.

    The fields follow scverse's conventions, so scanpy and squidpy accept ``section.adata`` unchanged.

    Args:
        name: The section's name, unique within a data set.
        patient: The patient or animal, None if unknown; splits separate patients.
        adata: Raw integer counts ``X`` [N spots, genes] (dense or sparse), ``obsm["spatial"]`` [N, 2] (x right, y down,
            full-resolution pixels), ``obs["array_col"]`` and ``obs["array_row"]`` (non-negative integers; without them,
            they follow from the positions of a square or hexagonal array); optionally ``obs["label"]``, the
            pathologist's region.
        image: The H&E image: an array, the path of a file, a :class:`~hist2st_pyg.image.HistologyImage`, or None. It is
            opened when patches are cut.
        spot_diameter: Diameter of a spot in pixels, if known.
        um_per_pixel: Resolution of the image in µm per pixel, if known.
        patient_source: The source of the patient. None means ``"given"`` with a patient, ``"unknown"`` without.

    Raises:
        TypeError: If a field has the wrong type.
        ValueError: If a field holds invalid values; the message names the section, field and value.

    >>> import anndata, numpy as np
    >>> spatial = {"spatial": np.array([[50.0, 50.0], [90.0, 50.0]])}
    >>> section = Section("A1", "A", anndata.AnnData(np.array([[3, 0], [1, 2]]), obsm=spatial))
    >>> section
    Section('A1', patient='A', 2 spots x 2 genes, no image)
    >>> section.grid.tolist()
    [[0, 0], [1, 0]]
    """

    name: str
    patient: str | None
    adata: AnnData
    image: HistologyImage | NDArray[np.uint8] | str | Path | None = None
    spot_diameter: float | None = None
    um_per_pixel: float | None = None
    patient_source: PatientSource | None = None

    def __post_init__(self) -> None:
        for field, value in {"name": self.name, "patient": self.patient}.items():
            if field == "patient" and value is None:
                continue
            if not isinstance(value, str) or not value:
                raise TypeError(f"Section {self.name!r}: {field} must be a non-empty string, got {value!r}.")
        if self.patient is not None and (self.patient != self.patient.strip() or self.patient.lower() in UNKNOWN):
            # " A" would be another patient than "A", and all missing ones, read as text, one patient.
            raise self._error(
                "patient", f"must be a name without spaces around it or None (unknown), got {self.patient!r}"
            )
        if self.patient is None:
            object.__setattr__(self, "patient_source", "unknown")
        elif self.patient_source in (None, "unknown"):
            object.__setattr__(self, "patient_source", "given")
        if self.image is not None:
            try:
                object.__setattr__(self, "image", open_image(self.image))
            except (TypeError, ValueError, FileNotFoundError) as error:
                raise type(error)(f"Section {self.name!r}: image: {error}") from error
        for field in ("spot_diameter", "um_per_pixel"):
            value = getattr(self, field)
            if value is not None and not is_positive(value):
                raise self._error(field, f"must be a positive number or None (unknown), got {value!r}")
        self._check_names()
        self._check_counts()
        self._check_positions()

    def _check_names(self) -> None:
        adata = self.adata
        if not hasattr(adata, "obsm"):
            raise TypeError(f"Section {self.name!r}: adata must be an AnnData, got {type(adata).__name__}.")
        if adata.n_obs == 0 or adata.n_vars == 0:
            raise self._error("adata", f"needs at least one spot and one gene, got {adata.n_obs} x {adata.n_vars}")
        for field, names in (("adata.var_names", adata.var_names), ("adata.obs_names", adata.obs_names)):
            if not names.is_unique:
                raise self._error(field, f"must be unique, got {names[names.duplicated()][0]!r} more than once")

    def _check_counts(self) -> None:
        if self.adata.X is None:
            raise self._error("adata.X", "must hold raw counts, got None")
        if problem := wrong_count(self.adata.X):
            raise self._error(
                "adata.X", f"must hold raw counts (integers from 0), {problem}; use counts before normalization"
            )

    def _check_positions(self) -> None:
        if "spatial" not in self.adata.obsm:
            raise self._error("adata.obsm['spatial']", "is missing; it must hold each spot's x, y in image pixels")
        spatial = np.asarray(self.adata.obsm["spatial"])
        if spatial.shape != (self.adata.n_obs, 2) or not _is_finite(spatial):
            raise self._error("adata.obsm['spatial']", f"must be finite, [N, 2], got shape {list(spatial.shape)}")
        missing = [field for field in PLACES if field not in self.adata.obs]
        if len(missing) == 1:
            raise self._error(f"adata.obs['{missing[0]}']", f"is missing; set both {' and '.join(PLACES)}, or neither")
        if missing:
            self._derive_places(spatial.astype(np.float64))
        for field in PLACES:
            try:
                values = np.asarray(self.adata.obs[field], dtype=float)
            except (TypeError, ValueError) as error:
                raise self._error(f"adata.obs['{field}']", f"must hold integers from 0: {error}") from error
            wrong = values[~((values >= 0) & (values == np.floor(values)))]
            if wrong.size:
                raise self._error(f"adata.obs['{field}']", f"must hold integers from 0, got {wrong[0]!s}")

    def _derive_places(self, pos: NDArray[np.float64]) -> None:
        try:
            grid = places_on_array(pos)
        except ValueError as error:
            fields = " and ".join(f"obs['{field}']" for field in PLACES)
            raise self._error(
                "adata.obsm['spatial']",
                f"does not determine {fields}, which are missing: {str(error).rstrip('.')}; set both columns",
            ) from error
        own = self.adata.copy()  # the caller's does not change
        for field, values in zip(PLACES, grid.T, strict=True):
            own.obs[field] = values
        object.__setattr__(self, "adata", own)

    def _error(self, field: str, problem: str) -> ValueError:
        return ValueError(f"Section {self.name!r}: {field} {problem}.")

    def __repr__(self) -> str:
        image = "no image" if self.image is None else "image"
        return (
            f"Section({self.name!r}, patient={self.patient!r}, {len(self)} spots x {self.adata.n_vars} genes, {image})"
        )

    def __len__(self) -> int:
        return int(self.adata.n_obs)

    @property
    def record(self) -> SectionRecord:
        """The section's name, patient and source of the patient."""
        return SectionRecord(self.name, self.patient, self.patient_source or "unknown")

    @property
    def pos(self) -> NDArray[np.float64]:
        """Spot centers, float [N, 2]: x right, y down, in full-resolution pixels."""
        return np.asarray(self.adata.obsm["spatial"], dtype=np.float64)

    @property
    def grid(self) -> NDArray[np.int64]:
        """Array column and row of each spot, int [N, 2]."""
        return np.stack([np.asarray(self.adata.obs[f], dtype=np.int64) for f in PLACES], axis=1)

    @property
    def label(self) -> NDArray[Any] | None:
        """The pathologist's region of each spot, str [N]; None if the data set has none."""
        return np.asarray(self.adata.obs["label"], dtype=object) if "label" in self.adata.obs else None

    def require_image(self) -> HistologyImage:
        """Return the image, or raise an error if the section has none."""
        if not isinstance(self.image, HistologyImage):
            raise ValueError(f"Section {self.name!r} has no image, so its patches cannot be cut.")
        return self.image


MOST_COUNTS = 2**31
"""Largest count of a gene in a spot; sums of larger ones are not exact."""

VALUES_AT_ONCE = 2**22
"""Number of counts that are checked at a time, to limit memory."""


def wrong_count(matrix: Any) -> str | None:
    """Describe a value of a dense or sparse matrix that is not a raw count, as "got ..."; None if there is none."""
    values = np.asarray(matrix.data if hasattr(matrix, "indptr") else matrix)
    if values.dtype.kind not in "uif":
        return f"got values of type {values.dtype}"
    flat = values.reshape(-1)
    pieces = [flat[start : start + VALUES_AT_ONCE] for start in range(0, flat.size, VALUES_AT_ONCE)]
    if not all(np.isfinite(piece).all() for piece in pieces):
        return "got a value that is not finite"
    for piece in pieces:
        wrong = piece[(piece < 0) | (piece != np.floor(piece)) | (piece > MOST_COUNTS)]
        if wrong.size:
            return f"got {wrong[0]!s}"
    return None


def _is_finite(values: NDArray[Any]) -> bool:
    try:
        return bool(np.isfinite(values.astype(np.float64)).all())
    except (TypeError, ValueError):
        return False
