from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch.utils.data import DataLoader

from hist2st_pyg import Hist2ST, Preprocessing, Section, predict_section
from hist2st_pyg.inference import blocks, stages
from hist2st_pyg.inference.lazyslide import FeaturePredictor, TilePredictor
from hist2st_pyg.models.simple import PositionKNN

GENES, WIDTH = ("GENE1", "GENE2", "GENE3"), 12
CORNER = 112
"""From a tile's center to its corner, in pixels."""


def model(transformer_layers: int = 0, **preprocessing: Any) -> Hist2ST:
    torch.manual_seed(0)
    built = Hist2ST(
        len(GENES), patch_size=28, vision="precomputed", vision_kwargs={"embedding_channels": WIDTH},
        transformer_layers=transformer_layers, heads=2, dim_head=8, position="none", gnn="sage", gnn_layers=2,
        likelihood="nb",
    )  # fmt: skip
    built.preprocessing = Preprocessing(GENES, **{"embedding": "uni", **preprocessing})
    return built.eval()


def run(
    predictor: Any, features: Any, corners: NDArray[np.float64], batch_size: int = 16
) -> tuple[list[str], NDArray[Any]]:
    """What ``lazyslide.tl.feature_prediction`` does with a model, and all that it checks of one.

    After src/lazyslide/tools/_feature_prediction.py of github.com/rendeirolab/LazySlide (pull request 286) and
    FeaturePredictionModelProtocol in src/lazyslide_models/base.py of github.com/rendeirolab/lazyslide-models; neither
    is installed here. ``corners`` are minx, miny of the tiles.
    """
    for attribute in ("model", "name", "get_transform", "to", "try_compile", "predict"):  # the runtime protocol
        assert hasattr(predictor, attribute)
    assert isinstance(predictor.name, str)
    assert isinstance(predictor.features_model_name, str)
    assert predictor.to("cpu") is predictor
    predictor.try_compile(mode="default")
    n = features.shape[0]
    spans = [(0, n)] if predictor.whole_slide else [(i, min(i + batch_size, n)) for i in range(0, n, batch_size)]
    results: list[Mapping[str, Any]] = []
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
        for start, stop in spans:
            arguments = (corners[start:stop],) if predictor.needs_coords else ()
            output = predictor.predict(features[start:stop], *arguments)
            assert isinstance(output, Mapping)
            assert output
            assert all(isinstance(name, str) for name in output)
            assert not results or tuple(output) == tuple(results[0])
            for value in output.values():
                assert np.asarray(value).shape == (stop - start,)
            results.append(output)
    names = list(results[0])
    return names, np.column_stack([np.concatenate([result[name] for result in results]) for name in names])


@pytest.fixture
def tiles(cohort: list[Section]) -> Section:
    """A section with embeddings in place of its image."""
    adata = cohort[0].adata.copy()
    adata.obsm["uni"] = np.random.default_rng(0).normal(size=(adata.n_obs, WIDTH)).astype(np.float32)
    return replace(cohort[0], adata=adata, image=None)


def test_it_predicts_what_the_model_predicts(tiles: Section) -> None:
    """Tiles' corners give what the spots' centers give, in the panel's order."""
    built = model()
    names, values = run(FeaturePredictor(built), tiles.adata.obsm["uni"], tiles.pos - CORNER)
    assert names == list(GENES)
    # The runner's half precision is in it.
    np.testing.assert_allclose(values, predict_section(built, tiles).X, atol=0.02)
    exact = FeaturePredictor(built).predict(tiles.adata.obsm["uni"], tiles.pos - CORNER)
    np.testing.assert_allclose(np.column_stack(list(exact.values())), predict_section(built, tiles).X, atol=1e-5)
    assert exact["GENE1"].dtype == np.float32
    assert predict_section(built, tiles).X.std(axis=0).min() > 0.01


def test_neighbors_are_read(tiles: Section) -> None:
    """The prediction of a tile depends on which others lie around it."""
    features, predictor = tiles.adata.obsm["uni"], FeaturePredictor(model())
    shuffled = np.random.default_rng(0).permutation(tiles.pos)
    here, elsewhere = (predictor.predict(features, pos)["GENE1"] for pos in (tiles.pos, shuffled))
    assert np.abs(here - elsewhere).max() > 1e-3


def test_a_slide_of_many_tiles_is_predicted_in_blocks(tiles: Section, monkeypatch: pytest.MonkeyPatch) -> None:
    features, predictor = tiles.adata.obsm["uni"], FeaturePredictor(model())
    whole = predictor.predict(features, tiles.pos)
    sizes, run_model = [], stages.run_model

    def spy(built: Any, data: Any, device: str, features: Any) -> Any:
        sizes.append(len(features[0]))
        return run_model(built, data, device, features)

    monkeypatch.setattr(stages, "run_model", spy)
    monkeypatch.setitem(blocks.predict_blocks.__kwdefaults__, "block", 16)
    parts = predictor.predict(features, tiles.pos)
    assert len(sizes) > 2
    assert max(sizes) < len(tiles)
    for gene in GENES:
        np.testing.assert_allclose(parts[gene], whole[gene], atol=1e-5)


def test_features_as_lazyslide_may_keep_them(tiles: Section) -> None:
    features, predictor = tiles.adata.obsm["uni"].copy(), FeaturePredictor(model(transformer_layers=1))
    features[np.abs(features) < 0.5] = 0
    expected = predictor.predict(features, tiles.pos)["GENE2"]
    for kind in (csr_matrix(features), features.tolist(), features.astype(np.float64)):
        np.testing.assert_array_equal(predictor.predict(kind, tiles.pos)["GENE2"], expected)
    one = predictor.predict(features[:1], tiles.pos[:1])
    assert one["GENE2"].shape == (1,)


def test_names() -> None:
    predictor = FeaturePredictor(model())
    assert (predictor.name, predictor.features_model_name) == ("Hist2ST", "uni")
    predictor = FeaturePredictor(model(embedding="UNI-h5"), features_model_name="uni", name="her2")
    assert (predictor.name, predictor.features_model_name) == ("her2", "uni")
    assert predictor.get_transform() is None  # type: ignore[func-returns-value]


def test_models_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"The model reads patches of an image, .*\(data\.embedding\)"):
        FeaturePredictor(model(embedding=None))
    counts = PositionKNN(3)
    counts.preprocessing = Preprocessing(GENES, embedding="uni")
    with pytest.raises(ValueError, match=r"PositionKNN reads measured counts .*, which tiles do not have"):
        FeaturePredictor(counts)
    bare = model()
    bare.preprocessing = None
    with pytest.raises(ValueError, match="The model has no preprocessing"):
        FeaturePredictor(bare)


def test_input_that_does_not_fit(tiles: Section) -> None:
    features, predictor = tiles.adata.obsm["uni"], FeaturePredictor(model())
    with pytest.raises(ValueError, match=r"The model needs the tiles' positions, coords \[N, 2\]"):
        predictor.predict(features)
    with pytest.raises(ValueError, match=r"reads features \[N, 12\] of 'uni', got \[48, 11\]; use the encoder"):
        predictor.predict(features[:, 1:], tiles.pos)
    with pytest.raises(ValueError, match=r"reads features \[N, 12\] of 'uni', got \[0, 12\]"):
        predictor.predict(features[:0], tiles.pos[:0])
    with pytest.raises(ValueError, match=r"coords must be \[48, 2\] for 48 tiles, got \[47, 2\]"):
        predictor.predict(features, tiles.pos[1:])
    broken = features.copy()
    broken[7, 3] = np.nan
    with pytest.raises(ValueError, match="Features must be finite, but tile 7 has nan or infinity"):
        predictor.predict(broken, tiles.pos)
    with pytest.raises(ValueError, match="Positions must be finite, but tile 0 has nan or infinity"):
        predictor.predict(features, np.full_like(tiles.pos, np.inf))


def test_an_encoder_of_unknown_width(tiles: Section) -> None:
    """Then it is the model that refuses features of another width."""
    built = model()
    built.streams[0].vision = torch.nn.Sequential(torch.nn.Linear(WIDTH, 128))
    built.streams[0].vision.takes = "embeddings"  # type: ignore[assignment]
    predictor = FeaturePredictor(built)
    assert set(predictor.predict(tiles.adata.obsm["uni"], tiles.pos)) == set(GENES)
    with pytest.raises(ValueError, match=r"reads features \[N, D\] of 'uni', got \[48\]"):
        predictor.predict(tiles.adata.obsm["uni"][:, 0], tiles.pos)


# Models of patches, each tile alone.


def alone(**options: Any) -> Hist2ST:
    torch.manual_seed(0)
    built = Hist2ST(
        len(GENES), patch_size=28, n_scales=2, vision="linear", vision_kwargs={"out_channels": 8},
        **{"transformer_layers": 0, "position": "none", "gnn": "none", **options},
    )  # fmt: skip
    built.preprocessing = Preprocessing(GENES, patch_size=28, scales=(1.0, 2.0), um_per_pixel=0.5)
    return built.eval()


def run_tiles(predictor: Any, tiles: list[NDArray[np.uint8]], batch_size: int = 16) -> pd.DataFrame:
    """What ``lazyslide.tl.tile_prediction`` does with a model.

    After src/lazyslide/tools/_tile_prediction.py of github.com/rendeirolab/LazySlide (0.13), wsidata's
    ``TileImagesDataset`` and TilePredictionModelProtocol of lazyslide-models; none is installed here.
    """
    for attribute in ("model", "name", "get_transform", "to", "try_compile", "predict"):  # the runtime protocol
        assert hasattr(predictor, attribute)
    predictor.to(device="cpu")
    predictor.try_compile(mode="default")
    transform = predictor.get_transform()
    dataset = [{"image": transform(tile), "x": 0, "y": 0, "tissue_id": -1} for tile in tiles]
    results = []
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
        for batch in DataLoader(dataset, batch_size=batch_size, shuffle=False):  # type: ignore[arg-type, var-annotated]
            results.append(pd.DataFrame(predictor.predict(batch["image"].to("cpu"))))
    return pd.concat(results).reset_index(drop=True)


def test_tiles_are_predicted_as_spots_are(cohort: list[Section]) -> None:
    """A tile is the largest field of view of a spot; the same pixels give the same values."""
    built, section = alone(), cohort[0]
    assert built.receptive_field == 0
    image = section.require_image()
    tiles = []
    with image.open() as region:
        inner = [
            index for index, (x, y) in enumerate(section.pos)
            if min(x, y) > 30 and x + 30 < image.size[0] and y + 30 < image.size[1]
        ]  # fmt: skip
        for x, y in np.floor(section.pos[inner]).astype(int):
            tiles.append(region(x - 28, y - 28, 56, 56))
    predictor = TilePredictor(built)
    found = run_tiles(predictor, tiles, batch_size=5)
    assert list(found.columns) == list(GENES)
    np.testing.assert_allclose(found.to_numpy(), predict_section(built, section).X[inner], atol=1e-4)
    assert found["GENE1"].std() > 0
    assert predictor.tile_um == 2 * 28 * 0.5
    pickle.dumps(predictor.get_transform())  # goes to the loader's processes


@pytest.mark.parametrize(
    ("preprocessing", "expected"),
    [
        ({"patch_um": 100.0}, 100),
        ({"patch_um": 100.0, "scales": (1.0, 3.0)}, 300),
        ({"patch_pitch": 2.0, "pitch": 80.0, "um_per_pixel": 0.5}, 80),
        ({"patch_pitch": 2.0, "um_per_pixel": 0.5}, None),
        ({}, None),
    ],
    ids=str,
)
def test_the_side_of_a_tile(preprocessing: dict[str, Any], expected: float | None) -> None:
    built = alone()
    built.preprocessing = Preprocessing(GENES, patch_size=28, **preprocessing)
    assert TilePredictor(built).tile_um == expected


@pytest.mark.parametrize(
    ("options", "preprocessing", "message"),
    [
        ({"gnn": "sage"}, {}, "Hist2ST reads the surroundings of a spot, but LazySlide passes single tiles"),
        ({"transformer_layers": 1, "heads": 1, "dim_head": 4}, {}, "reads the surroundings of a spot"),
        ({"position": "table"}, {}, "reads the array position of a spot"),
        ({"position": "fourier"}, {}, "reads the array position of a spot"),
        ({}, {"stain": "macenko"}, r"needs stain normalization by section \(stain='macenko'\)"),
        ({}, {"embedding": "uni"}, "reads embeddings of tiles, not their pixels; use FeaturePredictor"),
    ],
    ids=str,
)
def test_models_that_do_not_read_tiles_alone(
    options: dict[str, Any], preprocessing: dict[str, Any], message: str
) -> None:
    built = alone(**options)
    assert built.preprocessing is not None
    built.preprocessing = replace(built.preprocessing, **preprocessing)
    with pytest.raises(ValueError, match=message):
        TilePredictor(built)


def test_tiles_that_do_not_fit() -> None:
    predictor = TilePredictor(alone())
    for tile in (np.zeros((8, 9, 3), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3))):
        with pytest.raises(ValueError, match=r"A tile must be square, uint8 \[H, H, 3\], got"):
            predictor.get_transform()(tile)
    for shape in ((2, 3, 28, 28), (2, 6, 56, 56), (6, 28, 28), (0, 6, 28, 28)):
        with pytest.raises(ValueError, match=r"reads patches \[N, 6, 28, 28\], got .*; omit transform="):
            predictor.predict(torch.zeros(shape))
    torch.nn.init.constant_(predictor.model.streams[0].expression[1].bias, torch.nan)  # type: ignore[index, union-attr]
    with pytest.raises(ValueError, match="The prediction is not finite"):
        predictor.predict(torch.zeros(2, 6, 28, 28))
