from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hist2st_pyg import Preprocessing, Section, SectionDataModule, losses
from hist2st_pyg.data import SectionData
from hist2st_pyg.nn.statistics import patch_statistics

P = 14


@pytest.fixture(scope="module")
def preprocessing(cohort: list[Section]) -> Preprocessing:
    return Preprocessing(genes=(*cohort[0].adata.var_names[:6], "unmeasured"), patch_size=P, k=3)


@pytest.fixture
def build(cohort: list[Section], preprocessing: Preprocessing) -> Callable[..., SectionDataModule]:
    def make(**options: Any) -> SectionDataModule:
        return SectionDataModule(preprocessing, **{"train": cohort[:2], "test": cohort[2:], **options})

    return make


def test_held_out_squares_stay_in_the_graph_but_not_in_the_loss(build: Callable[..., SectionDataModule]) -> None:
    module = build(val_share=0.3)
    for data in module.data("train"):
        assert 0.1 < float(data.val_mask.float().mean()) < 0.5
        assert torch.equal(data.train_mask, ~data.val_mask)
        assert data.x.shape[0] == data.y.shape[0] == 48
        assert data.edge_index.unique().numel() == 48
    (batch,) = build(val_share=0.3, batch_size=2).train_dataloader()
    assert batch.num_graphs == 2
    expression = torch.zeros_like(batch.y, requires_grad=True)
    losses.expression_error({"expression": expression}, batch).backward()
    assert expression.grad is not None
    trained = (expression.grad != 0).any(1)
    assert not trained[batch.val_mask].any()
    assert trained[batch.train_mask].all()
    assert not expression.grad[:, -1].any()  # the gene that was not measured


def test_the_same_seed_holds_out_the_same_spots(build: Callable[..., SectionDataModule]) -> None:
    masks = [torch.stack([d.val_mask for d in build(seed=seed, val_side=1.5).data("train")]) for seed in (0, 0, 1)]
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])


def test_the_validation_loader_gives_the_held_out_sections_or_squares(
    build: Callable[..., SectionDataModule], cohort: list[Section]
) -> None:
    squares = build().val_dataloader()
    assert [batch.section for batch in squares] == [["A1"], ["A2"]]
    assert all(bool(batch.val_mask.any()) for batch in squares)
    module = build(val=[cohort[2]], test=())
    batches = list(module.val_dataloader())
    assert [batch.section for batch in batches] == [["B1"]]
    assert "val_mask" not in batches[0]
    assert all("train_mask" not in data for data in module.data("train"))  # nothing else is held out
    none = build(val_share=0.0)
    assert none.val_dataloader() == []
    assert all("train_mask" not in data for data in none.data("train"))


def test_loaders(build: Callable[..., SectionDataModule], cohort: list[Section]) -> None:
    module = build(train=cohort[:2], batch_size=1)
    assert sorted(batch.section[0] for batch in module.train_dataloader()) == ["A1", "A2"]
    (batch,) = build(batch_size=2).train_dataloader()
    assert sorted(batch.section) == ["A1", "A2"]
    assert list(batch.gene_mask.shape) == [2, 7]
    for loader in (module.test_dataloader(), module.predict_dataloader()):
        assert [b.section for b in loader] == [["B1"]]


def test_seed_and_epoch_decide_order_and_windows_alone(build: Callable[..., SectionDataModule]) -> None:
    def read(seed: int, epoch: int, **options: Any) -> list[Any]:
        module = build(seed=seed, **options)
        torch.manual_seed(len(str(options)) + epoch)
        before = torch.get_rng_state()
        loaders = [module.train_dataloader() for _ in range(2)]
        shown = []
        for loader in (*loaders, loaders[0]):
            loader.sampler.set_epoch(epoch)  # as Lightning does
            shown.append([batch.label for batch in loader])
        assert shown[0] == shown[1] == shown[2]
        assert [batch.section for batch in module.val_dataloader()]
        assert torch.equal(torch.get_rng_state(), before)  # nothing of it is used
        return shown[0]

    for options in ({}, {"window": 20}):
        runs = {(seed, epoch): read(seed, epoch, **options) for seed in range(3) for epoch in range(4)}
        assert read(2, 3, **options) == runs[2, 3]
        different = {str(run) for run in runs.values()}
        assert len(different) == (12 if options else 2)
        assert {len(run) for run in runs.values()} == {6 if options else 2}


@pytest.mark.parametrize("window", [None, 20])
def test_a_loop_that_knows_no_epochs_is_shown_another_order_each_time(
    build: Callable[..., SectionDataModule], window: int | None
) -> None:
    loader = build(window=window).train_dataloader()
    assert len({str([batch.label for batch in loader]) for _ in range(10)}) == (2 if window is None else 10)


def test_test_sections_are_not_read_before_the_test(
    build: Callable[..., SectionDataModule], cohort: list[Section], tmp_path: Path
) -> None:
    Image.fromarray(np.zeros((600, 600, 3), np.uint8)).save(tmp_path / "image.png")
    unread = replace(cohort[2], image=tmp_path / "image.png")
    (tmp_path / "image.png").unlink()
    module = build(test=[unread])
    module.setup("fit")
    module.setup("validate")
    assert len(list(module.train_dataloader())) == 2
    module.pixel_statistics()
    module.target_statistics()
    for stage in ("test", "predict"):
        with pytest.raises(FileNotFoundError, match=r"No such file.*image\.png"):
            module.setup(stage)
    with pytest.raises(ValueError, match="Section 'B1' has no image"):
        build(test=[replace(cohort[2], image=None)]).setup("test")


def test_each_section_is_made_once(build: Callable[..., SectionDataModule]) -> None:
    module = build()
    module.setup()
    first = module.data("train")
    module.setup("fit")
    assert module.data("train") is first
    assert [data.section for part in ("train", "val", "test") for data in module.data(part)] == ["A1", "A2", "B1"]


def test_the_cache_is_used(build: Callable[..., SectionDataModule], tmp_path: Path) -> None:
    module = build(cache=tmp_path / "cache")
    module.setup()
    assert sorted(file.name[:3] for file in (tmp_path / "cache").iterdir()) == ["A1-", "A2-", "B1-"]


# Fitted statistics.


def test_pixel_statistics_are_numpys(build: Callable[..., SectionDataModule], cohort: list[Section]) -> None:
    mean, std = build().pixel_statistics()
    pixels = np.concatenate([data.x.numpy() for data in build().data("train")]).astype(np.float64)
    np.testing.assert_allclose(mean, pixels.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(std, pixels.std((0, 2, 3)), rtol=1e-5)
    black = [replace(cohort[0], image=np.zeros((576, 576, 3), np.uint8))]
    mean, std = build(train=black).pixel_statistics()
    assert mean.tolist() == [0, 0, 0]
    assert bool((std > 0).all())  # a color that does not vary is not divided by zero


def test_pixel_statistics_of_two_scales(cohort: list[Section], preprocessing: Preprocessing) -> None:
    mean, std = SectionDataModule(replace(preprocessing, scales=(1.0, 2.0)), cohort[:1]).pixel_statistics()
    assert len(mean) == len(std) == 6
    assert not torch.equal(std[:3], std[3:])


def test_target_statistics_are_numpys_over_the_spots_of_training(
    build: Callable[..., SectionDataModule], cohort: list[Section]
) -> None:
    module = build(val_share=0.3)
    mean, std = module.target_statistics()
    y = np.concatenate([data.y[data.train_mask].numpy() for data in module.data("train")]).astype(np.float64)
    np.testing.assert_allclose(mean[:-1], y.mean(0)[:-1], rtol=1e-5)
    np.testing.assert_allclose(std[:-1], y.std(0)[:-1], rtol=1e-5)
    assert (float(mean[-1]), float(std[-1])) == (0, 1)  # measured nowhere
    every, _ = build(val_share=0.0).target_statistics()
    assert not torch.allclose(every, mean)


def test_target_statistics_leave_out_sections_that_did_not_measure_a_gene(
    cohort: list[Section], preprocessing: Preprocessing
) -> None:
    lacking = replace(cohort[1], adata=cohort[1].adata[:, 1:].copy())
    module = SectionDataModule(preprocessing, [cohort[0], lacking], val_share=0.0)
    first, second = module.data("train")
    assert (bool(first.gene_mask[0]), bool(second.gene_mask[0])) == (True, False)
    mean, std = module.target_statistics()
    assert float(mean[0]) == pytest.approx(float(first.y[:, 0].double().mean()), rel=1e-6)
    assert float(std[0]) == pytest.approx(float(first.y[:, 0].double().std(correction=0)), rel=1e-5)
    both = np.concatenate([first.y.numpy(), second.y.numpy()]).astype(np.float64)
    np.testing.assert_allclose(mean[1:-1], both[:, 1:-1].mean(0), rtol=1e-5)


def test_a_gene_that_does_not_vary_is_not_blown_up(cohort: list[Section]) -> None:
    adata = cohort[0].adata.copy()
    adata.X = adata.X.toarray()
    adata.X[:, 0] = 0
    genes = tuple(adata.var_names[:4])
    _, std = SectionDataModule(
        Preprocessing(genes=genes, patch_size=P), [replace(cohort[0], adata=adata)]
    ).target_statistics()
    assert float(std[0]) == 1
    assert bool((std[1:] != 1).all())


# What is refused.


def test_a_split_that_leaks_is_refused(build: Callable[..., SectionDataModule], cohort: list[Section]) -> None:
    with pytest.raises(ValueError, match="The patient 'A' is in training and in test"):
        build(train=cohort[:1], test=cohort[1:2])
    with pytest.raises(ValueError, match="The patient 'A' is in training and in validation"):
        build(train=cohort[:1], val=cohort[1:2], test=())
    with pytest.raises(ValueError, match="The section 'A1' is in training and in test"):
        build(train=cohort[:1], test=cohort[:1], split="section")
    assert build(train=cohort[:1], test=cohort[1:2], split="section").sections["test"][0].name == "A2"


def test_options_that_cannot_be_are_refused(build: Callable[..., SectionDataModule]) -> None:
    with pytest.raises(ValueError, match="There are no training sections"):
        build(train=[])
    for share in (-0.1, 1.0):
        with pytest.raises(ValueError, match=f"val_share must be at least 0 and below 1, got {share}"):
            build(val_share=share)


@pytest.mark.parametrize("share", [0.2, 0.8])
def test_a_section_too_small_to_hold_out_squares_is_refused(
    cohort: list[Section], preprocessing: Preprocessing, share: float
) -> None:
    # All spots are in one square: either none is held out, or none is left to train on.
    small = replace(cohort[0], adata=cohort[0].adata[:6].copy())
    module = SectionDataModule(preprocessing, [small], val_share=share, val_side=10.0)
    with pytest.raises(ValueError, match=r"val_share=.*val_side"):
        module.data("train")


def test_a_data_of_another_part_is_a_section_data(build: Callable[..., SectionDataModule]) -> None:
    (data,) = build().data("test")
    assert isinstance(data, SectionData)
    assert "train_mask" not in data


def test_the_patches_statistics_go_with_their_spots_into_windows(build: Callable[..., SectionDataModule]) -> None:
    module = build(window=10)
    module.add_statistics()
    for window in module.train_dataloader():
        torch.testing.assert_close(window.statistics, patch_statistics(window.x))
