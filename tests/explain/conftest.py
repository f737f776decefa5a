from __future__ import annotations

import pytest

from hist2st_pyg import Section
from hist2st_pyg.data import SectionData
from tests._helpers.explained import preprocessing


@pytest.fixture(scope="module")
def data(cohort: list[Section]) -> SectionData:
    return preprocessing().to_data(cohort[0])
