from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata
import numpy as np
import pytest
import torch
from _helpers.sage_model import GENES, model
from PIL import Image

from hist2st_pyg import Hist2ST, Preprocessing, Section, load_model, predict, predict_section
from hist2st_pyg.inference import LAID_GRID, grid_pitch, run_model, write_h5ad
from hist2st_pyg.io.spots import Spots


def test_what_comes_out(cohort: list[Section], tmp_path: Path) -> None:
    section = cohort[0]
    out = predict_section(model(), section)
    assert list(out.var_names) == list(GENES)
    assert list(out.obs_names) == list(section.adata.obs_names)
    np.testing.assert_array_equal(out.obsm["spatial"], section.pos)
    np.testing.assert_array_equal(out.obs[["array_col", "array_row"]], section.grid)
    assert out.layers["mean"].min() > 0
    assert out.layers["sd"].min() > 0
    write_h5ad(out, tmp_path / "out.h5ad")
    back = anndata.read_h5ad(tmp_path / "out.h5ad")
    np.testing.assert_array_equal(back.X, out.X)
    assert [path.name for path in tmp_path.iterdir()] == ["out.h5ad"]


def test_it_is_the_model_s_own_output(cohort: list[Section]) -> None:
    built = model()
    assert built.preprocessing is not None
    expected = built(built.preprocessing.to_data(cohort[0]))["expression"].detach().numpy()
    np.testing.assert_allclose(predict_section(built, cohort[0]).X, expected, rtol=1e-5, atol=1e-6)


def test_an_anndata_gives_the_spots(cohort: list[Section]) -> None:
    section = cohort[0]
    bare = anndata.AnnData(obs=section.adata.obs[[]], obsm={"spatial": section.pos})
    given, derived = (predict(model(), section.image, spots) for spots in (section.adata, bare))  # type: ignore[arg-type]
    assert list(given.obs_names) == list(section.adata.obs_names)
    np.testing.assert_array_equal(given.obsm["spatial"], section.pos)
    np.testing.assert_array_equal(given.obs[["array_col", "array_row"]], section.grid)
    np.testing.assert_array_equal(given.X, derived.X)
    assert list(bare.obs.columns) == []
    half = section.adata.copy()
    half.obs["in_tissue"] = np.arange(len(section)) % 2
    assert list(predict(model(), section.image, half).obs_names) == list(section.adata.obs_names[1::2])  # type: ignore[arg-type]


def test_what_has_no_positions_is_refused(cohort: list[Section]) -> None:
    image: Any = cohort[0].image
    with pytest.raises(ValueError, match=r"The AnnData of spots has no obsm\['spatial'\]"):
        predict(model(), image, anndata.AnnData(np.ones((2, 2))))
    with pytest.raises(TypeError, match="spots must be an AnnData, a spot file or Spots, got ndarray"):
        predict(model(), image, cohort[0].pos)  # type: ignore[arg-type]


def test_genes_limit_a_prediction(cohort: list[Section]) -> None:
    built, section = model(), cohort[0]
    built.gene_trust = {"val_pcc": [0.1 * i for i in range(len(GENES))]}
    whole, wished = predict_section(built, section), ["GENE5", "GENE2"]
    part = predict_section(built, section, genes=wished)
    from_image = predict(built, section.image, section.adata, genes=wished)  # type: ignore[arg-type]
    assert list(part.var_names) == list(from_image.var_names) == wished
    np.testing.assert_array_equal(part.X, whole[:, wished].X)
    np.testing.assert_allclose(from_image.X, part.X, rtol=1e-5)
    for layer in ("mean", "sd", "zero_probability"):
        np.testing.assert_array_equal(part.layers[layer], whole[:, wished].layers[layer])
    assert part.var["val_pcc"].tolist() == pytest.approx([0.4, 0.1])
    assert built.genes == GENES


@pytest.mark.parametrize(
    ("genes", "error", "message"),
    [
        (
            ["GENE1", "nothing"],
            ValueError,
            r"The gene 'nothing' is not in the model's panel of 6 genes \(model\.genes\)",
        ),
        ([], ValueError, r"genes must have at least one gene and no duplicates, got \[\]"),
        (["GENE1", "GENE1"], ValueError, r"at least one gene and no duplicates, got \['GENE1', 'GENE1'\]"),
        ("GENE1", TypeError, r"genes must be a list of names, got the string 'GENE1'; pass \['GENE1'\]"),
    ],
    ids=str,
)
def test_wrong_genes_are_refused(cohort: list[Section], genes: Any, error: type[Exception], message: str) -> None:
    for call in (lambda: predict_section(model(), cohort[0], genes=genes), lambda: predict(model(), "x", genes=genes)):
        with pytest.raises(error, match=message):
            call()


def test_counts_are_not_used(cohort: list[Section]) -> None:
    section = cohort[0]
    other = section.adata.copy()
    other.X = np.roll(np.asarray(other.X.todense() if hasattr(other.X, "todense") else other.X), 5, axis=0)
    changed = Section(section.name, section.patient, other, section.image, section.spot_diameter, section.um_per_pixel)
    np.testing.assert_array_equal(predict_section(model(), section).X, predict_section(model(), changed).X)


@pytest.mark.parametrize("likelihood", ["nb", None])
def test_layers_follow_the_likelihood(cohort: list[Section], likelihood: str | None) -> None:
    layers = predict_section(model(likelihood), cohort[0]).layers
    assert set(layers) == ({"mean", "sd", "zero_probability"} if likelihood else set())


@pytest.mark.parametrize("likelihood", ["nb", "zinb"])
def test_the_layers_are_the_likelihood_s(cohort: list[Section], likelihood: str) -> None:
    built = model(likelihood)
    assert built.preprocessing is not None
    assert built.likelihood is not None
    out = run_model(built, built.preprocessing.input_data(cohort[0]))
    mean, variance = built.likelihood.moments(out)
    layers = predict_section(built, cohort[0]).layers
    np.testing.assert_allclose(layers["mean"], mean, rtol=1e-5)
    np.testing.assert_allclose(layers["sd"] ** 2, variance, rtol=1e-4)
    np.testing.assert_allclose(layers["zero_probability"], built.likelihood.zero_probability(out), rtol=1e-5)
    # No distribution of counts has fewer zeros than Markov's and Cantelli's inequalities leave it.
    assert (layers["zero_probability"] >= 1 - layers["mean"] - 1e-6).all()
    assert (layers["zero_probability"] <= variance.numpy() / (variance.numpy() + mean.numpy() ** 2) + 1e-6).all()


def test_without_spots_a_grid_is_laid_on_the_tissue(cohort: list[Section]) -> None:
    image = cohort[0].require_image()
    out = predict(model(), image, name="A1")
    assert out.uns["hist2st"]["positions"] == LAID_GRID
    nearest = np.sort(np.linalg.norm(out.obsm["spatial"][:, None] - out.obsm["spatial"][None], axis=2), axis=1)[:, 1]
    np.testing.assert_allclose(np.median(nearest), 64, rtol=1e-6)
    thumbnail = image.thumbnail(10_000)
    x, y = out.obsm["spatial"].astype(int).T
    assert thumbnail[y, x].std(axis=0).mean() > 1
    assert 20 < out.n_obs < 150


def test_the_grid_s_pitch_is_that_of_training_in_micrometers() -> None:
    preprocessing = model().preprocessing
    assert preprocessing is not None
    assert grid_pitch(preprocessing, 1.5) == 128
    assert grid_pitch(preprocessing, None) == 64
    with pytest.raises(ValueError, match="set pitch in pixels"):
        grid_pitch(Preprocessing(GENES), None)


def test_x_runs_right_and_y_down(tmp_path: Path) -> None:
    pixels = np.full((100, 300, 3), 255, dtype=np.uint8)
    pixels[40:60, 230:250] = [120, 0, 120]
    Image.fromarray(pixels).save(tmp_path / "image.png")
    (tmp_path / "spots.csv").write_text("x,y\n240,50\n50,50\n150,50\n")
    dark = Hist2ST(
        1, patch_size=14, vision="cnn", vision_kwargs={"channels": [4], "out_channels": 8}, gnn="none",
        transformer_layers=0, position="none", likelihood=None,
    )  # fmt: skip
    dark.preprocessing = Preprocessing(("A",), patch_size=14)
    values = np.asarray(predict(dark, tmp_path / "image.png", tmp_path / "spots.csv").X)[:, 0]
    assert values[1] == pytest.approx(values[2], abs=1e-5)
    assert abs(values[0] - values[1]) > 1e-3


def test_the_original_programs_axes(cohort: list[Section]) -> None:
    plain, swapped = model().preprocessing, model(transpose_patches=True).preprocessing
    assert plain is not None
    assert swapped is not None
    section = cohort[0]
    a, b = (made.input_data(section) for made in (plain, swapped))
    assert torch.equal(a.x, b.x.transpose(2, 3))


def test_scanpy_draws_it(cohort: list[Section]) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import scanpy as sc

    out = predict_section(model(), cohort[0])
    axes = sc.pl.spatial(out, color=["GENE1"], show=False)
    assert axes[0].get_title() == "GENE1"


def test_user_errors(cohort: list[Section]) -> None:
    bare = model()
    bare.preprocessing = None
    with pytest.raises(ValueError, match="The model has no preprocessing"):
        predict_section(bare, cohort[0])
    with pytest.raises(ValueError, match="no tissue"):
        predict(model(), np.full((400, 500, 3), 255, dtype=np.uint8))
    far = Spots(["a", "b"], np.array([[10.0, 10.0], [9_999.0, 10.0]]), np.array([[0, 0], [1, 0]]))
    with pytest.raises(ValueError, match="1 of 2 spots are not on the image"):
        predict(model(), cohort[0].require_image(), far)
    with pytest.raises(ValueError, match=r"patch_um=100.* needs the image's um_per_pixel"):
        predict(model(patch_um=100.0), cohort[0].require_image(), pitch=64)


def test_a_broken_write_leaves_the_earlier_file(cohort: list[Section], tmp_path: Path) -> None:
    out = predict_section(model(), cohort[0])
    write_h5ad(out, tmp_path / "out.h5ad")
    before = (tmp_path / "out.h5ad").read_bytes()
    out.uns["what"] = object()  # h5ad cannot hold it
    with pytest.raises(Exception, match="object"):
        write_h5ad(out, tmp_path / "out.h5ad")
    assert (tmp_path / "out.h5ad").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["out.h5ad"]


def test_a_saved_model_needs_nothing_but_an_image(cohort: list[Section], tmp_path: Path) -> None:
    built = model()
    built.save_pretrained(tmp_path / "saved")
    np.testing.assert_array_equal(
        predict_section(load_model(tmp_path / "saved"), cohort[0]).X, predict_section(built, cohort[0]).X
    )
