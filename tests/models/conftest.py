"""Small sections, and a small Hist2ST for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from _helpers.small_hist2st import SMALL, P

from hist2st_pyg import Hist2ST, Preprocessing, Section, to_data
from hist2st_pyg.data import SectionData
from hist2st_pyg.training.datamodule import SectionDataModule


@pytest.fixture(scope="module")
def data(cohort: list[Section]) -> SectionData:
    section = replace(cohort[0], adata=cohort[0].adata[:12].copy())
    return to_data(section, list(section.adata.var_names), patch_size=P)


@pytest.fixture
def build(data: SectionData) -> Callable[..., Hist2ST]:
    def make(**options: Any) -> Hist2ST:
        torch.manual_seed(0)
        return Hist2ST(data.y.shape[1], **{**SMALL, **options})

    return make


@pytest.fixture(scope="module")
def sections(cohort: list[Section]) -> dict[int, list[SectionData]]:
    """Sections of 12, 5 and 9 spots, by number of scales."""
    smaller = [replace(s, adata=s.adata[:n].copy()) for s, n in zip(cohort, (12, 5, 9), strict=True)]
    genes = list(cohort[0].adata.var_names)
    return {
        len(scales): [to_data(s, genes, patch_size=P, scales=scales) for s in smaller]
        for scales in ((1.0,), (1.0, 3.0))
    }


@pytest.fixture(scope="module")
def preprocessing(cohort: list[Section]) -> Preprocessing:
    return Preprocessing(genes=tuple(cohort[0].adata.var_names[:15]), patch_size=28, k=3)


@pytest.fixture(scope="module")
def denoised(cohort: list[Section], preprocessing: Preprocessing) -> list[SectionData]:
    """Three training sections with denoised targets."""
    return SectionDataModule(preprocessing, cohort, val_share=0.0, denoise=True).data("train")
