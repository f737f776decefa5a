from __future__ import annotations

import pytest
import torch

from hist2st_pyg import Section, to_data
from hist2st_pyg.data.preprocessing import Preprocessing, SectionData
from hist2st_pyg.training.datamodule import SectionDataModule
from hist2st_pyg.training.windows import SpotWindows


@pytest.fixture(scope="module")
def data(cohort: list[Section]) -> SectionData:
    return to_data(cohort[0], list(cohort[0].adata.var_names)[:6], patch_size=14)


def test_a_window_is_the_subgraph_of_its_spots(data: SectionData) -> None:
    spots = torch.tensor([3, 4, 9, 20, 21])
    part = data.subgraph(spots)
    for name in ("x", "pos", "grid", "counts", "y", "size_factor"):
        torch.testing.assert_close(part[name], data[name][spots])
    assert part.label == [data.label[i] for i in spots.tolist()]
    assert (part.section, part.patient) == (data.section, data.patient)
    torch.testing.assert_close(part.gene_mask, data.gene_mask)
    dense = torch.zeros(len(data.pos), len(data.pos))
    dense[data.edge_index[0], data.edge_index[1]] = data.edge_attr[:, 0]
    expected = dense[spots][:, spots]
    got = torch.zeros_like(expected)
    got[part.edge_index[0], part.edge_index[1]] = part.edge_attr[:, 0]
    torch.testing.assert_close(got, expected)


def test_the_gene_mask_is_whole_where_there_are_as_many_genes_as_spots(data: SectionData) -> None:
    square = data.subgraph(torch.arange(6))
    assert square.counts.shape == (6, 6)
    assert len(square.subgraph(torch.tensor([0, 3])).gene_mask) == 6


def test_windows_are_neighbors_and_as_many_as_fill_the_section(data: SectionData) -> None:
    windows = SpotWindows([data], 10, 0)
    assert len(windows) == 5  # 48 spots
    for i in range(len(windows)):
        part = windows[i]
        assert len(part.pos) == 10
        assert any(
            set(map(tuple, part.pos.tolist()))
            == set(map(tuple, data.pos[(data.pos - c).square().sum(1).topk(10, largest=False).indices].tolist()))
            for c in part.pos
        )
    assert torch.equal(windows[3].pos, windows[3].pos)  # drawn once
    others = {tuple(SpotWindows([data], 10, s)[0].pos[:, 0].tolist()) for s in range(20)}
    assert len(others) > 5


def test_small_sections_stay_whole(data: SectionData) -> None:
    windows = SpotWindows([data], 48, 0)
    assert len(windows) == 1
    assert windows[0] is data


def test_every_window_has_a_spot_that_trains(data: SectionData) -> None:
    masked = data.clone()
    masked.train_mask = torch.zeros(len(data.pos), dtype=torch.bool)
    masked.train_mask[7] = True
    windows = SpotWindows([masked], 5, 0)
    assert [bool(windows[i].train_mask.any()) for i in range(10)] == [True] * 10


def test_the_data_module_shows_windows_in_training_only(cohort: list[Section]) -> None:
    preprocessing = Preprocessing(genes=tuple(cohort[0].adata.var_names[:6]), patch_size=14)
    module = SectionDataModule(preprocessing, cohort[:2], cohort[2:], batch_size=2, window=20)
    sizes = [batch.ptr.diff().tolist() for batch in module.train_dataloader()]
    assert sizes == [[20, 20]] * 3
    assert [len(batch.y) for batch in module.val_dataloader()] == [48]


def test_windows_carry_the_denoised_targets(cohort: list[Section]) -> None:
    preprocessing = Preprocessing(genes=tuple(cohort[0].adata.var_names[:15]), patch_size=14)
    module = SectionDataModule(preprocessing, cohort[:2], cohort[2:], window=20, denoise=True)
    whole = {data.section: data for data in module.data("train")}
    for batch in module.train_dataloader():
        data = whole[batch.section[0]]
        spots = (batch.pos[:, None] == data.pos).all(2).nonzero()[:, 1]
        assert batch.y_denoised.shape == (20, 15)
        assert torch.equal(batch.y_denoised, data.y_denoised[spots])
        assert not torch.equal(batch.y_denoised, batch.y)
    assert all("y_denoised" not in batch for batch in module.val_dataloader())


def test_a_window_of_no_spots_is_refused(data: SectionData) -> None:
    with pytest.raises(ValueError, match="at least one spot, got window=0"):
        SpotWindows([data], 0, 0)


def test_single_spots_are_each_training_spot_once_in_batches_that_mix_sections(
    cohort: list[Section],
) -> None:
    genes = (*cohort[0].adata.var_names[:4], "unmeasured")
    preprocessing = Preprocessing(genes=genes, patch_size=14, k=3)
    module = SectionDataModule(preprocessing, cohort[:2], val_share=0.3, window=1, batch_size=32)
    sections = module.data("train")
    trained = [d.y[d.train_mask] for d in sections]
    count = sum(len(y) for y in trained)
    loader = module.train_dataloader()
    epochs = [list(loader) for _ in range(2)]
    for batches in epochs:
        assert [batch.num_nodes for batch in batches] == [32] * (count // 32) + [count % 32]
        assert batches[0].edge_index.numel() == 0
        assert len(set(batches[0].section)) == 2
        assert batches[0].gene_mask.shape == (32, 5)
        assert not batches[0].gene_mask[:, -1].any()
        shown = torch.cat([batch.y for batch in batches])
        assert sorted(map(tuple, shown.tolist())) == sorted(map(tuple, torch.cat(trained).tolist()))
    assert not torch.equal(epochs[0][0].pos, epochs[1][0].pos)  # shuffled anew
    some = epochs[0][0]
    i = [d.section for d in sections].index(some.section[5])
    (spot,) = (sections[i].pos == some.pos[5]).all(1).nonzero()[:, 0]
    assert torch.equal(some.x[5], sections[i].x[spot])
