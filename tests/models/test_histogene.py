from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from hist2st_pyg import HisToGene, Section, losses, to_data
from hist2st_pyg.data import SectionData

P = 14
SMALL: dict[str, Any] = {"patch_size": P, "channels": 16, "transformer_layers": 1, "heads": 2, "dim_head": 8}


@pytest.fixture(scope="module")
def data(cohort: list[Section]) -> SectionData:
    section = replace(cohort[0], adata=cohort[0].adata[:12].copy())
    return to_data(section, list(section.adata.var_names), patch_size=P)


def build(data: SectionData, **options: Any) -> HisToGene:
    torch.manual_seed(0)
    return HisToGene(data.y.shape[1], **{**SMALL, **options})


def test_the_defaults_are_the_papers() -> None:
    with torch.device("meta"):
        model = HisToGene(785)
    g, c = 785, 1024
    block = 2 * c + 3 * c * c + (c * c + c) + 2 * c + (c * 2 * c + 2 * c) + (2 * c * c + c)
    expected = (3 * 112**2 * c + c) + 2 * 64 * c + 4 * block + 2 * c + (c * g + g)
    assert sum(p.numel() for p in model.parameters()) == expected


def test_output_and_gradients(data: SectionData) -> None:
    model = build(data, dropout=0.0)
    out = model(data)
    assert set(out) == {"expression", "embedding"}
    assert out["expression"].shape == data.y.shape
    assert out["embedding"].shape == (12, 16)
    losses.expression_error(out, data).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name


def test_a_patch_is_flattened_pixel_by_pixel(data: SectionData) -> None:
    model = build(data, transformer_layers=0, position="none").eval()
    flat = data.x.numpy().transpose(0, 2, 3, 1).reshape(12, -1).astype(np.float64)
    expected = flat @ model.vision.weight.detach().double().numpy().T + model.vision.bias.detach().numpy()
    np.testing.assert_allclose(model(data)["embedding"].detach().numpy(), expected, rtol=1e-4, atol=1e-2)


def test_the_embeddings_that_enter_the_transformer_are_dropped_out(data: SectionData) -> None:
    """The published ViT drops a tenth of the embeddings, positions included, before its first block."""
    model = build(data, channels=64)
    entered: list[torch.Tensor] = []
    model.transformer.blocks[0].register_forward_pre_hook(lambda block, inputs: entered.append(inputs[0]))
    torch.manual_seed(0)
    for _ in range(40):
        model(data)
    embeddings = torch.cat(entered)
    assert float((embeddings == 0).float().mean()) == pytest.approx(0.1, abs=0.01)
    whole = model.vision(model.normalize(data.x).permute(0, 2, 3, 1).flatten(1)) + model.transformer.position(data.grid)
    kept = embeddings[: len(whole)] != 0
    torch.testing.assert_close(embeddings[: len(whole)][kept], whole[kept] / 0.9)
    entered.clear()
    model.eval()(data)
    torch.testing.assert_close(entered[0], whole)


def test_the_graph_is_not_used(data: SectionData) -> None:
    model = build(data).eval()
    other = data.clone()
    other.edge_index = torch.empty(2, 0, dtype=torch.long)
    assert torch.equal(model(data)["expression"], model(other)["expression"])


def test_patches_of_another_shape_are_refused(data: SectionData) -> None:
    wrong = data.clone()
    wrong.x = data.x.repeat(1, 2, 1, 1)
    with pytest.raises(ValueError, match=r"Patches are \[N, 3, P, P\], got \[12, 6, 14, 14\]"):
        build(data)(wrong)
