"""Compare speed and memory with the published algorithm, in separate, alternating processes.

    python -m benchmarks.speed                       # minutes, for a look
    python -m benchmarks.speed --spots 300 1000 4000 --many 16000 100000 --graph 10000 100000 1000000 --repeats 5

``results/speed.json`` has rows of seconds, ratios (reference over ours) and peak memory. Seconds are processor time
(wall time on a GPU), the minimum over the repeats, so that other processes matter little; ratios are similar on any
machine. The reference is :mod:`benchmarks.reference`; for graphs too large for a matrix it is a plain query of a k-d
tree. There is no reference for predictions too large for its attention, and for ``fit``, a complete training of the
small preset or a kernel ridge regression.

Rows of the file that a call does not measure stay in it; each row has the code that made it.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch_geometric.data import Batch

from benchmarks.measures import exponent, rows_with_code, versions
from benchmarks.reference import Reference, dense_graph
from hist2st_pyg import Hist2ST, knn_edges, load_sections, preset_config, train
from hist2st_pyg.data import SectionData
from hist2st_pyg.data.patches import cut_patches
from hist2st_pyg.image import open_image
from hist2st_pyg.inference.blocks import predict_blocks
from hist2st_pyg.training import ExpressionTask, TrainingConfig
from hist2st_pyg.utils.files import write_json
from hist2st_pyg.utils.json_files import read_json

RESULTS = Path(__file__).parent / "results" / "speed.json"
GENES, K, MAX_DISTANCE = 785, 4, 2.0
DENSE_SPOTS = 20_000
"""Largest number of spots for a dense graph, whose matrix has 1.6 GB."""
ATTENDED_SPOTS = 5_000
"""Largest number of spots for explicit attention: a block's matrices of 16 heads have 1.6 GB each."""
DISTINCT_PATCHES = 1_000
"""Number of different patches of a section that is predicted in blocks."""
PITCH = 250
"""Distance between the spots of an image in pixels, as in the HER2+ sections."""
Run = Callable[[], object]
"""The timed function."""


def section(spots: int, patches: bool = True) -> SectionData:
    """Generate a section of random patches and counts on a square array; the cost does not depend on the values."""
    grid = array(spots)
    edge_index, distance = knn_edges(grid, K, MAX_DISTANCE)
    counts = torch.poisson(torch.full((spots, GENES), 2.0))
    data = SectionData(
        edge_index=edge_index,
        edge_attr=distance[:, None],
        pos=grid.float(),
        grid=grid,
        counts=counts,
        y=torch.log10(1 + 1e4 * counts / counts.sum(1, keepdim=True)),
        size_factor=counts.sum(1) / counts.sum(1).median(),
        gene_mask=torch.ones(GENES, dtype=torch.bool),
    )
    if patches:
        data.x = torch.randint(0, 256, (spots, 3, 112, 112), dtype=torch.uint8)
    return data


def array(spots: int) -> torch.Tensor:
    """Return array positions of spots on a square array, [N, 2]."""
    side = int(np.ceil(spots**0.5))
    return torch.stack([torch.arange(spots) % side, torch.arange(spots) // side], dim=1)


def paper_model(spots: int, n_views: int = 0, **arguments: Any) -> Hist2ST:
    """Build the paper's architecture, for an array with this number of spots."""
    return Hist2ST(GENES, n_views=n_views, n_pos=max(64, int(np.ceil(spots**0.5))), **arguments)


def train_step(spots: int, variant: str, ours: bool, device: str) -> Run:
    """Return a training step of the paper's preset; the variant has the number of views and optionally their memory."""
    n_views, *memory_gb = (int(number) for number in re.findall(r"\d+", variant))
    model = paper_model(spots, n_views).to(device)
    task = ExpressionTask(model, TrainingConfig(n_views=n_views), *memory_gb)
    if not ours:
        task.model = Reference(model)  # type: ignore[assignment]  # it has what a task calls
    task.to(device)
    batch = Batch.from_data_list([section(spots)]).to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5)

    def step() -> None:
        loss = torch.stack(list(task.losses(batch).values())).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def inference(spots: int, variant: str, ours: bool, device: str) -> Run:
    """Return a prediction of the paper's architecture, with full or local attention; the reference's is full.

    More spots than the reference can attend to are predicted in blocks, as ``predict`` does, from patches that repeat.
    """
    model = paper_model(spots, attention=variant if ours else "full").to(device).eval()
    if not has_reference("inference", spots):
        graph = section(spots, patches=False)
        some: torch.Tensor = section(DISTINCT_PATCHES).x

        def patches_of(which: NDArray[np.int64] | None) -> torch.Tensor:
            return some[(np.arange(spots) if which is None else which) % DISTINCT_PATCHES]

        return lambda: predict_blocks(model, graph, patches_of, device=device)
    data = section(spots).to(device)
    run = model if ours else Reference(model)

    def predict() -> None:
        with torch.inference_mode():
            run(data)

    return predict


def graph(spots: int, variant: str, ours: bool, device: str) -> Run:
    """Return the construction of a kNN graph; the reference is a dense matrix or a plain query of a tree."""
    pos = array(spots).double().cpu().numpy()
    if ours:
        return lambda: knn_edges(pos, K, MAX_DISTANCE)
    if variant == "dense":
        return lambda: dense_graph(pos, K, MAX_DISTANCE)
    from scipy.spatial import cKDTree

    return lambda: cKDTree(pos).query(pos, k=K + 1)


def patches(spots: int, variant: str, ours: bool, device: str) -> Run:
    """Return the reading of a JPEG's patches; the reference cuts them without cache (``cached``) or only decodes it.

    With ``three fields`` they are the ``small`` preset's: 28 px, of one, 3.5 and 8 spot distances.
    """
    from PIL import Image

    work = tempfile.TemporaryDirectory(prefix="speed-")
    side = PITCH * int(np.ceil(spots**0.5)) + PITCH
    path = Path(work.name) / "image.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (side // 8, side // 8, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((side, side)).save(path)  # approximately as detailed as tissue
    pos = PITCH * array(spots).double().cpu().numpy() + PITCH

    def cut(cache: Path | None = None) -> object:
        assert work  # keeps a reference, so that the temporary folder is not removed
        side, field, scales = (28, PITCH, (1.0, 3.5, 8.0)) if variant.endswith("three fields") else (112, None, (1.0,))
        # Copying reads the memory map.
        return np.array(cut_patches(open_image(path), pos, side, field, scales, cache=cache, name="A"))

    if variant == "cached" and ours:
        cut(Path(work.name))
        return lambda: cut(Path(work.name))
    if variant == "cached" or ours:
        return cut
    return lambda: np.asarray(Image.open(path).convert("RGB")) if work else None


def fit(spots: int, variant: str, ours: bool, device: str) -> Run:
    """Return a complete training of the small preset or a regression, including data loading; without reference."""
    work = tempfile.TemporaryDirectory(prefix="speed-")
    sections = load_sections("synthetic", names=["A1"], spots=spots)
    config = preset_config(
        "small",
        {"train": ["A1"]},
        {"name": variant},
        output=str(Path(work.name) / "run"),
        overwrite=True,
        wandb="off",
        accelerator=device,
    )
    return lambda: train(config, sections) if work else None


WORKS: dict[str, Callable[[int, str, bool, str], Run]] = {
    "train_step": train_step,
    "inference": inference,
    "graph": graph,
    "patches": patches,
    "fit": fit,
}
"""The measured tasks: functions of the number of spots, the variant, whether it is ours, and the device."""


def measure(work: str, spots: int, variant: str, ours: bool, device: str, repeats: int) -> dict[str, float]:
    """Measure the minimum seconds of a case and the peak memory in this process, which should be new."""
    torch.manual_seed(0)
    run = WORKS[work](spots, variant, ours, device)
    gpu = device != "cpu"
    seconds = []
    for _ in range(repeats + 1):  # the first is a warm-up, in which memory grows
        started = time.perf_counter() if gpu else time.process_time()
        run()
        if gpu:
            torch.cuda.synchronize()
        seconds.append((time.perf_counter() if gpu else time.process_time()) - started)
    peak = torch.cuda.max_memory_allocated() / 1e6 if gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return {"seconds": min(seconds[1:]), "peak_mb": peak}


def compare(work: str, spots: int, variant: str, device: str, repeats: int, rounds: int) -> dict[str, Any]:
    """Compute a row of the table: ours and the reference alternating, each time in a new process."""
    sides = (True, False) if has_reference(work, spots) else (True,)
    found: dict[bool, list[dict[str, float]]] = {ours: [] for ours in sides}
    for _ in range(rounds):
        for ours in sides:
            case = json.dumps([work, spots, variant, ours, device, repeats])
            command = [sys.executable, "-m", "benchmarks.speed", "--case", case]
            out = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=RESULTS.parents[2])
            found[ours].append(json.loads(out.stdout.splitlines()[-1]))
    seconds = {ours: min(each["seconds"] for each in cases) for ours, cases in found.items()}
    peaks = {ours: min(each["peak_mb"] for each in cases) for ours, cases in found.items()}
    return {
        "work": work,
        "n": spots,
        "variant": variant,
        "ours_seconds": seconds[True],
        "reference_seconds": seconds.get(False),
        "ratio": seconds[False] / seconds[True] if False in seconds else None,
        "ours_peak_mb": peaks[True],
        "reference_peak_mb": peaks.get(False),
    }


def has_reference(work: str, spots: int) -> bool:
    """Whether the published algorithm can run this size."""
    return work != "fit" and (work not in ("train_step", "inference") or spots <= ATTENDED_SPOTS)


def cases(arguments: argparse.Namespace) -> list[tuple[str, int, str]]:
    """List task, spots and variant of each row."""
    rows = []
    for spots in arguments.spots:
        for views in arguments.views:
            rows += [("train_step", spots, f"{views} views{memory}") for memory in ("", ", 0 GB")[: 1 + (views > 0)]]
    rows += [("inference", spots, kind) for spots in arguments.spots for kind in ("full", "local")]
    rows += [("inference", spots, "local") for spots in arguments.many]
    for spots in arguments.graph:
        rows += [("graph", spots, kind) for kind in ("dense", "tree") if kind == "tree" or spots <= DENSE_SPOTS]
    rows += [
        ("patches", spots, kind)
        for spots in arguments.spots
        for kind in ("cached", "decoding", "decoding, three fields")
    ]
    rows += [("fit", spots, kind) for spots in arguments.spots for kind in ("hist2st", "kernel_ridge")]
    return [row for row in rows if row[0] in arguments.works]


def exponents(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Compute the slope of our log seconds over log N, by task and variant, given three sizes or more."""
    found = {}
    for key in sorted({f"{row['work']}, {row['variant']}" for row in rows}):
        own = [row for row in rows if f"{row['work']}, {row['variant']}" == key]
        if len(own) > 2:
            found[key] = exponent([row["n"] for row in own], [row["ours_seconds"] for row in own])
    return found


def earlier_rows(path: Path, device: str) -> dict[tuple[str, int, str], dict[str, Any]]:
    """Read the rows of an earlier call on the same device by task, spots and variant; none without the file.

    Raises:
        ValueError: if the file is of another device.
    """
    if not path.is_file():
        return {}
    earlier = read_json(path)
    if earlier["device"] != device:
        raise ValueError(
            f"{path} has rows of {earlier['device']}, this is {device}; give another file with --output, "
            "or remove that one."
        )
    return {(row["work"], row["n"], row["variant"]): row for row in rows_with_code(earlier)}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--works", nargs="+", choices=sorted(WORKS), default=sorted(WORKS))
    parser.add_argument(
        "--spots", type=int, nargs="+", default=[300], help="spots of steps, predictions, patches, fits"
    )
    parser.add_argument(
        "--many", type=int, nargs="+", default=[], help="spots of further predictions with local attention"
    )
    parser.add_argument("--views", type=int, nargs="+", default=[0, 5], help="numbers of views in training")
    parser.add_argument("--graph", type=int, nargs="+", default=[10_000, 100_000], help="spots of graphs")
    parser.add_argument("--repeats", type=int, default=2, help="repeats of a case in its process, after the warm-up")
    parser.add_argument("--rounds", type=int, default=1, help="number of processes per case")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.case is not None:
        print(json.dumps(measure(*json.loads(arguments.case))))
        return 0
    card = torch.cuda.get_device_name() if arguments.device != "cpu" else f"{torch.get_num_threads()} CPU threads"
    measured_by = versions()  # before writing results, which make the checkout dirty
    try:
        rows = earlier_rows(arguments.output, card)
    except ValueError as error:
        print(f"benchmarks.speed: {error}", file=sys.stderr)
        return 2
    for work, spots, variant in cases(arguments):
        row = compare(work, spots, variant, arguments.device, arguments.repeats, arguments.rounds)
        print(row, flush=True)
        rows[work, spots, variant] = {**row, "code": measured_by.get("code")}
        ordered = [rows[key] for key in sorted(rows, key=lambda key: (list(WORKS).index(key[0]), *key[1:]))]
        result = {"device": card, "versions": measured_by, "rows": ordered, "exponents": exponents(ordered)}
        write_json(arguments.output, result)  # after each row, so that an interruption loses no result
    return 0


if __name__ == "__main__":
    sys.exit(main())
