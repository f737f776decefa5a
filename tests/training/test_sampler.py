from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader

from hist2st_pyg.training.sampler import ShardedSampler


def steps(n: int, size: int, rank: int = 0, n_ranks: int = 1, epoch: int = 0) -> list[tuple[list[int], float]]:
    items = list(range(n))
    sampler = ShardedSampler(items, size, seed=3, rank=rank, n_ranks=n_ranks)
    sampler.set_epoch(epoch)
    loader = DataLoader(items, size, sampler=sampler, collate_fn=list)
    found = [(batch, sampler.weight(step)) for step, batch in enumerate(loader)]
    assert len(found) == len(loader)
    return found


@pytest.mark.parametrize("n", range(1, 14))
@pytest.mark.parametrize(("size", "n_ranks"), [(1, 1), (1, 2), (2, 2), (3, 2), (1, 3), (2, 3), (2, 5)])
def test_processes_together_take_the_steps_of_one(n: int, size: int, n_ranks: int) -> None:
    values = torch.randn(n, generator=torch.Generator().manual_seed(0))
    one = steps(n, size * n_ranks)
    several = [steps(n, size, rank, n_ranks) for rank in range(n_ranks)]
    assert {len(own) for own in several} == {len(one)}
    for (whole, weight), *parts in zip(one, *several, strict=True):
        assert weight == 1
        assert sorted(whole) == sorted(i for items, share in parts if share for i in items)
        mean = sum(share * values[items].mean() for items, share in parts) / n_ranks
        assert mean == pytest.approx(values[whole].mean().item(), abs=1e-6)


def test_sums_of_processes_are_those_of_one() -> None:
    values = torch.arange(5.0)
    samplers = [ShardedSampler(range(5), 2, rank=rank, n_ranks=2) for rank in range(2)]
    loaders = [DataLoader(range(5), 2, sampler=sampler, collate_fn=list) for sampler in samplers]  # type: ignore[arg-type]
    total = 0.0
    for step, parts in enumerate(zip(*loaders, strict=True)):
        sums = [s.weight(step, "sum") * values[items].sum() for s, items in zip(samplers, parts, strict=True)]
        total += float(sum(sums)) / 2
    assert total == values.sum()


def test_each_epoch_has_its_own_order_that_the_seed_decides() -> None:
    first, again, second = (steps(20, 4, epoch=epoch) for epoch in (0, 0, 1))
    assert first == again
    assert first != second
    assert sorted(i for items, _ in second for i in items) == list(range(20))
