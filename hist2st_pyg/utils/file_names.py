"""Make file names from the names of sections, genes, spots and models."""

from __future__ import annotations

import hashlib
import re

_ORDINARY = re.compile(r"(?![ .])[\w .()\[\],+=@-]*(?<![ .])")
"""Names that are not changed: letters, digits, spaces inside, and signs that every file system takes."""
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""Names of devices on Windows."""
_LONGEST = 180
"""Longest name in bytes; most file systems allow 255, and suffixes follow."""


def file_name(name: str, *more: str) -> str:
    """Make a file name from a name: a single path component, different for each name.

    An ordinary name is not changed. In others, ``..``, separators, control and reserved characters are replaced, long
    ones are cut, and ``~`` and a hash of the name follow, a sign that no ordinary name has.

    Args:
        name: The name of a section, slide, gene, spot, model, ...
        more: Further names, joined by ``_``; names of one folder have the same number of them.

    >>> file_name("A1"), file_name("../A1"), file_name("A1", "GENE1", "10x13")
    ('A1', '_A1~ec6906a5d188', 'A1_GENE1_10x13')
    """
    joined = "_".join((name, *more))
    # With an underscore in a later part, other parts could give the same joined name.
    plain = _ORDINARY.fullmatch(joined) and not _RESERVED.fullmatch(joined) and not any("_" in part for part in more)
    encoded = joined.encode("utf-8", "surrogatepass")
    if joined and plain and len(encoded) <= _LONGEST:
        return joined
    parts = "\0".join((name, *more)).encode("utf-8", "surrogatepass")
    kept = re.sub(r"[^\w()\[\],+=@-]+", "_", joined).encode("utf-8", "ignore")[:_LONGEST].decode("utf-8", "ignore")
    return f"{kept}~{hashlib.sha256(parts).hexdigest()[:12]}"
