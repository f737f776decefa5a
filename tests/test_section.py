from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import sparse

from hist2st_pyg import Section
from hist2st_pyg.image import HistologyImage
from hist2st_pyg.section import SectionRecord

N, G = 5, 3
IMAGE = np.full((40, 60, 3), 200, np.uint8)


def measured(counts: Any = None, **changes: Any) -> anndata.AnnData:
    """Five spots of three genes; ``changes`` replaces columns of ``obs``."""
    obs = {"array_col": np.arange(N), "array_row": np.arange(N) % 2, **changes}
    return anndata.AnnData(
        np.arange(N * G, dtype=np.float32).reshape(N, G) if counts is None else counts,
        obs=pd.DataFrame(obs, index=[f"s{i}" for i in range(N)]),
        var=pd.DataFrame(index=[f"G{i}" for i in range(G)]),
        obsm={"spatial": np.stack([np.arange(N) * 10, np.arange(N)], 1)},
    )


def test_what_a_section_says() -> None:
    section = Section("A1", "A", measured(label=list("xxyyz")), IMAGE, spot_diameter=12.5, um_per_pixel=0.5)
    assert len(section) == N
    assert section.pos.dtype == np.float64
    np.testing.assert_array_equal(section.pos, np.stack([np.arange(N) * 10, np.arange(N)], 1))
    assert section.grid.dtype == np.int64
    np.testing.assert_array_equal(section.grid, np.stack([np.arange(N), np.arange(N) % 2], 1))  # column, row
    assert section.label is not None
    assert section.label.tolist() == list("xxyyz")
    assert repr(section) == "Section('A1', patient='A', 5 spots x 3 genes, image)"
    assert isinstance(section.image, HistologyImage)
    assert section.require_image() is section.image
    assert section.image.size == (60, 40)


def test_what_may_be_missing() -> None:
    section = Section("A1", "A", measured())
    assert section.label is None
    assert section.spot_diameter is None
    assert section.um_per_pixel is None
    assert "no image" in repr(section)
    with pytest.raises(ValueError, match="Section 'A1' has no image, so its patches cannot be cut"):
        section.require_image()


def test_a_section_cannot_be_changed() -> None:
    section = Section("A1", "A", measured())
    with pytest.raises(FrozenInstanceError):
        section.name = "A2"  # type: ignore[misc]


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array])
@pytest.mark.parametrize("dtype", [np.int64, np.float32, np.uint16])
def test_counts_may_be_dense_or_sparse(convert: Callable[..., Any], dtype: Any) -> None:
    counts = convert(np.arange(N * G).reshape(N, G).astype(dtype))
    assert len(Section("A1", "A", measured(counts))) == N


def test_the_image_is_opened_when_it_is_needed(tmp_path: Path) -> None:
    Image.fromarray(IMAGE).save(tmp_path / "image.png")
    section = Section("A1", "A", measured(), tmp_path / "image.png")
    (tmp_path / "image.png").write_bytes(b"no image any more")
    with pytest.raises(ValueError, match=r"image\.png is damaged or not a JPEG or PNG image"):
        _ = section.require_image().size


@pytest.mark.parametrize(
    ("field", "value"), [("name", ""), ("name", None), ("name", 3), ("patient", ""), ("patient", 3)]
)
def test_names_are_strings(field: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"{field} must be a non-empty string, got"):
        Section(**{"name": "A1", "patient": "A", "adata": measured(), field: value})


@pytest.mark.parametrize("patient", [" A", "A\n", "nan", "None", "NA"])
def test_a_patient_is_neither_padded_nor_a_missing_value_as_text(patient: str) -> None:
    with pytest.raises(
        ValueError, match=r"Section 'A1': patient must be a name without spaces .* or None \(unknown\), got"
    ):
        Section("A1", patient, measured())


def test_a_patient_may_be_unknown() -> None:
    unknown = Section("A1", None, measured(), patient_source="dataset")
    assert unknown.record == SectionRecord("A1", None, "unknown")
    assert repr(unknown).startswith("Section('A1', patient=None, ")
    assert Section("A1", "A", measured()).patient_source == "given"
    assert replace(unknown, patient="A").record == SectionRecord("A1", "A", "given")
    assert Section("A1", "A", measured(), patient_source="dataset").patient_source == "dataset"


@pytest.mark.parametrize("field", ["spot_diameter", "um_per_pixel"])
@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf"), "fine", True])
def test_sizes_are_positive(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"Section 'A1': {field} must be a positive number or None"):
        Section("A1", "A", measured(), **{field: value})


@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (-1.0, r"raw counts \(integers from 0\), got .*-1.0.*before normalization"),
        (0.5, r"raw counts \(integers from 0\), got .*0.5"),
        (np.nan, "not finite"),
        (np.inf, "not finite"),
    ],
)
def test_counts_are_raw(
    convert: Callable[..., Any], value: float, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hist2st_pyg.section.VALUES_AT_ONCE", 2)  # what is wrong is not among the first
    counts = np.ones((N, G), np.float32)
    counts[3, 1] = value
    with pytest.raises(ValueError, match=rf"Section 'A1': adata\.X .*{message}"):
        Section("A1", "A", measured(convert(counts)))


def test_there_are_counts() -> None:
    adata = measured()
    adata.X = None
    with pytest.raises(ValueError, match=r"adata\.X must hold raw counts, got None"):
        Section("A1", "A", adata)
    for empty in (measured()[:0], measured()[:, :0]):
        with pytest.raises(ValueError, match=r"adata needs at least one spot and one gene, got . x ."):
            Section("A1", "A", empty.copy())


def test_names_of_genes_and_spots_are_unique() -> None:
    genes, spots = measured(), measured()
    genes.var_names = ["G0", "G1", "G0"]
    spots.obs_names = ["s0", "s1", "s2", "s1", "s4"]
    with pytest.raises(ValueError, match=r"adata\.var_names must be unique, got 'G0' more than once"):
        Section("A1", "A", genes)
    with pytest.raises(ValueError, match=r"adata\.obs_names must be unique, got 's1' more than once"):
        Section("A1", "A", spots)


def test_positions_are_there_and_finite() -> None:
    missing, three, infinite = measured(), measured(), measured()
    del missing.obsm["spatial"]
    three.obsm["spatial"] = np.zeros((N, 3))
    infinite.obsm["spatial"] = np.full((N, 2), np.nan)
    with pytest.raises(ValueError, match=r"Section 'A1': adata\.obsm\['spatial'\] is missing"):
        Section("A1", "A", missing)
    for adata in (three, infinite):
        with pytest.raises(ValueError, match=r"adata\.obsm\['spatial'\] must be finite, \[N, 2\], got shape \[5, "):
            Section("A1", "A", adata)


@pytest.mark.parametrize("field", ["array_col", "array_row"])
def test_array_places_are_integers_from_zero(field: str) -> None:
    adata = measured()
    del adata.obs[field]
    with pytest.raises(ValueError, match=rf"adata\.obs\['{field}'\] is missing; set both"):
        Section("A1", "A", adata)
    for value in (-1, 0.5, np.nan):
        places = np.arange(N).astype(float)
        places[2] = value
        with pytest.raises(ValueError, match=rf"adata\.obs\['{field}'\] must hold integers from 0, got .*{value}"):
            Section("A1", "A", measured(**{field: places}))
    assert Section("A1", "A", measured(**{field: np.arange(N).astype(float)})).grid.dtype == np.int64


def test_places_follow_from_the_positions_of_an_array() -> None:
    columns, rows = np.meshgrid(np.arange(4), np.arange(3))
    pos = np.column_stack([columns.ravel() + 0.5 * (rows.ravel() % 2), rows.ravel() * np.sqrt(3) / 2]) * 100 + 40
    adata = anndata.AnnData(np.ones((12, 2), dtype=int), obsm={"spatial": pos})
    section = Section("A1", "A", adata)
    np.testing.assert_array_equal(section.grid, np.column_stack([columns.ravel(), rows.ravel()]))
    assert list(adata.obs.columns) == []  # the caller's is as it was
    assert list(section.adata.obs.columns) == ["array_col", "array_row"]


def test_places_of_scattered_cells_do_not_follow() -> None:
    pos = np.random.default_rng(0).uniform(0, 1000, (200, 2))
    adata = anndata.AnnData(np.ones((200, 2), dtype=int), obsm={"spatial": pos})
    with pytest.raises(
        ValueError,
        match=r"Section 'A1': adata\.obsm\['spatial'\] does not determine obs\['array_col'\] and "
        r"obs\['array_row'\], which are missing: the spots do not lie on a square or hexagonal array: 200 spots "
        r"fall on 1\d\d places, \d of them on column \d+, row \d+; set both columns\.$",
    ):
        Section("A1", "A", adata)


def test_what_is_no_measurement_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Section 'A1': adata must be an AnnData, got ndarray"):
        Section("A1", "A", np.zeros((N, G)))  # type: ignore[arg-type]


def test_errors_of_the_image_name_the_section(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"Section 'A1': image: There is no image file .*nowhere\.png"):
        Section("A1", "A", measured(), tmp_path / "nowhere.png")
    with pytest.raises(TypeError, match="Section 'A1': image: An image array must be uint8"):
        Section("A1", "A", measured(), IMAGE / 255)
    with pytest.raises(ValueError, match=r"Section 'A1': image: .*'.bmp' is not supported"):
        Section("A1", "A", measured(), "slide.bmp")
