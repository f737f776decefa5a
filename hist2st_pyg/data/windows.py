"""Sections in pieces for training: windows of neighbouring spots, or each spot alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch.utils.data import Dataset

from hist2st_pyg.data.convert import SectionData
from hist2st_pyg.data.masks import training_spots


class SpotWindows(Dataset[SectionData]):
    """Random windows of sections: a spot and those nearest to it, with the edges among them.

    Drawn anew each time, so that an epoch shows about as many spots as there are, a step's memory and time do not grow
    with the section, and large sections give more steps than small ones. Sections of at most ``size`` spots stay whole.

    Args:
        sections: Training sections, ``Data`` as :func:`~hist2st_pyg.to_data` makes them.
        size: Spots of a window.

    Raises:
        ValueError: If the size is not positive.
    """

    def __init__(self, sections: Sequence[SectionData], size: int) -> None:
        if size < 1:
            raise ValueError(f"A window has at least one spot, got window={size}.")
        self.sections, self.size = sections, size
        self.pieces = [i for i, data in enumerate(sections) for _ in range(math.ceil(len(data.pos) / size))]

    def __len__(self) -> int:
        return len(self.pieces)

    def __getitem__(self, index: int) -> SectionData:
        data = self.sections[self.pieces[index]]
        if len(data.pos) <= self.size:
            return data
        # Around a spot that trains, so that no window is without one.
        centres = training_spots(data).nonzero()[:, 0]
        centre = data.pos[centres[torch.randint(len(centres), (1,))]]
        nearest = (data.pos - centre).square().sum(1).topk(self.size, largest=False).indices.sort().values
        return data.subgraph(nearest)  # type: ignore[no-any-return]


class SingleSpots(Dataset[SectionData]):
    """Each training spot of the sections as a ``Data`` of its own, without edges: batches of them mix sections.

    An epoch shows each spot once, as ST-Net is trained (He et al. 2020).

    Args:
        sections: Training sections, ``Data`` as :func:`~hist2st_pyg.to_data` makes them.
    """

    def __init__(self, sections: Sequence[SectionData]) -> None:
        self.sections = sections
        self.spots = [(i, spot) for i, data in enumerate(sections) for spot in training_spots(data).nonzero()[:, 0]]

    def __len__(self) -> int:
        return len(self.spots)

    def __getitem__(self, index: int) -> SectionData:
        section, spot = self.spots[index]
        return self.sections[section].subgraph(spot[None])  # type: ignore[no-any-return]
