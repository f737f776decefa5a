"""Sections of 12, 7 and 9 spots, and a small panel."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hist2st_pyg import Section


@pytest.fixture(scope="module")
def sections(cohort: list[Section]) -> list[Section]:
    return [replace(s, adata=s.adata[:n].copy()) for s, n in zip(cohort, (12, 7, 9), strict=True)]


@pytest.fixture(scope="module")
def genes(sections: list[Section]) -> list[str]:
    return list(sections[0].adata.var_names[:5])
