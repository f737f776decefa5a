from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch_geometric.loader import DataLoader

from hist2st_pyg import Preprocessing, Section, to_data

P, G = 14, 5


def test_every_field(sections: list[Section], genes: list[str]) -> None:
    section = sections[0]
    data = to_data(section, genes, patch_size=P, k=3)
    n, e = 12, data.edge_index.shape[1]
    fields: dict[str, tuple[list[int], torch.dtype]] = {
        "x": ([n, 3, P, P], torch.uint8),
        "pos": ([n, 2], torch.float32),
        "grid": ([n, 2], torch.int64),
        "edge_index": ([2, e], torch.int64),
        "edge_attr": ([e, 1], torch.float32),
        "counts": ([n, G], torch.float32),
        "y": ([n, G], torch.float32),
        "size_factor": ([n], torch.float32),
        "gene_mask": ([G], torch.bool),
    }
    assert set(data.keys()) == {*fields, "label", "section", "patient"}
    for name, (shape, dtype) in fields.items():
        assert (list(data[name].shape), data[name].dtype) == (shape, dtype), name
        assert data[name].is_contiguous(), name
    assert data.validate(raise_on_error=True)
    assert data.num_nodes == n
    assert e == 3 * n
    np.testing.assert_array_equal(data.pos.numpy(), section.pos.astype(np.float32))
    np.testing.assert_array_equal(data.grid.numpy(), section.grid)
    np.testing.assert_array_equal(data.counts.numpy(), section.adata[:, genes].X.toarray())
    assert section.label is not None
    assert data.label == section.label.tolist()
    assert (data.section, data.patient) == ("A1", "A")
    assert np.median(data.size_factor) == pytest.approx(1)


def test_a_section_without_labels(sections: list[Section], genes: list[str]) -> None:
    adata = sections[0].adata.copy()
    del adata.obs["label"]
    assert "label" not in to_data(replace(sections[0], adata=adata), genes, patch_size=P)


def test_an_unknown_patient_is_empty_in_a_batch(sections: list[Section], genes: list[str]) -> None:
    unknown, known = (to_data(s, genes, patch_size=P) for s in (replace(sections[0], patient=None), sections[1]))
    for alone in ([unknown, known], [known, unknown]):
        (batch,) = DataLoader(alone, batch_size=2)
        assert batch.patient == [data.patient for data in alone]
        assert sorted(batch.patient) == ["", "A"]


# The preprocessing.

PREPROCESSING = Preprocessing(
    genes=("A", "B"),
    patch_size=28,
    patch_um=150.0,
    scales=(1.0, 2.5),
    k=6,
    max_distance=1.5,
    coord_type="array",
    stain="macenko",
    normalize_by="all",
    transpose_patches=True,
    embedding="uni",
    um_per_pixel=0.68,
    pitch=64.2,
    graph="radius",
    graph_kwargs={"radius": 2.0},
    prune="std",
)


def test_a_recipe_survives_json() -> None:
    in_pitches = replace(PREPROCESSING, patch_um=None, patch_pitch=1.5)
    for preprocessing in (PREPROCESSING, in_pitches):
        again = Preprocessing(**json.loads(json.dumps(preprocessing.to_dict())))
        assert again == preprocessing
        assert isinstance(again.genes, tuple)
        assert isinstance(again.scales, tuple)
        assert hash(again) == hash(preprocessing)
    default = Preprocessing(genes=("A",))
    assert Preprocessing(**json.loads(json.dumps(default.to_dict()))) == default
    assert all(
        getattr(PREPROCESSING, name) != value or getattr(in_pitches, name) != value
        for name, value in asdict(default).items()
    )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"genes": ()}, "Preprocessing: the gene panel is empty"),
        ({"genes": ("A", "A")}, "Preprocessing: gene 'A' is in the panel twice"),
        ({"genes": (1,)}, "Preprocessing.genes must hold names, got 1"),
        (
            {"patch_size": 4097},
            "Preprocessing.patch_size must be at most 4096 pixels, got 4097; set the field of view by patch_um",
        ),
        ({"k": 1001}, "Preprocessing.k must be at most 1000, got 1001"),
        ({"um_per_pixel": 0}, "Preprocessing.um_per_pixel must be above 0, got 0"),
        ({"pitch": -1.0}, "Preprocessing.pitch must be above 0, got -1.0"),
        ({"patch_um": 50.0, "patch_pitch": 1.0}, "patch_um or patch_pitch, got both: 50.0 and 1.0"),
        ({"stain": "vahadane"}, "Unknown stain='vahadane'"),
        ({"coord_type": "image"}, "Unknown coord_type='image'. Choose one of: array, pixel"),
    ],
)
def test_a_recipe_that_cannot_be_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Preprocessing(**{"genes": ("A",), **fields})


def test_to_data_is_the_recipes(sections: list[Section], genes: list[str]) -> None:
    data = Preprocessing(genes=tuple(genes), patch_size=P, k=2, scales=(1.0, 2.0)).to_data(sections[0])
    short = to_data(sections[0], genes, patch_size=P, k=2, scales=[1.0, 2.0])
    assert all(torch.equal(data[name], short[name]) for name in data.keys() if isinstance(data[name], torch.Tensor))  # noqa: SIM118
    with pytest.raises(TypeError, match="sides"):
        to_data(sections[0], genes, sides=3)


def test_a_prediction_needs_no_counts(sections: list[Section], genes: list[str]) -> None:
    section = sections[0]
    preprocessing = Preprocessing(genes=tuple(genes), patch_size=P)
    data = preprocessing.input_data(section)
    whole = preprocessing.to_data(section)
    assert set(data.keys()) == {"x", "edge_index", "edge_attr", "pos", "grid"}
    assert all(torch.equal(data[name], whole[name]) for name in data.keys())  # noqa: SIM118
    assert data.validate(raise_on_error=True)


def test_a_section_without_an_image_is_refused(sections: list[Section], genes: list[str]) -> None:
    with pytest.raises(ValueError, match="Section 'A1' has no image"):
        to_data(replace(sections[0], image=None), genes, patch_size=P)
