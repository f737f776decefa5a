"""What is measured of a section."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from _helpers.evaluated import GENES, build

from hist2st_pyg import Section, evaluate, predict_section
from hist2st_pyg.analysis.regions import region_agreement
from hist2st_pyg.evaluation import noise_ceiling, summarize
from hist2st_pyg.evaluation.model_scores import scalars
from hist2st_pyg.evaluation.section_scores import measure_section
from hist2st_pyg.inference import run_model
from hist2st_pyg.metrics.calibration import coverage
from hist2st_pyg.metrics.spatial import adjacent_edges, morans_i, ssim_on_grid
from hist2st_pyg.metrics.structure import gene_structure, spatial_structure, structure_of_halves


def test_every_number_of_a_section_is_that_of_the_arrays(cohort: list[Section]) -> None:
    model, section = build("zinb"), cohort[0]
    assert model.preprocessing is not None
    result = evaluate(model, [section], gene_sets={"two": ["GENE2", "ABSENT", "GENE3"]}, seed=4)
    numbers = result["sections"]["A1"]
    data = model.preprocessing.to_data(section)
    predicted, target, mask = predict_section(model, section).X, data.y.numpy(), data.gene_mask.numpy()
    expected = summarize(target, predicted, GENES, mask)
    per_gene = expected.pop("per_gene")
    ceiling = noise_ceiling(data.counts.numpy(), seed=4, mask=mask)
    edges = adjacent_edges(section.pos)
    agreement = region_agreement(predicted, section.label, seed=4)
    published = region_agreement(predicted, section.label, seed=4, method="paper")
    assert published is not None
    counts = data.counts.numpy()
    gsc_halves, ssc_halves = structure_of_halves(counts[:, :4], counts.sum(1), edges, seed=4)
    out = {key: value.numpy() for key, value in run_model(model, data).items()}
    covered = coverage(out, data.counts.numpy(), data.size_factor.numpy(), mask=mask)
    assert agreement is not None
    assert numbers["per_gene"] == per_gene
    assert scalars(numbers) == {
        **expected,
        "pcc_mean_two": pytest.approx((per_gene["GENE2"] + per_gene["GENE3"]) / 2),
        "ceiling_pcc_mean": pytest.approx(np.nanmean(ceiling)),
        "share_of_ceiling": pytest.approx(expected["pcc_mean"] / np.nanmean(ceiling)),
        "ssim_mean": pytest.approx(np.nanmean(ssim_on_grid(target, predicted, section.grid))),
        "moran_true": pytest.approx(np.nanmean(morans_i(target, edges))),
        "moran_predicted": pytest.approx(np.mean(morans_i(predicted, edges)[:4])),
        "gsc": pytest.approx(gene_structure(target, predicted)),
        "gsc_halves": pytest.approx(gsc_halves),
        "ssc": pytest.approx(spatial_structure(morans_i(target, edges), morans_i(predicted, edges))),
        "ssc_halves": pytest.approx(ssc_halves),
        **agreement,
        "ari_paper": published["ari"],
        "nmi_paper": published["nmi"],
        "coverage_50": pytest.approx(covered[0.5]),
        "coverage_90": pytest.approx(covered[0.9]),
    }
    assert expected["n_missing"] == 1
    assert numbers["ceiling"] == {**dict(zip(GENES, ceiling, strict=True)), "ABSENT": None}
    assert per_gene["ABSENT"] is None


def test_the_map_is_of_the_genes_of_the_highest_ceiling(cohort: list[Section]) -> None:
    model, section = build(), cohort[0]
    numbers = evaluate(model, [section])["sections"]["A1"]
    ceiling = {gene: value for gene, value in numbers["ceiling"].items() if value is not None}
    assert list(numbers["map"]["genes"]) == sorted(ceiling, key=lambda gene: -ceiling[gene])[:3]
    assert model.preprocessing is not None
    target, predicted = model.preprocessing.to_data(section).y.numpy(), predict_section(model, section).X
    np.testing.assert_allclose(numbers["map"]["pos"], section.pos, atol=0.0501)
    for gene, values in numbers["map"]["genes"].items():
        for name, array in (("true", target), ("predicted", predicted)):
            np.testing.assert_allclose(values[name], array[:, GENES.index(gene)], atol=0.000501)
            assert all(value == round(value, 3) for value in values[name])


def test_the_ceiling_follows_the_target_s_total(cohort: list[Section]) -> None:
    model = build(normalize_by="all")
    assert model.preprocessing is not None
    counts = model.preprocessing.to_data(cohort[0]).counts.numpy()
    expected = noise_ceiling(counts, np.ravel(cohort[0].adata.X.sum(1)))
    found = evaluate(model, cohort[:1])["ceiling"]
    assert [found[gene] for gene in GENES[:4]] == list(expected[:4])
    assert (expected[:4] != noise_ceiling(counts)[:4]).all()


def test_the_section_s_data_stay_as_they_are(cohort: list[Section]) -> None:
    before = copy.deepcopy(cohort[0].adata)
    result = measure_section(build(), cohort[0])
    assert result.target.shape == result.predicted.shape == (len(cohort[0]), len(GENES))
    assert (cohort[0].adata.X != before.X).sum() == 0
    assert list(cohort[0].adata.obs) == list(before.obs)
