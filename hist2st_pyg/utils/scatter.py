"""Reduce rows by group: torch-scatter's kernels where they can be used, else PyTorch Geometric's own."""

from __future__ import annotations

from importlib.util import find_spec

import torch
import torch_geometric.typing as pyg
from torch import Tensor
from torch_geometric.utils import scatter as pyg_scatter


def scatter(src: Tensor, index: Tensor, dim_size: int | None, reduce: str = "sum") -> Tensor:
    """Reduce the rows of ``src`` that have the same index.

    torch-scatter is an optional package. If it is missing, does not load (PyTorch Geometric then warns), or was built
    without CUDA for a torch with CUDA, :func:`torch_geometric.utils.scatter` gives the same values.

    Args:
        src: The rows [N, ...].
        index: The group of each row [N].
        dim_size: The number of groups G; one without rows becomes 0.
        reduce: ``"sum"``, ``"mean"``, ``"min"`` or ``"max"``.

    Returns:
        One row for each group [G, ...].
    """
    kernel = pyg.torch_scatter.scatter if pyg.WITH_TORCH_SCATTER else pyg_scatter
    return kernel(src, index, dim=0, dim_size=dim_size, reduce=reduce)  # type: ignore[no-any-return]


def scatter_in_use() -> str:
    """Name the implementation that :func:`scatter` uses on this machine, and the reason."""
    if pyg.WITH_TORCH_SCATTER:
        return f"torch-scatter, {'with' if _has_cuda() else 'without'} CUDA as torch"
    if find_spec("torch_scatter") is None:
        return "torch_geometric (torch-scatter is not installed)"
    if pyg.torch_scatter is object:
        return "torch_geometric (torch-scatter does not load: it was built for another torch; install it again)"
    return "torch_geometric (torch-scatter was built without CUDA, which this torch has)"


def _has_cuda() -> bool:
    return int(torch.ops.torch_scatter.cuda_version()) >= 0


if pyg.WITH_TORCH_SCATTER and torch.version.cuda is not None and not _has_cuda():
    # PyTorch Geometric's own layers would call it for tensors on a GPU, where it raises.
    pyg.WITH_TORCH_SCATTER = False
