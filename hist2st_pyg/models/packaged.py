"""Models that come with the package: what they are, and where their files lie."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from hist2st_pyg.utils.json_files import read_json

FOLDER = Path(__file__).parent / "weights"
INDEX = FOLDER / "index.json"


@dataclass(frozen=True)
class Packaged:
    """A packaged model.

    Args:
        species: The species of its training sections.
        tissue: Their tissue.
        genes: How many genes it predicts.
        pcc: Mean PCC over genes on a section that the same setting was not trained on, mean over seeds.
        ceiling: The attainable PCC there.
        held_out: That section, in words.
        sha256: The digests of its files, by name.
    """

    species: str
    tissue: str
    genes: int
    pcc: float
    ceiling: float
    held_out: str
    sha256: Mapping[str, str]


@cache
def packaged_models() -> dict[str, Packaged]:
    """The packaged models by name."""
    return {name: Packaged(**entry) for name, entry in read_json(INDEX).items()}


def packaged_folder(name: str) -> Path:
    """The folder of a packaged model, whose files are those that were packaged.

    Args:
        name: A name of :func:`packaged_models`.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file has another digest than it was packaged with.
    """
    for file, digest in packaged_models()[name].sha256.items():
        if hashlib.sha256((FOLDER / name / file).read_bytes()).hexdigest() != digest:
            raise ValueError(
                f"{FOLDER / name / file} is not the file of the packaged model {name} (its SHA-256 differs); install "
                "hist2st_pyg again."
            )
    return FOLDER / name


def local_path(model: str | Path) -> Path:
    """Where a model is on this machine: at its path, or in the package where nothing else has its name.

    Args:
        model: A path, or the name of a packaged model.
    """
    path = Path(model)
    return path if path.exists() or str(model) not in packaged_models() else packaged_folder(str(model))


def hint(model: str | Path) -> str:
    """What to add to the error that there is no such model: the packaged ones, where it may be meant as such."""
    if Path(model).name != str(model) or Path(model).suffix:
        return ""
    return f" The packaged models are {', '.join(packaged_models())}."
