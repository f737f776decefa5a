"""Precomputed embeddings of spots, in place of patches."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hist2st_pyg.section import Section
from hist2st_pyg.utils.file_names import file_name
from hist2st_pyg.utils.reading import check_hdf5, check_unpacked, reading

KIND = "a file of embeddings"

NAMES = ("barcodes", "names")
"""What the array of spot names is called; the first is HEST's word."""


def section_embedding(section: Section, key: str) -> NDArray[np.float32]:
    """A section's embeddings, float32 [N, D].

    Raises:
        ValueError: If the section has none of this name, or a value is not finite.
    """
    if key not in section.adata.obsm:
        raise ValueError(
            f"Section {section.name!r} has no obsm[{key!r}]; it has {', '.join(section.adata.obsm)}. Put them "
            "there, or name a folder of <section>.npz or .h5 files."
        )
    values = np.array(section.adata.obsm[key], dtype=np.float32)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise ValueError(f"Section {section.name!r}: obsm[{key!r}] is finite, [N, D], got shape {list(values.shape)}.")
    return values


def read_embeddings(sections: Sequence[Section], folder: str | Path) -> None:
    """Read ``<folder>/<section>.npz`` or ``.h5`` into each section's ``obsm[<the folder's name>]``.

    A file holds ``embeddings`` [M, D] and the spots' names as ``barcodes`` (as HEST writes them) or ``names`` [M];
    their order does not matter and there may be more spots than the section has.

    Args:
        sections: The sections.
        folder: The folder.

    Raises:
        FileNotFoundError: If a section has no file.
        ValueError: If a file lacks an array or a spot.
    """
    folder = Path(folder)
    for section in sections:
        paths = [
            path for suffix in (".npz", ".h5") if (path := folder / f"{file_name(section.name)}{suffix}").is_file()
        ]
        if not paths:
            raise FileNotFoundError(
                f"{folder} has neither {file_name(section.name)}.npz nor {file_name(section.name)}.h5."
            )
        embeddings, names = _read(paths[0])
        row = {str(name): i for i, name in enumerate(names)}
        spots = [str(name) for name in section.adata.obs_names]
        if missing := [name for name in spots if name not in row]:
            raise ValueError(
                f"{paths[0]} lacks {len(missing)} of the {len(spots)} spots of section {section.name!r}, "
                f"{missing[0]!r} for one."
            )
        section.adata.obsm[folder.name] = np.asarray(embeddings, dtype=np.float32)[[row[name] for name in spots]]


def _read(path: Path) -> tuple[NDArray[Any], list[str]]:
    if path.suffix == ".npz":
        with reading(path, KIND), zipfile.ZipFile(path) as archive:
            unpacked = sum(member.file_size for member in archive.infolist())
        check_unpacked(path, path.stat().st_size, unpacked)
        with reading(path, KIND), np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    else:
        import h5py

        check_hdf5(path, KIND)
        with reading(path, KIND), h5py.File(path, "r") as file:
            arrays = {name: file[name][()] for name in file if hasattr(file[name], "shape")}
    names = next((arrays[name] for name in NAMES if name in arrays), None)
    if "embeddings" not in arrays or names is None:
        raise ValueError(
            f"{path} holds 'embeddings' and 'barcodes' (or 'names'), got {', '.join(arrays) or 'nothing'}."
        )
    flat = [name.decode() if isinstance(name, bytes) else str(name) for name in np.ravel(names)]
    if arrays["embeddings"].ndim != 2 or len(flat) != len(arrays["embeddings"]):
        raise ValueError(
            f"{path}: embeddings are [M, D] for M names, got {list(arrays['embeddings'].shape)} and {len(flat)} names."
        )
    if arrays["embeddings"].dtype.kind not in "uif" or not arrays["embeddings"].shape[1]:
        raise ValueError(
            f"{path}: embeddings are numbers [spots, D], got {arrays['embeddings'].dtype} "
            f"{list(arrays['embeddings'].shape)}."
        )
    return arrays["embeddings"], flat
