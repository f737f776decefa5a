from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from hist2st_pyg import Hist2ST, Preprocessing, Section, predict_section
from hist2st_pyg.inference import blocks
from hist2st_pyg.inference.lazyslide import FeaturePredictor
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
    sizes, run_model = [], blocks.run_model

    def spy(built: Any, data: Any, device: str) -> Any:
        sizes.append(len(data.x))
        return run_model(built, data, device)

    monkeypatch.setattr(blocks, "run_model", spy)
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
    with pytest.raises(ValueError, match="Features must be finite; those of tile 7 are not"):
        predictor.predict(broken, tiles.pos)
    with pytest.raises(ValueError, match="Positions must be finite; those of tile 0 are not"):
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
