"""Read gene sets from .gmt files and from tables of g:Profiler's g:Convert, as in her2st."""

from __future__ import annotations

import csv
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hist2st_pyg.utils.files import read_text

logger = logging.getLogger(__name__)

GeneSets = dict[str, list[str]]
GO_COLUMNS = ("initial_alias", "name")
"""The columns of the set and of the gene's symbol in a table of g:Convert."""
MISSING = ("", "None", "nan", "N/A")
"""g:Convert's value for an alias without a symbol."""
MIN_GENES = 5


def read_gene_sets(path: str | Path) -> GeneSets:
    """Read gene sets; the file's suffix determines the format.

    Args:
        path: A ``.gmt`` file (one set per line: name, description, genes, separated by tabs), a ``.csv`` with the
            columns ``initial_alias`` (the set) and ``name`` (the gene), as in her2st's ``data/go-sets``, or a folder of
            these.

    Returns:
        Each set's genes without duplicates, in the file's order.

    Raises:
        FileNotFoundError: If the file does not exist, or the folder has none.
        ValueError: If the format is unknown, a line is malformed, or a set is repeated.
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
            raise ValueError(f"{file} is not a file of gene sets; its name must end in one of {', '.join(FORMATS)}.")
        try:
            found = read(file)
        except csv.Error as error:
            raise ValueError(f"{file} is not a text file of gene sets: {error}.") from error
        if not found:
            raise ValueError(f"{file} holds no gene set.")
        if twice := sorted(set(found) & set(sets)):
            raise ValueError(f"{file}: duplicate gene set {twice[0]!r}.")
        sets |= found
    return sets


def panel_sets(gene_sets: Mapping[str, Sequence[str]], genes: Sequence[str], min_genes: int = MIN_GENES) -> GeneSets:
    """Return the genes of each set that are in a panel; skips sets with too few genes and logs them.

    Args:
        gene_sets: Genes by the set's name.
        genes: The panel.
        min_genes: Smallest number of a set's genes in the panel.

    Raises:
        ValueError: If no set is left.
    """
    if min_genes < 0:
        raise ValueError(f"min_genes must be at least 0, got {min_genes}.")
    panel = set(genes)
    inside = {name: [gene for gene in dict.fromkeys(members) if gene in panel] for name, members in gene_sets.items()}
    kept = {name: members for name, members in inside.items() if len(members) >= max(min_genes, 1)}
    if not kept:
        most = max(inside, key=lambda name: len(inside[name]), default=None)
        found = "" if most is None else f"; {most!r} has the most, {len(inside[most])} of {len(gene_sets[most])}"
        raise ValueError(
            f"None of {len(gene_sets)} gene sets has {min_genes} genes in the panel of {len(panel)} ({genes[0]!r}, ...)"
            f"{found}. Check that both use gene symbols of the same species, or set a lower min_genes."
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
            raise ValueError(f"{path}, line {number}: expected name, description, genes, separated by tabs.")
        if name in sets:
            raise ValueError(f"{path}, line {number}: duplicate gene set {name!r}.")
        sets[name] = list(dict.fromkeys(genes))
    return sets


def _read_go(path: Path) -> GeneSets:
    sets: GeneSets = {}
    rows = csv.DictReader(read_text(path).splitlines())
    columns = rows.fieldnames or []
    if not set(GO_COLUMNS) <= set(columns):
        raise ValueError(
            f"{path} has the columns {', '.join(columns) or 'none'}; gene sets need {' and '.join(GO_COLUMNS)}."
        )
    for row in rows:
        name, gene = ((row[column] or "").strip() for column in GO_COLUMNS)
        if name and gene not in MISSING:
            sets.setdefault(name, []).append(gene)
    return {name: list(dict.fromkeys(genes)) for name, genes in sets.items()}


FORMATS: dict[str, Callable[[Path], GeneSets]] = {".csv": _read_go, ".gmt": _read_gmt}
"""The formats by file suffix."""
