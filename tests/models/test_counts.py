"""What models share that have a likelihood, and that distil from views."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from hist2st_pyg import Hist2ST, losses
from hist2st_pyg.data import SectionData


def test_what_is_not_asked_for_is_not_built(build: Callable[..., Hist2ST]) -> None:
    model = build(likelihood=None)
    assert model.likelihood is None
    assert model.distillation is None
    with pytest.raises(ValueError, match="built with n_views=0"):
        model.distil([])


def test_a_detached_likelihood_leaves_the_stages_before_it_alone(
    build: Callable[..., Hist2ST], data: SectionData
) -> None:
    for detach in (False, True):
        model = build(detach_likelihood=detach)
        losses.negative_log_likelihood(model(data), data).backward()
        reached = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
        assert reached == ({"likelihood"} if detach else {"streams", "likelihood"})


def test_distillation_of_equal_views_is_the_prediction(build: Callable[..., Hist2ST], data: SectionData) -> None:
    model = build(n_views=3).eval()
    torch.testing.assert_close(model.distil([data] * 3), model(data)["expression"])


@pytest.mark.parametrize("n_kept", [0, 1, 2])
def test_distilling_recomputes_without_counting_batch_norm_twice(
    build: Callable[..., Hist2ST], data: SectionData, n_kept: int
) -> None:
    """Gradients and running statistics are those of the plain computation, whatever activations are kept."""
    other = data.clone()
    other.x = data.x.flip(3)
    results = []
    for plain in (True, False):
        model = build(n_views=2).train()
        torch.manual_seed(1)  # of dropout
        if plain:
            assert model.distillation is not None
            parts = [model(view) for view in (data, other)]
            out = model.distillation(
                *(torch.stack([part[key] for part in parts]) for key in ("embedding", "expression"))
            )
        else:
            out = model.distil([data, other], n_kept)
        out.square().sum().backward()
        gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
        results.append((gradients, {name: b.clone() for name, b in model.named_buffers() if "running" in name}))
    (gradients, statistics), (again, counted) = results
    assert statistics
    assert gradients.keys() == again.keys()
    for name, value in gradients.items():
        torch.testing.assert_close(again[name], value)
    for name, value in statistics.items():
        torch.testing.assert_close(counted[name], value)


def test_distilling_by_statistics_gives_the_gradients_of_the_plain_computation(
    build: Callable[..., Hist2ST], data: SectionData
) -> None:
    other = data.clone()
    other.x = 255 - data.x
    gradients = []
    for plain in (True, False):
        model = build(
            n_views=2, vision="color_texture", vision_kwargs={"out_channels": 16, "dropout": 0.0}, dropout=0.0
        )
        assert model.distillation is not None
        if plain:
            parts = [model(view) for view in (data, other)]
            out = model.distillation(
                *(torch.stack([part[key] for part in parts]) for key in ("embedding", "expression"))
            )
        else:
            out = model.distil([data, other])
        out.square().sum().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    for name, value in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], value, rtol=1e-3, atol=1e-4, msg=name)
