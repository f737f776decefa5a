"""HER2-positive breast cancer, Spatial Transcriptomics (Andersson et al., *Nature Communications* 2021).

36 sections of 8 patients in the layout of the public repository ``almaan/her2st``: a section is a letter (the patient)
and a number.
"""

from __future__ import annotations

import gzip
import logging
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hist2st_pyg.datasets._download import LISTED, fetch_all, manifest_entries
from hist2st_pyg.datasets._names import select_names
from hist2st_pyg.image import FORMATS
from hist2st_pyg.section import Section

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

PITCH_UM = 200.0
SPOT_UM = 100.0
UNLABELLED = "undetermined"
"""The pathologist's own word for spots without a clear region; spots that are not in the label file get it too."""

PANEL = "paper_gene_panel_her2st.txt"
COMMIT = "85df7411b987a7dec3feff9718b869a7a82091ec"
BASE_URL = f"https://raw.githubusercontent.com/almaan/her2st/{COMMIT}/"
LISTING_URL = f"https://api.github.com/repos/almaan/her2st/git/trees/{COMMIT}?recursive=1"
PARTS = {"counts": "ST-cnts", "spots": "ST-spotfiles", "images": "ST-imgs", "labels": "ST-pat/lbl"}
"""The parts of the data set and their folders below ``data/``."""


def load(root: str | Path, names: Sequence[str] | None = None) -> list[Section]:
    """Read sections; spots and counts are joined by their place on the array.

    A spot is kept when it has counts and is selected (under the tissue); what is dropped is logged. A section whose
    image is not there is read without one.

    Args:
        root: A clone of the repository, or its ``data`` folder.
        names: Sections such as ``["C2", "C3"]``; all that have counts when None.

    Raises:
        FileNotFoundError: If the folder is not this data set, or a section's spot file is missing.
        ValueError: If a section is unknown or a file is malformed; the message names the file.
    """
    data = _data_folder(root)
    counts: dict[str, Path] = {}
    for path in sorted((data / "ST-cnts").glob("[!.]*.tsv*")):
        name = path.name.removesuffix(".gz").removesuffix(".tsv")
        if path.name in (f"{name}.tsv", f"{name}.tsv.gz"):
            if name in counts:
                raise ValueError(f"{counts[name]} and {path} are the same section; keep one of the two.")
            counts[name] = path
    return [_read_section(data, name, counts[name]) for name in select_names(names, counts, f"her2st in {data}")]


def paper_panel(root: str | Path) -> list[str]:
    """Read the 785 genes of the HisToGene and Hist2ST papers from ``paper_gene_panel_her2st.txt`` in the root.

    Args:
        root: A clone of the repository, or its ``data`` folder.

    Raises:
        FileNotFoundError: If the file is not there; it is not part of the repository.
        ValueError: If it names a gene twice.
    """
    for folder in (Path(root), Path(root).resolve().parent):
        path = folder / PANEL
        if path.is_file():
            genes = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
            twice = sorted({gene for gene in genes if genes.count(gene) > 1})
            if twice or not genes:
                raise ValueError(f"{path} {f'names {twice[0]!r} more than once' if twice else 'is empty'}.")
            return genes
    raise FileNotFoundError(
        f"There is no {PANEL} in {root}. It is a text file with one gene per line, in the order in which the published "
        "checkpoints predict them. Without it use panel 'variable', or name a file of your own."
    )


def download(
    root: str | Path,
    sections: Sequence[str] | None = None,
    parts: Sequence[str] = tuple(PARTS),
    *,
    base_url: str = BASE_URL,
    listing_url: str = LISTING_URL,
    manifest: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> None:
    """Download the data set, every file checked against its git blob id; a stopped download goes on where it stopped.

    Args:
        root: The folder that will hold ``data/``.
        sections: Sections such as ``["C2", "C3"]``, all when None.
        parts: Some of ``counts, spots, images, labels``.
        base_url: Where the manifest's paths are found.
        listing_url: GitHub's tree listing, used to make the manifest where there is none.
        manifest: A table ``path, git_blob_sha1``; ``MANIFEST.tsv`` in the root when None.
        overwrite: Replace files that differ from the manifest instead of refusing.
        progress: Show a progress bar.

    Raises:
        FileNotFoundError: If a file is not on the server.
        ValueError: If a name or part is unknown, or a file differs from the manifest.
        ConnectionError: If the connection fails repeatedly; running again goes on from there.
    """
    unknown = [part for part in parts if part not in PARTS]
    if unknown or not parts:
        raise ValueError(f"Unknown parts {list(unknown)!r}. Choose some of: {', '.join(PARTS)}.")
    entries = manifest_entries(Path(root), manifest, listing_url, "data/")
    wanted: dict[str, dict[str, str]] = {part: {} for part in parts}
    for part in parts:
        folder = f"data/{PARTS[part]}/"
        for path, blob in entries.items():
            # The section is the file name up to "." or "_", or, for images, the folder.
            inside = path.removeprefix(folder).split("/")
            name = inside[1] if part == "images" and len(inside) > 2 else inside[0].split(".")[0].split("_")[0]
            if path.startswith(folder) and name[1:].isdigit():
                wanted[part][path] = name
                del blob
    available = {name for files in wanted.values() for name in files.values()}
    chosen = set(select_names(sections, available, "The her2st manifest"))
    files = {path: entries[path] for part in wanted.values() for path, name in part.items() if name in chosen}
    fetch_all(Path(root), base_url, files, overwrite=overwrite, progress=progress)
