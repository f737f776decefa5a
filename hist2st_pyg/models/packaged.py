"""Models that are installed with the package: their metadata and files."""

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
        genes: Number of genes that it predicts.
        pcc: PCC on a section held out from a training with the same settings, mean over genes and seeds.
        ceiling: The noise ceiling of the PCC on that section.
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
    """Read the packaged models, by name."""
    return {name: Packaged(**entry) for name, entry in read_json(INDEX).items()}


def packaged_folder(name: str) -> Path:
    """Return the folder of a packaged model after checking the digests of its files.

    Args:
        name: A name of :func:`packaged_models`.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If the digest of a file differs from that in the index.
    """
    for file, digest in packaged_models()[name].sha256.items():
        if hashlib.sha256((FOLDER / name / file).read_bytes()).hexdigest() != digest:
            raise ValueError(
                f"{FOLDER / name / file} is not the file of the packaged model {name} (its SHA-256 differs); install "
                "hist2st_pyg again."
            )
    return FOLDER / name


def local_path(model: str | Path) -> Path:
    """Return a model's local path: the given path, or the packaged model of that name if the path does not exist.

    Args:
        model: A path, or the name of a packaged model.
    """
    path = Path(model)
    return path if path.exists() or str(model) not in packaged_models() else packaged_folder(str(model))


def hint(model: str | Path) -> str:
    """The end of the error for a missing model: lists the packaged models if the name could be one."""
    if Path(model).name != str(model) or Path(model).suffix:
        return ""
    return f" The packaged models are {', '.join(packaged_models())}."
