"""A Lightning data module of sections, whose parts do not share patients."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch_geometric.loader import DataLoader

from hist2st_pyg.data.parts import SectionParts
from hist2st_pyg.data.preprocessing import Preprocessing, SectionData
from hist2st_pyg.data.splits import block_mask, check_disjoint
from hist2st_pyg.data.streamed import STREAMED_SPOTS, StreamedSection, streamed_section
from hist2st_pyg.data.targets import denoise_targets, target_statistics
from hist2st_pyg.nn.statistics import patch_statistics
from hist2st_pyg.section import Section
from hist2st_pyg.training.sampler import ShardedSampler
from hist2st_pyg.training.windows import SingleSpots, SpotWindows
from hist2st_pyg.utils.progress import tqdm

logger = logging.getLogger(__name__)


class SectionDataModule(pl.LightningDataModule):
    """Training, validation and test sections as batches of ``Data``.

    Without validation sections, squares of the training sections are held out: their spots stay in the graph
    (``train_mask``, ``val_mask``, as in PyG's node data sets), but their counts are not in the loss.

    Args:
        preprocessing: How a section becomes a ``Data``.
        train: Training sections.
        val: Sections that choose the epoch.
        test: Sections to predict.
        split: Unit that must be in one part only, see :func:`~hist2st_pyg.data.splits.check_disjoint`.
        val_share: Share of the training spots held out if there are no validation sections; 0 holds out none.
        val_side: Side of the held-out squares in spot pitches.
        batch_size: Sections, or windows of sections, or single spots, of one step.
        denoise: Add denoised targets ``y_denoised`` [N, G] to the training sections, which training then uses, see
            :func:`~hist2st_pyg.data.targets.denoise_targets`.
        window: Spots of a training window, see :class:`~hist2st_pyg.training.windows.SpotWindows`; 1 for spots of all
            sections in random order, see :class:`~hist2st_pyg.training.windows.SingleSpots`; None for whole sections.
        cache: Folder of the patch cache, or None.
        seed: Seed of the held-out squares, and of the order and windows in training.
        num_workers: Processes that load batches; 0 loads in the training process. Results do not depend on it.

    Raises:
        ValueError: If there are no training sections or the parts are not disjoint.

    >>> from hist2st_pyg.datasets import load_sections
    >>> sections = load_sections("synthetic", names=["A1", "B1"], spots=16)
    >>> preprocessing = Preprocessing(genes=("GENE1", "GENE2"), patch_size=16, k=2)
    >>> datamodule = SectionDataModule(preprocessing, sections[:1], sections[1:])
    >>> [batch.section for batch in datamodule.train_dataloader()]
    [['A1']]
    """

    def __init__(
        self,
        preprocessing: Preprocessing,
        train: Sequence[Section],
        val: Sequence[Section] = (),
        test: Sequence[Section] = (),
        *,
        split: str = "patient",
        val_share: float = 0.2,
        val_side: float = 4.0,
        batch_size: int = 1,
        window: int | None = None,
        denoise: bool = False,
        cache: str | Path | None = None,
        seed: int = 0,
        num_workers: int = 0,
    ) -> None:
        super().__init__()
        if not train:
            raise ValueError("There are no training sections.")
        check_disjoint(train, val, test, split)
        if not 0 <= val_share < 1:
            raise ValueError(f"val_share must be at least 0 and below 1, got {val_share}.")
        self.preprocessing = preprocessing
        self.sections = {"train": list(train), "val": list(val), "test": list(test)}
        self.val_share, self.val_side = val_share, val_side
        self.batch_size, self.window = batch_size, window
        self.denoise, self.cache, self.seed = denoise, cache, seed
        self.num_workers = num_workers
        self._parts: dict[str, list[SectionParts]] = {}
        self._data: dict[str, list[SectionData]] = {}

    def data(self, part: str) -> list[SectionData]:
        """Return the ``Data`` of ``"train"``, ``"val"`` or ``"test"``, built on first access."""
        if part not in self._data:
            self._data[part] = [section.whole() for section in self.parts(part)]
        return self._data[part]

    def parts(self, part: str) -> list[SectionParts]:
        """Return the sections of ``"train"``, ``"val"`` or ``"test"`` for access to parts of them.

        When training on windows, sections of more than :data:`~hist2st_pyg.data.streamed.STREAMED_SPOTS` spots are
        streamed.
        """
        if part not in self._parts:
            sections = tqdm(self.sections[part], desc=f"{part} sections", leave=False, disable=None)
            made = [self._read(section) for section in sections]
            if part == "train" and not self.sections["val"] and self.val_share:
                self._hold_out([section.data for section in made])
            if part == "train" and self.denoise:
                self._denoise(made)
            self._parts[part] = made
        return self._parts[part]

    def _read(self, section: Section) -> SectionParts:
        if self.window is not None and len(section) > STREAMED_SPOTS:
            return streamed_section(self.preprocessing, section, self.cache)
        return SectionParts(self.preprocessing.to_data(section, self.cache))

    def _hold_out(self, train: list[SectionData]) -> None:
        rng = np.random.default_rng(self.seed)
        for data in train:
            held_out = block_mask(data.pos.double().cpu().numpy(), self.val_share, self.val_side, rng)
            if held_out.all() or not held_out.any():
                raise ValueError(
                    f"Section {data.section!r}: val_share={self.val_share:g} in squares of val_side={self.val_side:g} "
                    f"holds out {held_out.sum()} of its {len(held_out)} spots; set a smaller val_side, or "
                    "validation sections."
                )
            data.val_mask = torch.from_numpy(held_out)
            data.train_mask = ~data.val_mask
            logger.info("%s: %d of %d spots are held out for validation", data.section, held_out.sum(), len(held_out))

    def _denoise(self, train: list[SectionParts]) -> None:
        if components := denoise_targets(train):
            logger.info("The targets are denoised to %d components", components)
        else:
            logger.warning("The targets have no structure above the noise; training uses them unchanged.")

    def add_statistics(self) -> None:
        """Compute the color and texture statistics of the training patches once, for all steps."""
        for section in (*self.parts("train"), *self.parts("val")):
            if section.data.get("statistics") is None:
                spots, values = zip(*((of, patch_statistics(x)) for of, x in section.patch_blocks()), strict=True)
                statistics = torch.empty(len(section.data.pos), values[0].shape[1])
                statistics[torch.cat(spots)] = torch.cat(values)
                section.data.statistics = statistics

    @property
    def validates(self) -> bool:
        """Whether sections, or squares of the training sections, choose the epoch."""
        return bool(self.sections["val"]) or self.val_share > 0

    def validation(self) -> list[SectionData]:
        """Return the sections that choose the epoch, with ``val_mask`` if they also train; possibly none."""
        return self.data("val" if self.sections["val"] else "train") if self.validates else []

    def validation_parts(self) -> list[SectionParts]:
        """Return the sections that choose the epoch, for access to parts of them."""
        return self.parts("val" if self.sections["val"] else "train") if self.validates else []

    def setup(self, stage: str | None = None) -> None:
        """Build the parts that a stage needs; test sections are read only for ``"test"`` and ``"predict"``."""
        for part in ("train", "val") if stage in ("fit", "validate") else ("test",) if stage else self.sections:
            self.parts(part)

    def train_dataloader(self) -> DataLoader:
        """Load training sections, or windows of them, shuffled and distributed over the processes.

        Windows and order depend only on the seed and the epoch, so that an epoch is the same in a resumed run.
        """
        items: Any
        if self.window is None:
            items = self.data("train")
        else:
            train = self.parts("train")
            items = SingleSpots(train) if self.window == 1 else SpotWindows(train, self.window, self.seed)
        trainer = self.trainer
        rank, n_ranks = (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
        return self._loader(items, self.batch_size, ShardedSampler(items, self.batch_size, self.seed, rank, n_ranks))

    def val_dataloader(self) -> DataLoader | list[DataLoader]:
        """Load validation sections one by one, or the training sections if squares of them are held out."""
        return self._one_by_one(self.validation_parts()) if self.validates else []

    def test_dataloader(self) -> DataLoader:
        """Load test sections one by one.

        Raises:
            ValueError: If there are none.
        """
        if not self.sections["test"]:
            raise ValueError("There are no test sections; pass some to SectionDataModule(..., test=...).")
        return self._one_by_one(self.parts("test"))

    def predict_dataloader(self) -> DataLoader:
        """The same as :meth:`test_dataloader`."""
        return self.test_dataloader()

    def _one_by_one(self, sections: Sequence[SectionParts]) -> DataLoader:
        """Load whole sections; the batch of a streamed section has its ``SectionParts`` as ``streamed`` instead."""
        streamed = [isinstance(section, StreamedSection) for section in sections]
        items = [
            SectionData(streamed=section, num_nodes=len(section.data.pos)) if large else section.whole()
            for section, large in zip(sections, streamed, strict=True)
        ]
        # No worker processes, because they would send whole sections.
        return self._loader(items, 1, num_workers=0 if any(streamed) else None)

    def _loader(
        self,
        data: Sequence[SectionData] | Dataset[SectionData],
        batch_size: int,
        sampler: ShardedSampler | None = None,
        num_workers: int | None = None,
    ) -> DataLoader:
        # A separate generator, because each iteration of a loader draws from torch's global one.
        own = torch.Generator()
        workers = self.num_workers if num_workers is None else num_workers
        return DataLoader(data, batch_size=batch_size, sampler=sampler, generator=own, num_workers=workers)

    def pixel_statistics(self) -> tuple[Tensor, Tensor]:
        """Compute mean and standard deviation of each color channel over the training patches, [3·S] each."""
        blocks = (x for section in self.parts("train") for _, x in section.patch_blocks())
        pieces = (piece.double() for x in blocks for piece in torch.split(x, 64))
        # Plain numbers, because small tensors between large freed ones would fragment the memory.
        sums = [(p.sum((0, 2, 3)).tolist(), (p**2).sum((0, 2, 3)).tolist(), p[:, 0].numel()) for p in pieces]
        total = sum(n for _, _, n in sums)
        mean = torch.tensor([s for s, _, _ in sums], dtype=torch.float64).sum(0) / total
        variance = torch.tensor([q for _, q, _ in sums], dtype=torch.float64).sum(0) / total - mean**2
        return mean.float(), variance.clamp(min=1e-6).sqrt().float()

    def target_statistics(self) -> tuple[Tensor, Tensor]:
        """Compute :func:`~hist2st_pyg.data.targets.target_statistics` over the training sections."""
        return target_statistics(self.parts("train"))
