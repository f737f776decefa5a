"""Gene sets read from files: .gmt, and the tables of g:Profiler's g:Convert that her2st has."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hist2st_pyg.utils.files import read_text

logger = logging.getLogger(__name__)

GeneSets = dict[str, list[str]]
GO_COLUMNS = ("initial_alias", "name")
"""The set and the gene's symbol in a table of g:Convert."""
MISSING = ("", "None", "nan", "N/A")
"""What g:Convert writes where an alias has no symbol."""
MIN_GENES = 5


def read_gene_sets(path: str | Path) -> GeneSets:
    """Read gene sets; the format is known by the file's name.

    Args:
        path: A ``.gmt`` file (a set a line: name, description, genes, separated by tabs), a ``.csv`` with the columns
            ``initial_alias`` (the set) and ``name`` (the gene), as in her2st's ``data/go-sets``, or a folder of these.

    Returns:
        Each set's genes, none twice, in the file's order.

    Raises:
        FileNotFoundError: If there is no such file, or none in the folder.
        ValueError: If the format is unknown, a line is malformed, or a set is there twice.
    """
    path = Path(path)
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in FORMATS)
        if not files:
            raise FileNotFoundError(f"{path} holds no gene sets ({', '.join(FORMATS)}).")
    elif path.is_file():
        files = [path]
    else:
        raise FileNotFoundError(f"There is no file of gene sets {path}.")
    sets: GeneSets = {}
    for file in files:
        read = FORMATS.get(file.suffix.lower())
        if read is None:
            raise ValueError(f"{file} is no file of gene sets; they are read from {', '.join(FORMATS)}, by the name.")
        try:
            found = read(file)
        except csv.Error as error:
            raise ValueError(f"{file} is not a text file of gene sets: {error}.") from error
        if not found:
            raise ValueError(f"{file} holds no gene set.")
        if twice := sorted(set(found) & set(sets)):
            raise ValueError(f"{file}: the gene set {twice[0]!r} is there more than once.")
        sets |= found
    return sets


def panel_sets(gene_sets: Mapping[str, Sequence[str]], genes: Sequence[str], min_genes: int = MIN_GENES) -> GeneSets:
    """What a panel has of each gene set; sets of which it has too few genes are left out, which is logged.

    Args:
        gene_sets: Genes by the set's name.
        genes: The panel.
        min_genes: Fewest genes of a set that say something of it.

    Raises:
        ValueError: If no set is left.
    """
    panel = set(genes)
    inside = {name: [gene for gene in dict.fromkeys(members) if gene in panel] for name, members in gene_sets.items()}
    kept = {name: members for name, members in inside.items() if len(members) >= max(min_genes, 1)}
    if not kept:
        most = max(inside, key=lambda name: len(inside[name]), default=None)
        found = "" if most is None else f"; {most!r} comes first with {len(inside[most])} of {len(gene_sets[most])}"
        raise ValueError(
            f"None of {len(gene_sets)} gene sets has {min_genes} genes in the panel of {len(panel)} ({genes[0]!r}, ...)"
            f"{found}. Are genes named alike, as symbols of the same species? A lower min_genes takes smaller sets."
        )
    if left := [f"{name} ({len(members)})" for name, members in inside.items() if name not in kept]:
        shown = ", ".join(left[:5]) + (", ..." if len(left) > 5 else "")
        logger.warning("%d gene sets have fewer than %d genes in the panel: %s", len(left), min_genes, shown)
    return kept


def _read_gmt(path: Path) -> GeneSets:
    sets: GeneSets = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        name, *fields = (field.strip() for field in line.split("\t"))
        genes = [gene for gene in fields[1:] if gene]
        if not name or not genes:
            raise ValueError(f"{path}, line {number}: a gene set is name, description, genes, separated by tabs.")
        if name in sets:
            raise ValueError(f"{path}, line {number}: the gene set {name!r} is there more than once.")
        sets[name] = list(dict.fromkeys(genes))
    return sets


def _read_go(path: Path) -> GeneSets:
    sets: GeneSets = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        columns = rows.fieldnames or []
        if not set(GO_COLUMNS) <= set(columns):
            raise ValueError(
                f"{path} has the columns {', '.join(columns) or 'none'}; gene sets are read from "
                f"{' and '.join(GO_COLUMNS)}."
            )
        for row in rows:
            name, gene = ((row[column] or "").strip() for column in GO_COLUMNS)
            if name and gene not in MISSING:
                sets.setdefault(name, []).append(gene)
    return {name: list(dict.fromkeys(genes)) for name, genes in sets.items()}


FORMATS: dict[str, Callable[[Path], GeneSets]] = {".csv": _read_go, ".gmt": _read_gmt}
"""The formats, by the end of the file's name."""
