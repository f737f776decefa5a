"""Cutaneous squamous cell carcinoma, Spatial Transcriptomics (Ji et al., *Cell* 2020; GEO GSE144239, in GSE144240).

12 sections, three replicates of each of four patients: ``P2_ST_rep1`` is one of patient ``P2``. The files are those of
the archive at GEO, compressed or not, in one folder or its subfolders: ``GSM*_P2_ST_rep1_stdata.tsv`` (counts of the
whole array), ``GSM*_spot_data-selection-P2_ST_rep1.tsv`` (the spots under the tissue) and ``GSM*_P2_ST_rep1.jpg``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from hist2st_pyg.image import image_name
from hist2st_pyg.io.download import read_manifest
from hist2st_pyg.io.download_gzip import PACKED_SUFFIX, fetch_packed
from hist2st_pyg.io.names import check_parts, select_names
from hist2st_pyg.io.st_array import read_array_section
from hist2st_pyg.io.tables import read_panel
from hist2st_pyg.section import Section

PANEL = "paper_gene_panel_cscc.txt"
BASE_URL = "https://ftp.ncbi.nlm.nih.gov/geo/samples/"
SAMPLES = {
    f"{patient}_ST_rep{replicate}": f"GSM{4284316 + 3 * i + replicate - 1}"
    for i, patient in enumerate(("P2", "P5", "P9", "P10"))
    for replicate in (1, 2, 3)
}
"""GEO's accession of each section."""

PARTS = {
    "counts": "{gsm}_{name}_stdata.tsv",
    "spots": "{gsm}_spot_data-selection-{name}.tsv",
    "images": "{gsm}_{name}.jpg",
}
"""The parts of the data set and how GEO names their files, without ``.gz``."""

TABLES = {
    "counts": re.compile(r"(?:GSM\d+_)?(P\d+_ST_rep\d+)_stdata\.tsv(?:\.gz)?"),
    "spots": re.compile(r"(?:GSM\d+_)?spot_data-selection-(P\d+_ST_rep\d+)\.tsv(?:\.gz)?"),
}
"""Names of the tables; the group is the section."""

IMAGE = re.compile(r"(?:GSM\d+_)?(P\d+)_(?:ST_)?(rep\d+)")
"""Name of an image without its suffix; the groups are patient and replicate."""


def load(root: str | Path, names: Sequence[str] | None = None) -> list[Section]:
    """Read sections; spots and counts are joined by their place on the array.

    A spot is kept if it has counts and is in the spot file (and selected, if that has such a column); the log counts
    the others. Tables may be compressed (``.gz``), images may not, because they are opened when they are needed. A
    section without an image file is read without one.

    Args:
        root: The folder of the files, which may lie in subfolders.
        names: Sections such as ``["P2_ST_rep1", "P5_ST_rep3"]``; all that have counts when None.

    Raises:
        FileNotFoundError: If the folder is not this data set, or a section's spot file is missing.
        ValueError: If a section is unknown, a file exists twice or is malformed, or an image is compressed; the
            message names the file.
    """
    root = Path(root)
    counts = _tables(root, "counts")
    if not counts:
        raise FileNotFoundError(
            f"{root} is not the cscc data set: no file in it has a name like GSM4284316_P2_ST_rep1_stdata.tsv. Give "
            "the folder of GEO's files, or download them with `hist2st download cscc`."
        )
    spots, images = _tables(root, "spots"), _images(root)
    sections = []
    for name in select_names(names, counts, f"cscc in {root}"):
        if name not in spots:
            raise FileNotFoundError(f"{counts[name]} has no spot_data-selection-{name}.tsv in {root}.")
        sections.append(
            read_array_section(
                name,
                name.split("_")[0],
                counts[name],
                spots[name],
                _image(images.get(name, [])),
                dataset="cscc",
                whole_array=True,
            )
        )
    return sections


def paper_panel(root: str | Path) -> list[str]:
    """Read the 171 genes of the HisToGene and Hist2ST papers from ``paper_gene_panel_cscc.txt`` in the root.

    Args:
        root: The folder of the files, or one in it.

    Raises:
        FileNotFoundError: If the file is not there; it is not part of GEO's files.
        ValueError: If the file is empty or names a gene twice.
    """
    return read_panel(root, PANEL)


def download(
    root: str | Path,
    sections: Sequence[str] | None = None,
    parts: Sequence[str] = tuple(PARTS),
    *,
    base_url: str = BASE_URL,
    manifest: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> None:
    """Download the data set from GEO; an interrupted download resumes. Images are unpacked.

    GEO publishes no hashes. Files in a manifest are checked against it, others by the length that the server states and
    by gzip's checksum. Without a manifest, an existing unpacked file is not checked.

    Args:
        root: The folder that will hold the files.
        sections: Sections such as ``["P2_ST_rep1"]``, all when None.
        parts: Some of ``counts, spots, images``.
        base_url: GEO's folder of samples.
        manifest: A table ``path, git_blob_sha1`` of files, packed or unpacked; ``MANIFEST.tsv`` in the root when None,
            if there is one.
        overwrite: Replace files that differ instead of refusing.
        progress: Show a progress bar.

    Raises:
        FileNotFoundError: If a file is not on the server, or the manifest does not exist.
        ValueError: If a section or part is unknown, a file is damaged, or an existing file differs.
        ConnectionError: If the connection fails repeatedly; the next call resumes there.
    """
    root = Path(root)
    check_parts(parts, PARTS)
    listed = read_manifest(root, manifest, listing_url=None, folder="")
    files: dict[str, str] = {}  # path -> part
    for name in select_names(sections, SAMPLES, "Data set 'cscc'"):
        gsm = SAMPLES[name]
        for part in parts:
            file = PARTS[part].format(gsm=gsm, name=name)
            files[f"{gsm[:-3]}nnn/{gsm}/suppl/{file}{PACKED_SUFFIX}"] = part
    fetch_packed(
        root,
        base_url,
        files,
        unpacked=[path for path, part in files.items() if part == "images"],
        blob_ids={Path(path).name: blob_id for path, blob_id in listed.items()},
        overwrite=overwrite,
        progress=progress,
    )


def is_dataset(root: Path) -> bool:
    """Whether this is a folder of GSM*_P2_ST_rep1_stdata.tsv (or .gz) files, or one that holds such a folder."""
    names = (path.name for depth in ("", "*/") for path in root.glob(f"{depth}*_stdata.tsv*"))
    return any(TABLES["counts"].fullmatch(name) for name in names)


def _files(root: Path) -> Iterator[Path]:
    return (path for path in sorted(root.rglob("[!.]*")) if path.is_file())


def _tables(root: Path, part: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in _files(root):
        if match := TABLES[part].fullmatch(path.name):
            if match[1] in found:
                raise ValueError(f"{found[match[1]]} and {path} are one section's {part}; keep one of the two.")
            found[match[1]] = path
    return found


def _images(root: Path) -> dict[str, list[Path]]:
    """The images of each section, including compressed ones."""
    found: dict[str, list[Path]] = {}
    for path in _files(root):
        file = path.with_suffix("") if path.suffix == PACKED_SUFFIX else path
        if (own := image_name(file)) is not None and (match := IMAGE.fullmatch(own)):
            found.setdefault(f"{match[1]}_ST_{match[2]}", []).append(path)
    return found


def _image(paths: Sequence[Path]) -> Path | None:
    images = [path for path in paths if path.suffix != PACKED_SUFFIX]
    if len(images) > 1:
        raise ValueError(f"{images[0]} and {images[1]} are one section's image; keep one of the two.")
    if not images and paths:
        raise ValueError(
            f"{paths[0]} is compressed; images must not be, because they are opened when they are needed. Unpack it: "
            f"gunzip {paths[0]}"
        )
    return images[0] if images else None
