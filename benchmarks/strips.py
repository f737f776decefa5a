"""Draw the README's strips: a section's H&E image, one gene's measured and predicted expression.

    python -m benchmarks.strips                              # docs/images/strip_synthetic.png, strip_her2st.png
    python -m benchmarks.strips --run runs/demo -o DIR       # the model of a demo that was run before
    python -m benchmarks.strips --data ../shared -o DIR      # with the H&E image of the real section beside its maps

The synthetic section is of a patient that the demo's model was not trained on; without ``--run`` the demo runs first
(about two minutes). The real section is drawn from two result files of the ``accuracy`` grids, the preset's and ridge
regression's, without training. Its image is drawn if ``--data`` has the HER2+ breast cancer data (Andersson et al.
2021); neither the data nor a picture of them are in the repository.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from benchmarks.reporting.pictures import shrink
from hist2st_pyg import load_model, load_sections, predict_section
from hist2st_pyg.analysis.predictions import expression_of, measured_expression
from hist2st_pyg.data.preprocessing import spot_pitch
from hist2st_pyg.demo import demo
from hist2st_pyg.figures import expression_maps, save, section_background
from hist2st_pyg.figures.maps import shared_range
from hist2st_pyg.io.st_array import PITCH_UM
from hist2st_pyg.metrics.expression import summarize

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HERE = Path(__file__).parent
IMAGES = HERE.parent / "docs" / "images"
MOST_BYTES = 300_000
"""Larger pictures are reduced to 256 colors."""
SYNTHETIC = "C1"
"""A section of the patient that the demo holds out."""
SPLIT = HERE / "results" / "accuracy" / "accuracy_her2st" / "explicit_sections" / "b"
"""Section B4 by models that were trained on patient C's sections C2, C3 and C4."""
RESULTS = {"predicted": SPLIT / "small" / "0.json", "ridge regression": SPLIT / "ridge_neighbors" / "0.json"}


def strip(
    pos: ArrayLike,
    gene: str,
    measured: ArrayLike,
    predictions: Mapping[str, tuple[ArrayLike, float]],
    title: str,
    **background: Any,
) -> Figure:
    """Draw a gene's measured and predicted expression with one color scale, next to the H&E image if there is one.

    Args:
        pos: Spot centers [N, 2] (x, y) in pixels.
        gene: The gene.
        measured: Its measured expression [N].
        predictions: Its predicted expression [N] and PCC, by the name of the model.
        title: The figure's title.
        background: Arguments of :func:`~hist2st_pyg.figures.expression_maps` about the section.
    """
    maps = {f"{gene}, measured": measured}
    maps |= {f"{gene}, {name} (PCC {pcc:.2f})": values for name, (values, pcc) in predictions.items()}
    limits = dict.fromkeys(maps, shared_range(*maps.values()))
    return expression_maps(pos, maps, limits=limits, title=title, **background)


def synthetic_strip(run: Path) -> Figure:
    """Draw a held-out synthetic section by the model of a demo, for the gene with the highest validation PCC.

    Args:
        run: The demo's folder.
    """
    model = load_model(run)
    (section,) = load_sections("synthetic", names=[SYNTHETIC])
    predicted, measured = measured_expression(predict_section(model, section), section)
    scores = summarize(expression_of(measured), expression_of(predicted), list(predicted.var_names))
    gene = str(predicted.var["val_pcc"].idxmax())
    return strip(
        section.pos,
        gene,
        expression_of(measured[:, [gene]])[:, 0],
        {"predicted": (expression_of(predicted[:, [gene]])[:, 0], scores["per_gene"][gene])},
        f"Synthetic section {section.name}, a patient not trained on: the gene of the highest validation PCC\n"
        f"(mean PCC of all {predicted.n_vars} genes: {scores['pcc_mean']:.2f})",
        **section_background(section),
    )


def real_strip(results: Mapping[str, Path], data: Path | None = None) -> Figure:
    """Draw a real section from result files, for the mapped gene with the highest PCC in the first file.

    Args:
        results: The files of cells with the same test section, by the name of the model.
        data: The folder of ``her2st``, for the H&E image; None draws none.
    """
    cells = {called: json.loads(path.read_text(encoding="utf-8")) for called, path in results.items()}
    ((name, first),) = next(iter(cells.values()))["test"].items()
    tested = {called: cell["test"][name] for called, cell in cells.items()}
    genes = first["map"]["genes"]
    gene = max(genes, key=lambda gene: first["per_gene"][gene])
    pos = np.array(first["map"]["pos"])
    background = {"um_per_pixel": PITCH_UM / spot_pitch(pos)}
    if data is not None:
        background = section_background(load_sections("her2st", data / "her2st", [name])[0])
    means = ", ".join(f"{called} {section['metrics']['pcc_mean']:.2f}" for called, section in tested.items())
    return strip(
        pos,
        gene,
        genes[gene]["true"],
        {
            called: (section["map"]["genes"][gene]["predicted"], section["per_gene"][gene])
            for called, section in tested.items()
        },
        f"HER2+ breast, section {name}, a patient not trained on: best predicted of {len(genes)} mapped genes\n"
        f"(mean PCC of all {len(first['per_gene'])} genes: {means})",
        **background,
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="folder of an earlier `hist2st demo`; without it one is run")
    parser.add_argument("--data", type=Path, help="folder that holds her2st, to draw the real section's image too")
    parser.add_argument("-o", "--output", type=Path, default=IMAGES, help="folder of the pictures")
    arguments = parser.parse_args(argv)
    try:
        with TemporaryDirectory() as folder:
            run = arguments.run or Path(folder) / "demo"
            if arguments.run is None:
                demo(str(run), wandb="disabled")
            figures = {"synthetic": synthetic_strip(run), "her2st": real_strip(RESULTS, arguments.data)}
        for name, figure in figures.items():
            path = save(figure, arguments.output / f"strip_{name}.png")
            if path.stat().st_size > MOST_BYTES:
                shrink(path)
            print(path)
    except (ValueError, OSError) as error:
        print(f"benchmarks.strips: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
