from __future__ import annotations

import torch

from hist2st_pyg import Section, to_data
from hist2st_pyg.models.graph_only import GraphOnly


def test_it_knows_colors_and_not_shapes(cohort: list[Section]) -> None:
    data = to_data(cohort[0], list(cohort[0].adata.var_names)[:4], patch_size=28)
    model = GraphOnly(4, patch_size=28, gnn="sage", gnn_layers=1, jk="last", likelihood=None).eval()
    turned = data.clone()
    turned.x = data.x.flip(3)
    darker = data.clone()
    darker.x = (data.x * 0.7).to(torch.uint8)
    with torch.no_grad():
        torch.testing.assert_close(model(turned)["expression"], model(data)["expression"], atol=0.1, rtol=0.05)
        assert not torch.allclose(model(darker)["expression"], model(data)["expression"])
