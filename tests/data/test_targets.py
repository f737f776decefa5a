"""Denoised targets of training."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from hist2st_pyg import Preprocessing, Section, SectionDataModule, losses
from hist2st_pyg.data.denoise import denoise

P = 14


def varied(section: Section, spots: Any = slice(None), seed: int = 0) -> Section:
    """The section with other counts at some of its spots: all of a spot's genes are shuffled."""
    adata = section.adata.copy()
    counts = adata.X.toarray()
    counts[spots] = np.random.default_rng(seed).permuted(counts[spots], axis=1)
    adata.X = counts
    return replace(section, adata=adata)


@pytest.fixture(scope="module")
def measured(cohort: list[Section]) -> Preprocessing:
    """A panel of which every gene is measured."""
    return Preprocessing(genes=tuple(cohort[0].adata.var_names[:15]), patch_size=P, k=3)


def test_training_sections_get_denoised_targets(
    cohort: list[Section], measured: Preprocessing, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="hist2st_pyg.training.datamodule"):
        module = SectionDataModule(measured, cohort[:1], cohort[1:2], cohort[2:], split="test_patient", denoise=True)
        module.setup()
    (train,), (val,), (test,) = (module.data(part) for part in ("train", "val", "test"))
    assert "y_denoised" not in val
    assert "y_denoised" not in test
    y = train.y.double().numpy()
    kept, components = denoise(torch.from_numpy((y - y.mean(0)) / y.std(0)))
    assert components > 0
    assert f"The targets are denoised to {components} components" in caplog.text
    np.testing.assert_allclose(train.y_denoised, kept.numpy() * y.std(0) + y.mean(0), atol=1e-4)
    assert train.y_denoised.dtype == train.y.dtype
    assert bool((train.y_denoised.var(0) < train.y.var(0)).all())
    plain = SectionDataModule(measured, cohort[:1]).data("train")[0]
    assert "y_denoised" not in plain
    assert torch.equal(train.y, plain.y)


def test_sections_are_denoised_together(cohort: list[Section], measured: Preprocessing) -> None:
    first, second = SectionDataModule(measured, cohort[:2], val_share=0.0, denoise=True).data("train")
    y = torch.cat([first.y, second.y]).double().numpy()
    kept = denoise(torch.from_numpy((y - y.mean(0)) / y.std(0)))[0].numpy() * y.std(0) + y.mean(0)
    np.testing.assert_allclose(torch.cat([first.y_denoised, second.y_denoised]), kept, atol=1e-4)


def test_held_out_spots_keep_their_targets_and_do_not_influence_the_others(
    cohort: list[Section], measured: Preprocessing
) -> None:
    module = SectionDataModule(measured, cohort[:2], val_share=0.3, denoise=True)
    held_out = [data.val_mask.numpy() for data in module.data("train")]
    other = [varied(section, mask) for section, mask in zip(cohort[:2], held_out, strict=True)]
    changed = SectionDataModule(measured, other, val_share=0.3, denoise=True)
    for before, after in zip(module.data("train"), changed.data("train"), strict=True):
        assert torch.equal(before.val_mask, after.val_mask)
        assert torch.equal(before.y_denoised[before.val_mask], before.y[before.val_mask])
        assert not torch.equal(before.y[before.val_mask], after.y[after.val_mask])
        assert torch.equal(before.y_denoised[before.train_mask], after.y_denoised[after.train_mask])
        assert bool((before.y_denoised[before.train_mask] != before.y[before.train_mask]).any(1).all())
    for got, expected in zip(
        module.target_statistics(), SectionDataModule(measured, cohort[:2], val_share=0.3).target_statistics(),
        strict=True,
    ):  # fmt: skip
        assert torch.equal(got, expected)


def test_a_gene_that_one_section_lacks_is_denoised_by_the_others(
    cohort: list[Section], measured: Preprocessing
) -> None:
    lacking = replace(cohort[1], adata=cohort[1].adata[:, 1:].copy())
    module = SectionDataModule(measured, [cohort[0], lacking], val_share=0.0, denoise=True)
    first, second = module.data("train")
    y = torch.cat([first.y, second.y]).double().numpy()
    mean, std = y.mean(0), y.std(0)
    mean[0], std[0] = first.y[:, 0].double().mean(), first.y[:, 0].double().std(correction=0)
    standard = (y - mean) / std
    standard[len(first.y) :, 0] = 0
    kept = denoise(torch.from_numpy(standard))[0].numpy() * std + mean
    np.testing.assert_allclose(torch.cat([first.y_denoised, second.y_denoised]), kept, atol=1e-4)
    expression = torch.zeros_like(second.y, requires_grad=True)
    losses.expression_error({"expression": expression}, second).backward()
    assert expression.grad is not None
    assert not expression.grad[:, 0].any()
    assert bool(expression.grad[:, 1:].all())


def test_a_gene_measured_nowhere_does_not_change_the_others(cohort: list[Section], measured: Preprocessing) -> None:
    more = replace(measured, genes=(*measured.genes, *(f"unmeasured{i}" for i in range(8))))
    alone, among = (SectionDataModule(r, cohort[:1], denoise=True).data("train")[0] for r in (measured, more))
    torch.testing.assert_close(among.y_denoised[:, :15], alone.y_denoised)


def test_without_structure_training_aims_at_the_targets(
    cohort: list[Section], measured: Preprocessing, caplog: pytest.LogCaptureFixture
) -> None:
    adata = cohort[0].adata.copy()
    adata.X = np.random.default_rng(0).poisson(40.0, adata.shape).astype(np.float32)
    noise = replace(cohort[0], adata=adata)
    module = SectionDataModule(replace(measured, normalize_by="all"), [noise], val_share=0.3, denoise=True)
    assert all("y_denoised" not in data for data in module.data("train"))
    (record,) = (r for r in caplog.records if r.levelno == logging.WARNING)
    assert "no structure above the noise" in record.getMessage()
    assert len(list(module.train_dataloader())) == 1


def test_batches_carry_the_denoised_targets(cohort: list[Section], measured: Preprocessing) -> None:
    module = SectionDataModule(measured, cohort[:2], val_share=0.3, batch_size=2, denoise=True)
    (batch,) = module.train_dataloader()
    by_name = {data.section: data.y_denoised for data in module.data("train")}
    assert torch.equal(batch.y_denoised, torch.cat([by_name[name] for name in batch.section]))
