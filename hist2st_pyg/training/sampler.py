"""The order in which training shows its sections, in one process or in several."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset, DistributedSampler


class ShardedSampler(DistributedSampler[Any]):
    """Shuffle items anew in each epoch and deal them to processes, so that together they see what one would.

    Step ``t`` of ``W`` processes with ``B`` items each takes the same items as step ``t`` of one process with ``W·B``.
    :meth:`weight` says what a process counts for in that step, so that the mean over processes is the mean over items,
    or their sum, even where the last step has fewer than ``W·B``. A process without an item in the last step repeats
    one, with weight 0, because all processes have to take part in a step.

    Args:
        items: The data set.
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
        """Take the order of an epoch, and its items where they change; Lightning calls this when it begins."""
        super().set_epoch(epoch)
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(epoch)

    def __iter__(self) -> Iterator[int]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.n_items).tolist()
        yield from order[self.rank :: self.n_ranks]
        if self._repeats():
            yield order[0]
        self.set_epoch(self.epoch + 1)  # for loops that do not

    def __len__(self) -> int:
        return self._n_own() + self._repeats()

    def weight(self, step: int, reduction: str = "mean") -> float:
        """What this process counts for in a step.

        Args:
            step: The step in the epoch.
            reduction: ``"mean"`` weighs the mean over its items, by W times their share of the step's items; ``"sum"``
                weighs their sum, by W.
        """
        own = self._within(self._n_own(), self.batch_size, step)
        if reduction == "sum":
            return float(self.n_ranks * (own > 0))
        return self.n_ranks * own / self._within(self.n_items, self.batch_size * self.n_ranks, step)

    def _n_own(self) -> int:
        return len(range(self.rank, self.n_items, self.n_ranks))

    def _repeats(self) -> bool:
        """Whether the first process has a step more than this one has items for."""
        steps = -(-len(range(0, self.n_items, self.n_ranks)) // self.batch_size)
        return self._n_own() <= (steps - 1) * self.batch_size

    @staticmethod
    def _within(n: int, size: int, step: int) -> int:
        return min(max(n - step * size, 0), size)
