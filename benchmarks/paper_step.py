"""Cost of one training step of the paper's preset: seconds of each step, and the process's peak memory.

    python -m benchmarks.paper_step --spots 300 --views 5

Patches and counts are random: the cost does not depend on them. Each setting needs its own process, because the peak is
that of the process.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

import torch
from torch_geometric.data import Batch

from hist2st_pyg import Hist2ST, knn_edges
from hist2st_pyg.data import SectionData
from hist2st_pyg.training import ExpressionTask, TrainingConfig
from hist2st_pyg.utils.files import write_json

RESULTS = Path(__file__).parent / "results" / "paper_step"


def section(spots: int, genes: int) -> SectionData:
    """A section of random patches and counts on a square array."""
    side = int(spots**0.5) + 1
    grid = torch.stack([torch.arange(spots) % side, torch.arange(spots) // side], dim=1)
    edge_index, distance = knn_edges(grid, 4, 2.0)
    counts = torch.poisson(torch.full((spots, genes), 2.0))
    return SectionData(
        x=torch.randint(0, 256, (spots, 3, 112, 112), dtype=torch.uint8),
        edge_index=edge_index,
        edge_attr=distance[:, None],
        pos=grid.float(),
        grid=grid,
        counts=counts,
        y=torch.log10(1 + 1e4 * counts / counts.sum(1, keepdim=True)),
        size_factor=counts.sum(1) / counts.sum(1).median(),
        gene_mask=torch.ones(genes, dtype=torch.bool),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spots", type=int, default=300)
    parser.add_argument("--genes", type=int, default=785)
    parser.add_argument("--views", type=int, default=5)
    parser.add_argument("--steps", type=int, default=3)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    batch = Batch.from_data_list([section(arguments.spots, arguments.genes)])
    model = Hist2ST(arguments.genes, n_views=arguments.views)
    task = ExpressionTask(model, TrainingConfig(n_views=arguments.views))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5)
    seconds = []
    for _ in range(arguments.steps):
        started = time.perf_counter()
        loss = torch.stack(list(task.losses(batch).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seconds.append(round(time.perf_counter() - started, 2))
    result = {
        **vars(arguments),
        "seconds": seconds,
        "peak_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "threads": torch.get_num_threads(),
    }
    path = RESULTS / f"{arguments.spots}_spots_{arguments.views}_views.json"
    write_json(path, result)
    print(path, result)


if __name__ == "__main__":
    main()
