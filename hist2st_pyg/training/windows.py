"""Datasets of parts of sections for training: windows of neighboring spots, or single spots."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch.utils.data import Dataset

from hist2st_pyg.data.masks import training_spots
from hist2st_pyg.data.parts import SectionParts, section_parts
from hist2st_pyg.data.preprocessing import SectionData


class SpotWindows(Dataset[SectionData]):
    """Random windows of sections: a spot and its nearest spots, with the edges among them.

    An epoch has enough windows to cover each spot about once, so that memory and time of a step do not grow with the
    section, and large sections have more steps than small ones. Sections of at most ``size`` spots stay whole. The
    windows of an epoch are drawn together at its start, independent of the order in which they are read.

    Args:
        sections: Training sections: ``Data`` of :func:`~hist2st_pyg.to_data`, or what cuts parts out of them.
        size: Spots of a window.
        seed: Seed of the windows; those of an epoch depend on the seed and the epoch alone.

    Raises:
        ValueError: If the size is not positive.
    """

    def __init__(self, sections: Sequence[SectionData | SectionParts], size: int, seed: int = 0) -> None:
        if size < 1:
            raise ValueError(f"A window has at least one spot, got window={size}.")
        self.sections, self.size, self.seed = section_parts(sections), size, seed
        positions = [section.data.pos.cpu().numpy() for section in self.sections]
        self.trees = [cKDTree(pos) if len(pos) > size else None for pos in positions]
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Draw the windows of an epoch."""
        rng = np.random.default_rng((self.seed, epoch))
        self.windows: list[tuple[int, int]] = []  # the section and the central spot
        for i, section in enumerate(self.sections):
            # The central spot is a training spot, so that each window has one.
            centers = training_spots(section.data).nonzero()[:, 0].cpu().numpy()
            drawn = rng.choice(centers, math.ceil(len(section.data.pos) / self.size))
            self.windows += [(i, int(center)) for center in drawn]

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> SectionData:
        i, center = self.windows[index]
        section, tree = self.sections[i], self.trees[i]
        if tree is None:
            return section.whole()
        pos = section.data.pos
        nearest = tree.query(pos[center].cpu().numpy(), k=self.size)[1]
        return section.part(torch.from_numpy(np.sort(nearest)).to(pos.device))


class SingleSpots(Dataset[SectionData]):
    """Each training spot of the sections as a separate ``Data`` without edges; batches mix sections.

    An epoch has each spot once, as in the training of ST-Net (He et al. 2020).

    Args:
        sections: Training sections: ``Data`` of :func:`~hist2st_pyg.to_data`, or what cuts parts out of them.
    """

    def __init__(self, sections: Sequence[SectionData | SectionParts]) -> None:
        self.sections = section_parts(sections)
        spots = [training_spots(section.data).nonzero()[:, 0] for section in self.sections]
        self.spots = torch.cat(spots)
        self.of_section = torch.repeat_interleave(torch.tensor([len(own) for own in spots]))

    def __len__(self) -> int:
        return len(self.spots)

    def __getitem__(self, index: int) -> SectionData:
        return self.sections[int(self.of_section[index])].part(self.spots[index, None])
