"""Predict one slide of a cohort, or detect that its prediction is finished."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hist2st_pyg.figures.canvas import try_drawing
from hist2st_pyg.inference.outputs import OUTPUTS
from hist2st_pyg.inference.prediction import predict
from hist2st_pyg.models.base import ExpressionModel
from hist2st_pyg.models.pretrained import CONFIG, WEIGHTS
from hist2st_pyg.models.registry import load_model
from hist2st_pyg.utils.executors import log_to
from hist2st_pyg.utils.file_names import file_name
from hist2st_pyg.utils.files import write_json
from hist2st_pyg.utils.jobs import same_configuration
from hist2st_pyg.utils.json_files import read_json

if TYPE_CHECKING:
    from anndata import AnnData

State = dict[str, Any]
"""The content of ``<slide>.json``: the prediction's configuration (``model``, ``image``, ``spots``, ``options``), and
``result`` and ``pictures`` once they are finished."""

Draw = Callable[["AnnData", Path, Sequence[str] | None], Sequence[Path]]
"""Draws the given genes of a prediction, or genes of its choice, into a folder; returns the pictures."""

DEVICE = "device"
"""The option that does not change the prediction."""


@dataclass(frozen=True, eq=False)
class Job:
    """The settings that all slides of a cohort share.

    Args:
        model: Folder or checkpoint of the model.
        fingerprint: Its :func:`fingerprint`.
        format: One of :data:`~hist2st_pyg.inference.outputs.OUTPUTS`.
        options: Keywords of :func:`~hist2st_pyg.predict`.
        draw: Draws a slide, or None.
        figures: Folder of the pictures.
        genes: Genes to draw; None lets ``draw`` choose.
        threads: Threads of torch.
    """

    model: Path
    fingerprint: str
    format: str
    options: dict[str, Any]
    draw: Draw | None
    figures: Path
    genes: list[str] | None
    threads: int


@dataclass(frozen=True, eq=False)
class Slide:
    """A slide and its files.

    Args:
        image: The image; its name without suffix names the slide.
        spots: Its spot file, or None.
        folder: Folder of the output.
    """

    image: Path
    spots: Path | None
    folder: Path

    @property
    def name(self) -> str:
        """The slide's name."""
        return self.image.stem

    @property
    def file(self) -> str:
        """The name of the slide's files, without suffix."""
        return file_name(self.name)

    @property
    def log(self) -> Path:
        """The log file of the slide's process."""
        return self.folder / "logs" / f"{self.file}.txt"

    @property
    def state(self) -> Path:
        """The JSON file that records the configuration and result of the prediction."""
        return self.folder / f"{self.file}.json"

    def output(self, format: str) -> Path:
        """Return the path of the prediction."""
        return self.folder / f"{self.file}.{format}"


def make(job: Job, slide: Slide) -> State:
    """Predict and draw a slide; if its prediction is finished, only draw it.

    Args:
        job: The settings of the cohort.
        slide: The slide.

    Returns:
        The written state.
    """
    log_to(slide.log)
    torch.set_num_threads(job.threads)
    state, output, (write, read) = finished(job, slide, overwrite=True), slide.output(job.format), OUTPUTS[job.format]
    if state is not None and read is not None:
        adata = read(output)
    else:
        # A state without a result marks the output as replaceable.
        state = _inputs(job, slide)
        write_json(slide.state, state)
        started = time.perf_counter()
        adata = predict(_loaded(job.model, job.fingerprint), slide.image, slide.spots, **job.options)
        write(adata, output)
        state["result"] = {
            "spots": adata.n_obs,
            "genes": adata.n_vars,
            "seconds": round(time.perf_counter() - started, 2),
            "note": adata.uns["hist2st"].get("note", ""),
        }
        write_json(slide.state, state)
    if job.draw is not None and not drawn(job, state):
        pictures = try_drawing(f"{slide.name} in {job.figures}", partial(job.draw, adata, job.figures, job.genes))
        if pictures is not None:
            state["pictures"] = {"genes": job.genes, "files": [str(picture) for picture in pictures]}
            write_json(slide.state, state)
    return state


def finished(job: Job, slide: Slide, overwrite: bool = False) -> State | None:
    """Return the state of a slide whose prediction has the job's configuration, otherwise None.

    Args:
        job: The settings of the cohort.
        slide: The slide.
        overwrite: Ignore outputs of another configuration, instead of raising an error.

    Raises:
        ValueError: If the output has another configuration or was not written by a cohort.
    """
    outputs = [path for format in OUTPUTS if (path := slide.output(format)).exists()]
    if not slide.state.exists():
        if outputs and not overwrite:
            raise ValueError(
                f"{outputs[0]} exists, but {slide.state.name}, which records its configuration, does not; remove it, "
                "choose another folder, or replace it with --overwrite (overwrite=True)."
            )
        return None
    state = read_state(slide.state)
    output = outputs[0] if outputs else slide.output(job.format)
    same = same_configuration(output, _flat(state), _flat(_inputs(job, slide)), overwrite or not outputs)
    return state if same and slide.output(job.format) in outputs and "result" in state else None


def drawn(job: Job, state: State) -> bool:
    """Whether a slide has the pictures of the job."""
    if job.draw is None:
        return True
    if "pictures" not in state or state["pictures"]["genes"] != job.genes:
        return False
    files = [Path(file) for file in state["pictures"]["files"]]
    return all(file.parent == job.figures and file.is_file() for file in files)


def read_state(path: Path) -> State:
    """Read a slide's JSON.

    Raises:
        ValueError: If a cohort did not write it.
    """
    try:
        state = read_json(path)
    except ValueError:
        state = None
    if not isinstance(state, dict) or not {"model", "image", "spots", "options"} <= set(state):
        raise ValueError(
            f"{path} was not written by a cohort's prediction and will not be replaced; choose another folder."
        )
    return state


def fingerprint(model: Path) -> str:
    """Compute a hash of a saved model's files.

    Args:
        model: A path that :func:`~hist2st_pyg.load_model` reads.
    """
    folder = model if (model / CONFIG).is_file() else model / "model"
    total = hashlib.blake2b(digest_size=16)
    for path in [folder / CONFIG, folder / WEIGHTS] if model.is_dir() else [model]:
        with path.open("rb") as file:
            total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


@lru_cache(maxsize=1)
def _loaded(model: Path, expected: str) -> ExpressionModel:
    """Load the model, once per process."""
    loaded = load_model(model)
    if fingerprint(model) != expected:
        raise ValueError(f"{model} has changed since the cohort was started; restart the cohort.")
    return loaded


def _inputs(job: Job, slide: Slide) -> State:
    return {
        "model": {"path": str(job.model), "fingerprint": job.fingerprint},
        "image": _file(slide.image),
        "spots": _file(slide.spots),
        "options": {"format": job.format, **{key: value for key, value in job.options.items() if key != DEVICE}},
    }


def _file(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    known = path.stat()
    return {"path": str(path), "bytes": known.st_size, "mtime_ns": known.st_mtime_ns}


def _flat(state: State) -> dict[str, Any]:
    """Return the values that identify a prediction's configuration, independent of the location of files."""
    parts = ("model", "image", "spots", "options")
    return {f"{part}.{key}": value for part in parts for key, value in state[part].items() if key != "path"}
