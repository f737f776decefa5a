"""HER2-positive breast cancer, Spatial Transcriptomics (Andersson et al., *Nature Communications* 2021).

36 sections of 8 patients in the layout of the public repository ``almaan/her2st``: a section is a letter (the patient)
and a number.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from hist2st_pyg.image import images_in
from hist2st_pyg.io.download import fetch_all, read_manifest
from hist2st_pyg.io.names import check_parts, select_names
from hist2st_pyg.io.st_array import read_array_section
from hist2st_pyg.io.tables import read_panel
from hist2st_pyg.section import Section

PANEL = "paper_gene_panel_her2st.txt"
PAPER_SECTIONS = (
    "A2", "A3", "A4", "A5", "A6",
    "B1", "B2", "B3", "B4", "B5", "B6",
    "C1", "C2", "C3", "C4", "C5", "C6",
    "D1", "D2", "D3", "D4", "D5", "D6",
    "E1", "E2", "E3", "F1", "F2", "F3", "G1", "G2", "G3",
)  # fmt: skip
"""The 32 of the 36 sections, A2 to G3, over which HisToGene (Pang et al. 2021) and Hist2ST (Zeng et al. 2022) leave one
section out: not A1, and none of patient H."""
COMMIT = "85df7411b987a7dec3feff9718b869a7a82091ec"
BASE_URL = f"https://raw.githubusercontent.com/almaan/her2st/{COMMIT}/"
LISTING_URL = f"https://api.github.com/repos/almaan/her2st/git/trees/{COMMIT}?recursive=1"
PARTS = {
    "counts": r"data/ST-cnts/([A-Z]\d+)\.tsv\.gz",
    "spots": r"data/ST-spotfiles/([A-Z]\d+)_selection\.tsv",
    "images": r"data/ST-imgs/[A-Z]/([A-Z]\d+)/[^/]+",
    "labels": r"data/ST-pat/lbl/([A-Z]\d+)_labeled_coordinates\.tsv",
}
"""The parts of the data set and patterns of their files; the group is the section."""


def load(root: str | Path, names: Sequence[str] | None = None) -> list[Section]:
    """Read sections; spots and counts are joined by their place on the array.

    A spot is kept if it has counts and is selected (under the tissue); the log counts the others. A section without an
    image file is read without one.

    Args:
        root: A clone of the repository, or its ``data`` folder.
        names: Sections such as ``["C2", "C3"]``; all that have counts when None.

    Raises:
        FileNotFoundError: If the folder is not this data set, or a section's spot file is missing.
        ValueError: If a section is unknown or a file is malformed; the message names the file.
    """
    data = _data_folder(root)
    counts: dict[str, Path] = {}
    for path in sorted((data / "ST-cnts").iterdir()):
        if match := re.fullmatch(r"([A-Z]\d+)\.tsv(\.gz)?", path.name):
            if match[1] in counts:
                raise ValueError(f"{counts[match[1]]} and {path} are one section; keep one of the two.")
            counts[match[1]] = path
    return [_read_section(data, name, counts[name]) for name in select_names(names, counts, f"her2st in {data}")]


def paper_panel(root: str | Path) -> list[str]:
    """Read the 785 genes of the HisToGene and Hist2ST papers from ``paper_gene_panel_her2st.txt`` in the root.

    Args:
        root: A clone of the repository, or its ``data`` folder.

    Raises:
        FileNotFoundError: If the file is not there; it is not part of the repository.
        ValueError: If the file is empty or names a gene twice.
    """
    return read_panel(root, PANEL)


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
    """Download the data set; every file is checked, and an interrupted download resumes.

    Args:
        root: The folder that will hold ``data/``.
        sections: Sections such as ``["C2", "C3"]``, all when None.
        parts: Some of ``counts, spots, images, labels``.
        base_url: The URL to which the manifest's paths are appended.
        listing_url: GitHub's tree listing, from which ``MANIFEST.tsv`` is made if there is none.
        manifest: A table ``path, git_blob_sha1``; ``MANIFEST.tsv`` in the root when None.
        overwrite: Replace files that differ from the manifest instead of refusing.
        progress: Show a progress bar.

    Raises:
        FileNotFoundError: If a file is not on the server.
        ValueError: If a section or part is unknown, or a file differs from the manifest.
        ConnectionError: If the connection fails repeatedly; the next call resumes there.
    """
    check_parts(parts, PARTS)
    entries = read_manifest(Path(root), manifest, listing_url, folder="data/")
    section_of = {
        path: match[1] for path in entries for part in parts if (match := re.fullmatch(PARTS[part], path)) is not None
    }
    chosen = select_names(sections, set(section_of.values()), "The her2st manifest")
    files = {path: entries[path] for path, name in section_of.items() if name in chosen}
    fetch_all(Path(root), base_url, files, overwrite=overwrite, progress=progress)


def is_dataset(root: Path) -> bool:
    """Whether this is a clone of almaan/her2st (data/ST-cnts), or its data folder."""
    return any((folder / "ST-cnts").is_dir() for folder in (root / "data", root))


def _data_folder(root: str | Path) -> Path:
    for folder in (Path(root) / "data", Path(root)):
        if (folder / "ST-cnts").is_dir():
            return folder
    raise FileNotFoundError(
        f"{root} is not the her2st data set: it holds neither data/ST-cnts nor ST-cnts. Give a clone of the "
        "repository, or download the files with `hist2st download`."
    )


def _read_section(data: Path, name: str, counts_path: Path) -> Section:
    labels_path = data / "ST-pat" / "lbl" / f"{name}_labeled_coordinates.tsv"
    return read_array_section(
        name,
        name[0],
        counts_path,
        data / "ST-spotfiles" / f"{name}_selection.tsv",
        _image(data / "ST-imgs" / name[0] / name),
        dataset="her2st",
        labels_path=labels_path if labels_path.is_file() else None,
    )


def _image(folder: Path) -> Path | None:
    images = images_in(folder)
    if len(images) > 1:
        raise ValueError(f"{folder} holds {len(images)} images ({', '.join(p.name for p in images)}); keep one.")
    return images[0] if images else None
