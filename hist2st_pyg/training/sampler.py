"""Shuffle the training items and distribute them over processes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset, DistributedSampler


class ShardedSampler(DistributedSampler[Any]):
    """Shuffles items in each epoch and distributes them, so that each step has the same items for any world size.

    Step ``t`` of ``W`` processes with ``B`` items each has the same items as step ``t`` of one process with ``W·B``.
    :meth:`weight` is the weight of a process in that step, with which the mean over processes is the mean or the sum
    over items, even if the last step has fewer than ``W·B``. A process without an item in the last step repeats one,
    with weight 0, because all processes must take part in a step.

    Args:
        items: The dataset.
        batch_size: Items of one process in a step, B.
        seed: Seed of the order; the order of an epoch depends on the seed and the epoch alone.
        rank: The process.
        n_ranks: Number of processes, W.
    """

    def __init__(
        self, items: Sequence[Any] | Dataset[Any], batch_size: int, seed: int = 0, rank: int = 0, n_ranks: int = 1
    ) -> None:
        super().__init__(items, n_ranks, rank, seed=seed)  # type: ignore[arg-type]
        self.n_items, self.batch_size, self.n_ranks = len(items), batch_size, n_ranks  # type: ignore[arg-type]

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which determines order and windows; Lightning calls this at the start of each epoch."""
        super().set_epoch(epoch)
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(epoch)

    def __iter__(self) -> Iterator[int]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.n_items).tolist()
        yield from order[self.rank :: self.n_ranks]
        if self._repeats():
            yield order[0]
        self.set_epoch(self.epoch + 1)  # for training loops that do not call set_epoch

    def __len__(self) -> int:
        return self._n_own() + self._repeats()

    def weight(self, step: int, reduction: str = "mean") -> float:
        """Compute the weight of this process in a step.

        Args:
            step: The step in the epoch.
            reduction: ``"mean"`` weights the mean over its items by W times their share of the step's items; ``"sum"``
                weights their sum by W.
        """
        own = self._within(self._n_own(), self.batch_size, step)
        if reduction == "sum":
            return float(self.n_ranks * (own > 0))
        return self.n_ranks * own / self._within(self.n_items, self.batch_size * self.n_ranks, step)

    def _n_own(self) -> int:
        return len(range(self.rank, self.n_items, self.n_ranks))

    def _repeats(self) -> bool:
        """Whether this process repeats an item, because the first process has one more step."""
        steps = -(-len(range(0, self.n_items, self.n_ranks)) // self.batch_size)
        return self._n_own() <= (steps - 1) * self.batch_size

    @staticmethod
    def _within(n: int, size: int, step: int) -> int:
        return min(max(n - step * size, 0), size)
