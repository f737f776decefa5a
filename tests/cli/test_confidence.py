"""``hist2st confidence``."""

from __future__ import annotations

import json
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
from _helpers.made_prediction import made_prediction

from hist2st_pyg.analysis.confidence import check_confidence, spot_confidence
from hist2st_pyg.cli import main

pytestmark = pytest.mark.usefixtures("prediction")


def test_confidence(prediction: anndata.AnnData, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["confidence", "made.h5ad", "--measured", "counts.h5ad", "-o", "spots.csv", "--figures", "pictures"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert json.loads(out[out.index("{") : out.index("}") + 1]) == check_confidence(prediction, made_prediction()[1])
    np.testing.assert_allclose(pd.read_csv("spots.csv", index_col="spot"), spot_confidence(prediction), rtol=1e-6)
    assert Path("pictures/made_confidence.png").is_file()
