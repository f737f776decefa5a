"""An AnnData of four spots and three genes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from anndata import AnnData

NAMES = ["s1", "s2", "s3", "s4"]
POS = np.array([[100.0, 50.0], [150.0, 50.0], [100.0, 100.0], [150.0, 100.0]])
COUNTS = np.array([[1, 0, 3], [0, 2, 0], [4, 4, 4], [0, 0, 9]], dtype=np.float32)


def made(spatial: Any = POS, x: Any = COUNTS, **obs: Any) -> AnnData:
    adata = AnnData(x, obs=pd.DataFrame(obs, index=NAMES), var=pd.DataFrame(index=["g1", "g2", "g3"]))
    adata.obsm["spatial"] = spatial
    return adata
