"""Measure time and memory of training and evaluation on sections of many bins, and their growth with the bins.

    python -m benchmarks.scale                                                   # minutes, for a look
    python -m benchmarks.scale --bins 12500 25000 50000 100000 --cache CACHE     # patches in a file instead of cut anew
    python -m benchmarks.scale --losses --bins 10000 --depth 3 --epochs 10       # squared error beside a likelihood

The sections are synthetic: square arrays as in Visium HD, with few counts per bin. Each size runs in a separate process
to measure its peak memory; seconds are processor time. ``results/scale.json`` has the rows and the exponents, the
slopes of log seconds over log bins. With ``--losses``, ``results/scale_losses.json`` has, for each error, the mean PCC
of the prediction on another section with the measured target, the measured counts, and the true shares.
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

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.measures import exponent, peak_mb, versions
from hist2st_pyg import Section, evaluate, load_model, predict_section, preset_config, train
from hist2st_pyg.data.expression import expression_target, panel_counts
from hist2st_pyg.metrics.expression import pearson_per_gene
from hist2st_pyg.training import TrainConfig
from hist2st_pyg.utils.files import write_json
from hist2st_pyg.utils.json_files import read_json
from hist2st_pyg.utils.rows import Floats, row_blocks

RESULTS = Path(__file__).parent / "results"
PITCH = 8
"""Side of a bin in pixels."""
FIELDS = 4
"""Number of smooth fields over the section that determine colors and genes."""


def made_section(name: str, bins: int, genes: int, depth: float) -> Section:
    """Generate a section of bins on a square array: the same smooth fields determine colors and genes; Poisson counts.

    Args:
        name: Its name; with the number of bins it is the seed of all random numbers except those of the genes.
        bins: Number of bins, N.
        genes: Number of genes, G.
        depth: Mean counts of a bin over all genes.
    """
    import pandas as pd
    from anndata import AnnData
    from scipy.ndimage import gaussian_filter
    from scipy.sparse import csr_matrix, vstack

    rng = np.random.default_rng([*name.encode(), bins])
    side = int(np.ceil(bins**0.5))
    fields = np.stack([gaussian_filter(rng.normal(size=(side, side)), 4 + 4 * i, mode="wrap") for i in range(FIELDS)])
    fields = (fields - fields.mean((1, 2), keepdims=True)) / fields.std((1, 2), keepdims=True)
    row, column = np.divmod(np.arange(bins), side)
    values = fields[:, row, column].T
    parts = []
    for some in row_blocks(values):
        mean = depth * rng.lognormal(0, 0.4, (len(some), 1)) * true_shares(some, genes)
        parts.append(csr_matrix(rng.poisson(mean).astype(np.float32)))
    adata = AnnData(
        vstack(parts, format="csr"),
        obs=pd.DataFrame({"array_col": column, "array_row": row}, index=[f"bin_{i}" for i in range(bins)]),
        var=pd.DataFrame(index=[f"GENE{i + 1}" for i in range(genes)]),
        obsm={"spatial": PITCH * np.stack([column + 1.5, row + 1.5], axis=1), "fields": values},
    )
    return Section(name, name[0], adata, _image(fields, rng), spot_diameter=PITCH, um_per_pixel=8 / PITCH)


def true_shares(fields: Floats, genes: int) -> Floats:
    """Compute the genes' shares of each bin's counts [N, G] from the fields [N, FIELDS]."""
    biology = np.random.default_rng(genes)
    share = biology.lognormal(0, 1, genes) * np.exp(fields @ biology.normal(0, 0.6, (FIELDS, genes)))
    return np.asarray(share / share.sum(1, keepdims=True))


def _image(fields: Floats, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Draw the image: colors determined by the fields, in the same way in all sections, with a fine texture."""
    colors = 150 + 18 * np.tensordot(fields, np.random.default_rng(0).normal(size=(FIELDS, 3)), axes=(0, 0))
    colors = np.pad(colors, ((1, 1), (1, 1), (0, 0)), mode="edge")
    side = PITCH * len(colors)
    texture = rng.normal(0, 12, (PITCH, side, 3))
    image = np.empty((side, side, 3), dtype=np.uint8)
    for row, line in enumerate(colors):
        image[PITCH * row : PITCH * (row + 1)] = (np.repeat(line, PITCH, axis=0) + texture).clip(0, 255)
    return image


def configuration(arguments: argparse.Namespace, output: Path, data: dict[str, Any], **model: Any) -> TrainConfig:
    """Build the configuration of the ``small`` preset."""
    given = {
        "patch_size": arguments.patch_size,
        "n_genes": arguments.genes // 3,
        "window": arguments.window,
        "cache": arguments.cache,
        **data,
    }
    run = {"output": str(output), "wandb": "off", "accelerator": "cpu"}
    return preset_config("small", given, model, {"epochs": arguments.epochs}, **run)


def measure(arguments: argparse.Namespace, bins: int) -> dict[str, Any]:
    """Train on one section, with held-out squares for validation, and evaluate on another."""
    sections = [made_section(name, bins, arguments.genes, arguments.depth) for name in ("A1", "B1")]
    row: dict[str, Any] = {
        name: getattr(arguments, name) for name in ("genes", "depth", "patch_size", "window", "epochs")
    }
    row |= {"n": bins, "cached": arguments.cache is not None}
    row["start_peak_mb"] = peak_mb()
    with tempfile.TemporaryDirectory(prefix="scale-") as folder:
        started = time.process_time()
        squares = {"val_share": 0.1, "val_side": 16.0}
        run = train(configuration(arguments, Path(folder) / "run", squares), sections[:1])
        row |= {"train_seconds": time.process_time() - started, "train_peak_mb": peak_mb()}
        row["wall_seconds"] = read_json(run / "summary.json")["seconds"]
        if not arguments.train_only:
            started = time.process_time()
            result = evaluate(load_model(run / "model"), sections[1:], cache=arguments.cache, device="cpu")
            row |= {"evaluate_seconds": time.process_time() - started, "evaluate_peak_mb": peak_mb()}
            row["pcc_mean"] = result["pcc_mean"]
    return row


def losses(arguments: argparse.Namespace, bins: int) -> list[dict[str, Any]]:
    """Score predictions of another section after training with squared error, without and with Poisson likelihood."""
    first, second = (made_section(name, bins, arguments.genes, arguments.depth) for name in ("A1", "B1"))
    rows = []
    for likelihood in (None, "poisson"):
        with tempfile.TemporaryDirectory(prefix="scale-") as folder:
            model = {"likelihood": likelihood, "detach_likelihood": False}
            run = train(configuration(arguments, Path(folder) / "run", {"panel": "variance"}, **model), [first])
            predicted = predict_section(load_model(run / "model"), second)
        genes = list(predicted.var_names)
        counts, _ = panel_counts(second, genes)
        shares = true_shares(second.adata.obsm["fields"], arguments.genes)[:, second.adata.var_names.get_indexer(genes)]
        truths: dict[str, Any] = {"target": expression_target(second, counts), "counts": counts, "shares": shares}
        outputs: dict[str, Any] = {"expression": predicted.X}
        if likelihood:
            outputs["mean"] = predicted.layers["mean"]
        for output, values in outputs.items():
            scores = {name: float(np.nanmean(pearson_per_gene(truth, values))) for name, truth in truths.items()}
            rows.append({"n": bins, "depth": arguments.depth, "likelihood": likelihood, "output": output, **scores})
    return rows


def exponents(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Compute the slope of log seconds over log bins of training and evaluation, given three sizes or more."""
    if len(rows) < 3:
        return {}
    n = [row["n"] for row in rows]
    parts = [part for part in ("train_seconds", "evaluate_seconds") if part in rows[0]]
    return {part: exponent(n, [row[part] for row in rows]) for part in parts}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bins", type=int, nargs="+", default=[6_250, 12_500, 25_000])
    parser.add_argument("--genes", type=int, default=300, help="of the section; the panel has a third of them")
    parser.add_argument("--depth", type=float, default=100.0, help="mean counts of a bin over all genes")
    parser.add_argument("--patch-size", type=int, default=28)
    parser.add_argument("--window", type=int, default=200)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--cache", help="folder of the patch cache; None reads patches on access")
    parser.add_argument("--train-only", action="store_true", help="do not evaluate")
    parser.add_argument("--losses", action="store_true", help="compare errors on sparse bins instead")
    parser.add_argument("--output", type=Path, help="the result, by default in results/")
    parser.add_argument("--case", type=int, help=argparse.SUPPRESS)
    given = list(sys.argv[1:] if argv is None else argv)
    arguments = parser.parse_args(given)
    torch.set_num_threads(1)
    if arguments.case is not None:
        print(json.dumps(measure(arguments, arguments.case)))
        return 0
    output = arguments.output or RESULTS / ("scale_losses.json" if arguments.losses else "scale.json")
    rows: list[dict[str, Any]] = []
    measured_by = versions()  # before writing results, which make the checkout dirty
    for bins in arguments.bins:
        if arguments.losses:
            rows += losses(arguments, bins)
        else:
            command = [sys.executable, "-m", "benchmarks.scale", *given, "--case", str(bins)]
            out = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=RESULTS.parents[1])
            rows.append(json.loads(out.stdout.splitlines()[-1]))
        print(*rows[-3 if arguments.losses else -1 :], sep="\n", flush=True)
        result = {"versions": measured_by, "rows": rows}  # after each size, so that an interruption loses no result
        write_json(output, result if arguments.losses else {**result, "exponents": exponents(rows)})
    return 0


if __name__ == "__main__":
    sys.exit(main())
