"""Measure the cost of predicting a whole slide without spots: peak memory and patches per second.

    python -m benchmarks.slide --size 100000

The slide is synthetic (0.25 µm per pixel, a pyramid of JPEG tiles; 1 GB on disk for 100,000 x 100,000 pixels, removed
afterwards). The model is that of the small preset with random weights and a kernel stream of random spots, because the
cost does not depend on them. The prediction runs in a separate process.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from anndata import AnnData

from benchmarks.made_slide import make_slide
from benchmarks.measures import versions
from hist2st_pyg import Hist2ST, Preprocessing
from hist2st_pyg.data.spot_patches import kept_open
from hist2st_pyg.image import open_image
from hist2st_pyg.inference import BLOCK_SPOTS, predict, run_model, spatial_blocks, write_h5ad
from hist2st_pyg.inference.blocks import with_moments
from hist2st_pyg.models import load_model
from hist2st_pyg.training import preset_config
from hist2st_pyg.utils.files import write_json

HERE = Path(__file__).parent
UM_PER_PIXEL, TRAINED_UM_PER_PIXEL, PITCH_UM = 0.25, 0.5, 100.0
SMALLEST = 2048
MEASURED = "measured.json"
KERNEL_SPOTS = 1000
"""Spots of the kernel stream, as from three or four sections of HER2+ breast."""


def small_model(genes: int) -> Hist2ST:
    """Build the small preset's model, for training sections of 0.5 µm per pixel and 100 µm pitch."""
    torch.manual_seed(0)
    config = preset_config("small")
    arguments = {name: value for name, value in config.model.items() if name != "name"}
    data = config.data
    model = Hist2ST(genes, patch_size=data.patch_size, n_scales=len(data.scales), **arguments)
    model.preprocessing = Preprocessing(
        tuple(f"GENE{i}" for i in range(genes)),
        patch_size=data.patch_size,
        patch_pitch=data.patch_pitch,
        scales=tuple(data.scales),
        k=data.k,
        stain=data.stain,
        um_per_pixel=TRAINED_UM_PER_PIXEL,
        pitch=PITCH_UM / TRAINED_UM_PER_PIXEL,
    )
    model.pixel_mean.fill_(180.0)
    model.pixel_std.fill_(50.0)
    assert model.kernel is not None
    model.kernel.spots = torch.randn(KERNEL_SPOTS, model.kernel.n_features)
    model.kernel.weight = torch.randn(KERNEL_SPOTS, model.kernel.weight.shape[1]) / KERNEL_SPOTS
    return model.eval()


def peak_mb() -> float:
    """Return the largest resident memory of this program in MB; ``ru_maxrss`` would include the parent's."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


def measure(work: Path, block: int, device: str) -> dict[str, Any]:
    """Predict the slide in ``work`` with its model in this process, which should be new; return the cost."""
    model = load_model(work / "model")
    assert isinstance(model, Hist2ST)
    assert model.preprocessing is not None
    before, started = peak_mb(), time.perf_counter()
    adata = predict(model, work / "slide.tif", device=device, block=block)
    seconds = time.perf_counter() - started
    write_h5ad(adata, work / "predicted.h5ad")
    written, peak = time.perf_counter() - started, peak_mb()
    reading, computing = bounds(model, work / "slide.tif", adata, block, device)
    patches = adata.n_obs * len(model.preprocessing.scales)
    arrays = (adata.X, *adata.layers.values(), *adata.obsm.values())
    return {
        "spots": adata.n_obs,
        "genes": adata.n_vars,
        "patches": patches,
        "block": block,
        "device": device,
        "seconds": seconds,
        "seconds_written": written,
        "seconds_reading_alone": reading,
        "seconds_model_alone": computing,
        "over_larger_bound": seconds / max(reading, computing),
        "patches_per_second": patches / seconds,
        "peak_mb": peak,
        "peak_mb_before": before,
        "result_mb": sum(array.nbytes for array in arrays) / 1e6,
        "threads": torch.get_num_threads(),
        "note": adata.uns["hist2st"].get("note"),
    }


def bounds(model: Hist2ST, slide: Path, adata: AnnData, block: int, device: str) -> tuple[float, float]:
    """Measure the seconds of reading the patches of a prediction's spots, and those of the model on them."""
    assert model.preprocessing is not None
    pos, grid = adata.obsm["spatial"], adata.obs[["array_col", "array_row"]].to_numpy()
    patches = model.preprocessing.patches(
        open_image(slide), pos, um_per_pixel=UM_PER_PIXEL, pitch=PITCH_UM / UM_PER_PIXEL
    )
    blocks = spatial_blocks(pos, block)
    started = time.perf_counter()
    with kept_open(patches) as opened:
        for spots in blocks:
            x = opened(spots)
    reading = time.perf_counter() - started
    graph = model.preprocessing.build_graph(pos, grid)
    pieces = [graph.subgraph(torch.from_numpy(spots)) for spots in blocks]
    started = time.perf_counter()
    for piece in pieces:
        piece.x = x[torch.arange(len(piece.pos)) % len(x)]
        with_moments(model, run_model(model, piece, device))
    return reading, time.perf_counter() - started


def run(size: int, work: Path, genes: int = 250, block: int = BLOCK_SPOTS, device: str = "auto") -> dict[str, Any]:
    """Generate a slide and a model in a folder, and predict the slide in a new process.

    Args:
        size: Side of the slide in pixels.
        work: The folder, which must exist.
        genes: Number of genes of the model.
        block: Largest number of spots predicted at a time.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...
    """
    started = time.perf_counter()
    tissue = make_slide(work / "slide.tif", size, UM_PER_PIXEL)
    making = time.perf_counter() - started
    small_model(genes).save_pretrained(work / "model")
    options = ["--block", str(block), "--device", device]
    subprocess.run(
        [sys.executable, "-m", "benchmarks.slide", "--measure", str(work), *options], check=True, cwd=HERE.parent
    )
    measured = json.loads((work / MEASURED).read_text(encoding="utf-8"))
    decoded = 3 * size**2 / 1e6
    return {
        "size": size,
        "um_per_pixel": UM_PER_PIXEL,
        "tissue_share": tissue,
        "file_mb": (work / "slide.tif").stat().st_size / 1e6,
        "decoded_mb": decoded,
        "seconds_making": making,
        **measured,
        "peak_share_of_decoded": measured["peak_mb"] / decoded,
        "versions": versions(),
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=100_000, help="side of the slide in pixels")
    parser.add_argument("--genes", type=int, default=250)
    parser.add_argument("--block", type=int, default=BLOCK_SPOTS, help="largest number of spots predicted at a time")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--output", type=Path, help="folder that keeps slide, model and prediction")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "slide", help="folder of the JSON")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.measure is not None:
        write_json(arguments.measure / MEASURED, measure(arguments.measure, arguments.block, arguments.device))
        return 0
    if arguments.size < SMALLEST:
        print(f"benchmarks.slide: size must be {SMALLEST} pixels or more, got {arguments.size}.", file=sys.stderr)
        return 2
    options = (arguments.genes, arguments.block, arguments.device)
    if arguments.output is not None:
        arguments.output.mkdir(parents=True, exist_ok=True)
        result = run(arguments.size, arguments.output, *options)
    else:
        with tempfile.TemporaryDirectory(prefix="slide-") as work:
            result = run(arguments.size, Path(work), *options)
    path = arguments.results / f"{arguments.size}.json"
    write_json(path, result)
    print(path, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
