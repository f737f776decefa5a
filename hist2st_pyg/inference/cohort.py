"""Predict many slides, each in its own process: skip finished slides, and continue after errors."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from textwrap import shorten
from typing import Any, Literal

import torch
from tqdm.contrib.logging import logging_redirect_tqdm

from hist2st_pyg.image import open_image
from hist2st_pyg.inference.image_input import check_layout
from hist2st_pyg.inference.outputs import OUTPUTS, check_columns
from hist2st_pyg.inference.prediction import predict
from hist2st_pyg.inference.running import find_device
from hist2st_pyg.inference.slide import DEVICE, Draw, Job, Slide, State, drawn, fingerprint, finished, make
from hist2st_pyg.io.spots import SUFFIXES
from hist2st_pyg.models import load_model
from hist2st_pyg.models.base import ExpressionModel, require_preprocessing
from hist2st_pyg.models.packaged import local_path
from hist2st_pyg.utils.executors import EXECUTORS, Failed, check_main
from hist2st_pyg.utils.jobs import keep_failure
from hist2st_pyg.utils.progress import tqdm
from hist2st_pyg.utils.resolver import resolve
from hist2st_pyg.utils.writable import check_folder

logger = logging.getLogger(__name__)

LAYOUT = ("pitch", "pitch_um", "um_per_pixel")
"""The options that :func:`~hist2st_pyg.inference.image_input.check_layout` checks."""

Outcome = Literal["done", "skipped", "failed"]


@dataclass(frozen=True)
class SlideResult:
    """The outcome of a slide.

    Args:
        name: The slide's name.
        output: Its prediction.
        outcome: Whether it was predicted now, skipped as finished, or failed.
        spots: Number of predicted spots.
        seconds: Time of the prediction, without loading the model and drawing.
        message: The error, or the warnings stored with the prediction.
    """

    name: str
    output: Path
    outcome: Outcome
    spots: int | None = None
    seconds: float | None = None
    message: str = ""


@dataclass(frozen=True)
class CohortResult:
    """The outcomes of the slides, in the order of the call."""

    slides: tuple[SlideResult, ...]

    def of(self, outcome: Outcome) -> list[SlideResult]:
        """Return the slides with an outcome."""
        return [slide for slide in self.slides if slide.outcome == outcome]

    def table(self) -> str:
        """Format one line per slide, and the number of slides per outcome."""
        rows = [("slide", "outcome", "spots", "seconds", "")]
        for slide in self.slides:
            spots = "" if slide.spots is None else str(slide.spots)
            seconds = "" if slide.seconds is None else f"{slide.seconds:.1f}"
            rows.append((slide.name, slide.outcome, spots, seconds, shorten(slide.message, 200, placeholder=" ...")))
        a, b, c, d, _ = (max(map(len, column)) for column in zip(*rows, strict=True))
        lines = [f"{r[0]:{a}}  {r[1]:{b}}  {r[2]:>{c}}  {r[3]:>{d}}  {r[4]}".rstrip() for r in rows]
        counts = ", ".join(f"{len(self.of(outcome))} {outcome}" for outcome in ("done", "skipped", "failed"))
        return "\n".join([*lines, f"{counts}."])


def predict_cohort(
    model: str | Path,
    images: Sequence[str | Path],
    output: str | Path,
    *,
    spots: str | Path | None = None,
    format: str = "h5ad",
    draw: Draw | None = None,
    figures: str | Path | None = None,
    genes: Sequence[str] | None = None,
    overwrite: bool = False,
    executor: str = "local",
    jobs: int = 1,
    gpus: float = 0,
    **options: Any,
) -> CohortResult:
    """Predict many slides into a folder.

    ``<slide>.json`` next to each output records its model, image and options. A slide predicted with the same model,
    image and options is skipped; only new pictures are drawn. ``<slide>.failed.txt`` has the traceback of a failed
    slide; the next call retries failed and interrupted slides. ``logs/<slide>.txt`` has the output of a slide's
    process.

    Args:
        model: A path or name that :func:`~hist2st_pyg.load_model` reads.
        images: The slides; their names without suffix must differ.
        output: Folder of the predictions, ``<slide>.h5ad`` or ``<slide>.zarr``.
        spots: A folder with a spot file of each slide (``<slide>.csv``, ``.tsv``, ``.parquet`` or ``.h5ad``), or the
            spot file of a single slide; None lays grids over the tissue.
        format: One of :data:`~hist2st_pyg.inference.outputs.OUTPUTS`.
        draw: Draws a slide: :func:`hist2st_pyg.analysis.maps.draw_prediction`; None draws nothing.
        figures: Folder of the pictures; None uses ``figures`` in the output's folder.
        genes: The genes to draw; None lets ``draw`` choose.
        overwrite: Replace outputs of another model, image or other options, instead of raising an error.
        executor: One of :data:`~hist2st_pyg.utils.executors.EXECUTORS`.
        jobs: Number of slides to predict in parallel; they share this machine's cores. A Ray cluster runs as many as
            its resources allow.
        gpus: Number of GPUs per slide, with Ray.
        options: Keywords of :func:`~hist2st_pyg.predict`.

    Raises:
        FileNotFoundError: If the model, an image or its spots do not exist.
        ImportError: If Ray is chosen and not installed.
        TypeError: If :func:`~hist2st_pyg.predict` has no such keyword.
        ValueError: If a script without main guard calls this, two slides have the same name, pitch or resolution is
            out of range, the device does not exist, an output has another or an unknown configuration, a gene is not in
            the panel, or the model does not predict from images. All errors are raised before the first prediction.
    """
    if executor == "local":
        check_main()
    resolve(OUTPUTS, format, "format")
    run = resolve(EXECUTORS, executor, "executor")
    if jobs < 1:
        raise ValueError(f"jobs must be 1 or more, got {jobs}.")
    model, output = local_path(model).absolute(), Path(output).absolute()
    slides = _slides(images, spots, output)
    loaded = load_model(model)
    check_genes_drawn(loaded, genes)
    options = _known(options)
    if executor == "local":  # a cluster's machines may have other devices
        find_device(options.get(DEVICE, "auto"))
    check_layout(*(options.get(name) for name in LAYOUT), spots_given=spots is not None)
    figures = output / "figures" if figures is None else Path(figures).absolute()
    check_folder(output, "output")
    check_folder(figures if draw is not None else None, "figures")
    check_columns(format, require_preprocessing(loaded).genes)
    job = Job(
        model=model,
        fingerprint=fingerprint(model),
        format=format,
        options=options,
        draw=draw,
        figures=figures,
        genes=None if genes is None else list(genes),
        threads=max(1, torch.get_num_threads() // jobs),
    )
    results = {}
    for slide in slides:
        state = finished(job, slide, overwrite)
        if state is not None and drawn(job, state):
            results[slide] = _result(job, slide, "skipped", state)
    todo = [slide for slide in slides if slide not in results]
    logger.info("%d slides, %d finished, %d to predict with %s.", len(slides), len(results), len(todo), executor)
    outcomes = run(partial(make, job), todo, jobs=jobs, cpus=job.threads, gpus=gpus)
    with closing(outcomes), logging_redirect_tqdm():
        for slide, outcome in tqdm(outcomes, total=len(todo), unit="slide", disable=None):
            results[slide] = _logged_result(job, slide, outcome)
    return CohortResult(tuple(results[slide] for slide in slides))


def _slides(images: Sequence[str | Path], spots: str | Path | None, output: Path) -> list[Slide]:
    """List the slides without reading their pixels."""
    if not images:
        raise ValueError("images is empty; pass at least one image.")
    if output.exists() and not output.is_dir():
        raise ValueError(f"The output of a cohort must be a folder, but {output} is a file.")
    slides: dict[str, Slide] = {}
    for image in images:
        open_image(image)  # reads no pixels, but raises if the file is missing or not an image
        slide = Slide(Path(image).absolute(), _spots(Path(image), spots, len(images)), output)
        if slide.name in slides:
            raise ValueError(
                f"Two slides have the same name {slide.name!r}: {slides[slide.name].image} and {slide.image}. Rename "
                "one, or predict them into two folders."
            )
        slides[slide.name] = slide
    return list(slides.values())


def _spots(image: Path, spots: str | Path | None, n: int) -> Path | None:
    if spots is None:
        return None
    spots = Path(spots).absolute()
    if not spots.exists():
        raise FileNotFoundError(f"There is no spot file or folder {spots}.")
    if spots.is_file():
        if n > 1:
            raise ValueError(f"The spots of {n} images must be a folder of <image>.csv or .h5ad; {spots} is a file.")
        return spots
    names = [f"{image.stem}{suffix}" for suffix in SUFFIXES]
    found = [spots / name for name in names if (spots / name).is_file()]
    if len(found) != 1:
        has = " and ".join(path.name for path in found) or "none"
        raise ValueError(f"{spots} must have exactly one of {', '.join(names)} for the image, found {has}.")
    return found[0]


def check_genes_drawn(model: ExpressionModel, genes: Sequence[str] | None) -> None:
    """Check before any prediction that the model predicts from images and its panel has the genes to draw.

    Raises:
        ValueError: If it does not.
    """
    panel = require_preprocessing(model).genes
    if model.uses_counts:
        raise ValueError(f"{type(model).__name__} reads measured counts ({model.task}), which images do not have.")
    if unknown := [gene for gene in genes or () if gene not in panel]:
        raise ValueError(f"The gene {unknown[0]!r} is not in the model's panel of {len(panel)} genes.")


def _known(options: dict[str, Any]) -> dict[str, Any]:
    """Check the keywords of predict and drop those with default values."""
    parameters = inspect.signature(predict).parameters
    own = ("genes", "name")  # predict_cohort draws its genes, and names slides by their files
    known = [name for name, each in parameters.items() if each.kind is each.KEYWORD_ONLY and name not in own]
    for key in options:
        if key not in known:
            raise TypeError(f"predict has no option {key!r}; its options: {', '.join(known)}.")
    return {key: value for key, value in options.items() if value != parameters[key].default}


def _logged_result(job: Job, slide: Slide, outcome: State | Failed) -> SlideResult:
    """Log the result of a slide; write its traceback, or remove the traceback of an earlier attempt."""
    keep_failure(slide.state, outcome)
    if isinstance(outcome, Failed):
        if not slide.output(job.format).exists():
            slide.state.unlink(missing_ok=True)
        logger.error("%s failed: %s", slide.name, outcome.reason)
        return SlideResult(slide.name, slide.output(job.format), "failed", message=outcome.reason)
    result = _result(job, slide, "done", outcome)
    if not drawn(job, outcome):
        result = replace(result, message=f"{result.message} Not all pictures were drawn, see {slide.log}.".strip())
        logger.warning("%s: not all pictures were drawn, see %s.", slide.name, slide.log)
    logger.info("%s: %d spots, predicted in %.1f s.", slide.name, result.spots, result.seconds)
    return result


def _result(job: Job, slide: Slide, outcome: Outcome, state: State) -> SlideResult:
    made = state["result"]
    return SlideResult(slide.name, slide.output(job.format), outcome, made["spots"], made["seconds"], made["note"])
