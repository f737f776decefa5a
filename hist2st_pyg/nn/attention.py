"""Attention between spots: within the whole section, or within a window and the eight windows around it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From queries, keys and values [H, N, D] to attended values [H, N, D] (H heads of width D)."""

CHUNK_VALUES = 2**24
"""Size of the keys of one chunk of windows, in numbers: 64 MiB in float32, and as much for the values."""


def full(grid: Tensor, ptr: list[int], window: int) -> Attend:
    """Each spot attends to all spots of its section; memory is linear, time quadratic in the section's spots."""

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        # One call for each section is exact and needs no padding to the largest, as a dense batch would.
        sections = [
            F.scaled_dot_product_attention(q[None, :, a:b], k[None, :, a:b], v[None, :, a:b])[0]
            for a, b in itertools.pairwise(ptr)
        ]
        return torch.cat(sections, dim=1)

    return attend


def local(grid: Tensor, ptr: list[int], window: int) -> Attend:
    """Each spot attends to its window and the eight around it; time and memory are linear in the spots.

    Windows are squares of the array, ``window`` steps a side, from array position 0 on, so that a part of a section has
    the windows of the whole. A window that covers its section gives the result of :func:`full`.
    """
    windows = Windows.of(grid, ptr, window)

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        chunks = windows.chunks(CHUNK_VALUES // (k.shape[0] * k.shape[2]))
        keep = torch.is_grad_enabled() and len(chunks) > 1 and k.requires_grad
        # Each key is copied into nine windows; the backward pass recomputes the copies instead of storing them.
        run = (lambda *each: checkpoint(_attend, *each, use_reentrant=False)) if keep else _attend
        values = torch.cat([run(q, k, v, *chunk) for chunk in chunks])
        return values[windows.place].transpose(0, 1)

    return attend


ATTENTIONS: dict[str, Callable[[Tensor, list[int], int], Attend]] = {"full": full, "local": local}
"""The kinds of attention that can be chosen by key: a function of the spots' array positions [N, 2], the sections'
boundaries (from 0 to N) and the window's side in array steps."""


def _attend(q: Tensor, k: Tensor, v: Tensor, rows: Tensor, keys: Tensor) -> Tensor:
    """Attention of the spots of B windows [B, M] to those in and around each [B, K], [B·M, H, D]; -1 is padding."""
    query, key, value = (x[:, which.clamp(min=0)].transpose(0, 1) for x, which in ((q, rows), (k, keys), (v, keys)))
    mask = (keys >= 0)[:, None, None]
    out = F.scaled_dot_product_attention(query, key, value, attn_mask=None if bool(mask.all()) else mask)
    return out.transpose(1, 2).flatten(0, 1)


@dataclass(frozen=True, eq=False)
class Windows:
    """The spots of a batch of sections by window.

    Args:
        spots: The spots of each window, [B, M], padded with -1.
        around: The window and the eight around it, [B, 9]; -1 for a window without spots.
        place: Index of each spot among the B·M, [N].
    """

    spots: Tensor
    around: Tensor
    place: Tensor

    @classmethod
    def of(cls, grid: Tensor, ptr: list[int], side: int) -> Windows:
        """Group the spots of sections by window.

        Args:
            grid: Array column and row [N, 2], from 0.
            ptr: The sections' boundaries, from 0 to N.
            side: Side of a window in array steps.
        """
        device = grid.device
        cell = grid.long().div(side, rounding_mode="floor") + 1
        columns, rows = (cell.amax(0) + 2).tolist() if len(cell) else (1, 1)
        section = torch.repeat_interleave(torch.tensor(ptr, device=device).diff())
        # Number the squares of each section, with an empty border, so that no square is next to another section's.
        number = (section * columns + cell[:, 0]) * rows + cell[:, 1]
        known, window, counts = torch.unique(number, return_inverse=True, return_counts=True)
        order = window.argsort(stable=True)
        slot = torch.arange(len(order), device=device) - (counts.cumsum(0) - counts)[window[order]]
        most = int(counts.max()) if len(counts) else 0
        spots = torch.full((len(known), most), -1, device=device)
        spots[window[order], slot] = order
        place = torch.empty_like(order)
        place[order] = window[order] * most + slot
        step = torch.tensor([-1, 0, 1], device=device)
        near = known[:, None] + (step[:, None] * rows + step).flatten()
        found = torch.searchsorted(known, near).clamp(max=max(len(known) - 1, 0))
        around = torch.where(known[found] == near, found, -1)
        return cls(spots, around, place)

    def chunks(self, most: int) -> list[tuple[Tensor, Tensor]]:
        """Split the windows into chunks: their spots [b, M], and the spots in and around each [b, K].

        Args:
            most: Largest b·K; a chunk has at least one window.
        """
        size = max(1, most // max(1, 9 * self.spots.shape[1]))
        parts = []
        for spots, around in zip(torch.split(self.spots, size), torch.split(self.around, size), strict=True):
            keys = self.spots[around.clamp(min=0)].masked_fill((around < 0)[:, :, None], -1).flatten(1)
            n_keys = (keys >= 0).sum(1)
            parts.append((spots, keys.sort(dim=1, descending=True).values[:, : int(n_keys.max())]))
        return parts
