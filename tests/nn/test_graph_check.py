from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch_geometric import nn as geometric

from hist2st_pyg.nn import GNN

C = 16


class Own(nn.Module):
    """A layer that gives what a function makes of its features and the sum over the neighbors."""

    def __init__(self, make: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.make = make

    def forward(self, x: Tensor, edge_index: Tensor) -> Any:
        return self.make(x, torch.zeros_like(x).index_add(0, edge_index[1], x[edge_index[0]]))


def own(make: Callable[[Tensor, Tensor], Any]) -> Callable[[int, int], nn.Module]:
    return lambda i, o: Own(make)


def gives(make: Callable[[Tensor, Tensor], Any]) -> Tensor:
    """The output of a stage of one such layer."""
    model = GNN(C, 1, own(make), norm="none", act="tanh", jk="last")
    x = torch.randn(3, C, generator=torch.Generator().manual_seed(0))
    return model(x, torch.tensor([[0, 1, 2], [1, 2, 0]]), torch.ones(3, 1))  # type: ignore[no-any-return]


@pytest.mark.parametrize("attention", [None, torch.ones(3), (torch.ones(2, 3), torch.ones(3))])
def test_of_features_and_attention_the_features_are_taken(attention: Any) -> None:
    assert torch.equal(gives(lambda x, m: (x + m, attention)), gives(lambda x, m: x + m))


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda x, m: (x, m), "returned a tuple of 2; a graph layer must return features"),
        (lambda x, m: (x, None, None), "returned a tuple of 3"),
        (lambda x, m: [x, None], "returned a list of 2"),
        (lambda x, m: {"x": x}, "returned a dict"),
        (lambda x, m: None, "returned a NoneType"),
        (lambda x, m: x[:, :5], r"returned 5 channels, but the graph stage has 16.*: gnn=lambda i, o: Own\(i\)"),
        (lambda x, m: torch.cat([x, m], 1), r"returned 32 channels.*: gnn=lambda i, o: Own\(i, o // 2, ...\)"),
        (lambda x, m: x.mean(0), r"returned \[16\] for features \[10, 16\]"),
        (lambda x, m: x[:4], r"returned \[4, 16\] for features \[10, 16\]"),
        (lambda x, m: x[:, None], r"returned \[10, 1, 16\] for features \[10, 16\]"),
        (lambda x, m: x / 0, "not finite for 10 of 10 spots"),
        (lambda x, m: x * m / m, "not finite for a spot without neighbors"),
        (lambda x, m: x @ torch.ones(3, 3), "fails on a small graph.*RuntimeError: mat1 and mat2"),
        (lambda x, m: x.mul_(2) + m, "changes its input x in place"),
        (lambda x, m: x.nothing, "called with x, edge_index: AttributeError: .*nothing"),
    ],
)
def test_what_is_not_finite_features_is_refused(make: Callable[[Tensor, Tensor], Any], what: str) -> None:
    with pytest.raises(ValueError, match=rf"Own.* {what}"):
        gives(make)


def test_heads_side_by_side_are_told_how_to_share_the_width() -> None:
    with pytest.raises(
        ValueError,
        match=r"GATConv returned 64 channels, but the graph stage has 16; pass a factory .*: "
        r"gnn=lambda i, o: GATConv\(i, o // 4, heads=4\)\.",
    ):
        GNN(C, 1, geometric.GATConv, {"heads": 4})


class NeedsPosition(nn.Module):
    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()

    def forward(self, x: Tensor, edge_index: Tensor, pos: Tensor, *, edge_type: Tensor, size: Any = None) -> Tensor:
        return x


class NoEdges(NeedsPosition):
    def forward(self, x: Tensor, batch: Tensor | None = None) -> Tensor:  # type: ignore[override]
        return x


class Third(NeedsPosition):
    def forward(self, x: Tensor, pos: Any = None, edge_index: Any = None) -> Tensor:  # type: ignore[override]
        return x


class Weighted(NeedsPosition):
    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:  # type: ignore[override]
        return x


class ByPosition(NeedsPosition):
    def forward(self, x: Tensor, edge_index: Tensor, *extra: Tensor) -> Tensor:  # type: ignore[override]
        return x


class OtherName(NeedsPosition):
    def forward(self, x: Tensor, edge_index: Tensor, edge_weights: Any = None) -> Tensor:  # type: ignore[override]
        return x


class OneWidth(nn.Module):
    def __init__(self, channels: int, *, depth: int) -> None:
        super().__init__()

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return x


@pytest.mark.parametrize(
    ("conv", "options", "reason"),
    [
        (NeedsPosition, {}, r"NeedsPosition.forward\(x, edge_index, pos, edge_type, size\) needs pos, edge_type; the "),
        (
            lambda i, o: NeedsPosition(i, o),
            {},
            "needs pos, edge_type; the graph stage passes x, edge_index, edge_attr, ",
        ),
        (NoEdges, {}, r"NoEdges.forward\(x, batch\) takes no edge_index"),
        (Third, {}, "does not take edge_index second"),
        (
            Weighted,
            {"edge_weight": "none"},
            "needs edge_weight; the graph stage passes x, edge_index, edge_attr, ba",
        ),
        (ByPosition, {}, r"ByPosition.forward\(x, edge_index, extra\) takes further arguments by position"),
        (OtherName, {}, "takes edge_weights, which it would never receive; the graph stage passes .*edge_weight, "),
        (OneWidth, {}, r"OneWidth cannot be built with .*Pass a factory: gnn=lambda i, o: OneWidth\(i, depth=...\)"),
        (geometric.APPNP, {}, r"its first arguments are K, alpha. .*: gnn=lambda i, o: APPNP\(K=..., alpha=...\)"),
        (
            lambda i, o: geometric.GATConv,
            {},
            r"A graph layer must be a torch.nn.Module; the factory returned <class",
        ),
        (lambda i: geometric.GATConv(i, i), {}, r"gnn=<lambda> cannot be built with \(16, 16\): .*positional argument"),
    ],
)
def test_what_cannot_be_a_layer_is_refused(conv: Any, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(TypeError, match=reason):
        GNN(C, 1, conv, **options)


@pytest.mark.parametrize(
    ("conv", "reason"),
    [
        (lambda i, o: geometric.GCNConv(i, o, cached=True), r"GCNConv\(cached=True\) reuses the first graph"),
        (lambda i, o: geometric.GPSConv(i, geometric.SGConv(i, i, cached=True)), r"SGConv\(cached=True\) reuses"),
        (
            lambda i, o: geometric.DirGNNConv(geometric.GATConv(i, o, edge_dim=1, add_self_loops=False)),
            "GATConv is built with edge features, which DirGNNConv does not pass to it",
        ),
    ],
)
def test_an_option_that_the_stage_cannot_follow_is_refused(conv: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        GNN(C, 1, conv)


def test_depths_that_share_weights_are_refused() -> None:
    """Saving such a model would fail after its training."""
    layer, mlp = geometric.SAGEConv(C, C), nn.Linear(C, C)
    with pytest.raises(ValueError, match=r"The SAGEConv layers 0 and 1 share the weight lin_l.weight, but each depth"):
        GNN(C, 2, lambda i, o: layer)
    with pytest.raises(ValueError, match=r"GINConv layers 0 and 1 share the weight nn.weight, .*inside the factory"):
        GNN(C, 3, lambda i, o: geometric.GINConv(mlp))
    GNN(C, 1, lambda i, o: layer)


def decorated(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    return lambda *arguments, **named: forward(*arguments, **named)


def test_a_decorated_forward_is_called_as_the_one_inside() -> None:
    class Decorated(geometric.GATv2Conv):  # type: ignore[misc]
        def __init__(self, in_channels: int, out_channels: int) -> None:
            super().__init__(in_channels, out_channels)

        @decorated
        def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, **others: Tensor) -> Tensor:
            return x * edge_attr.mean() + others["batch"].sum()

    graph = GNN(C, 1, Decorated, norm="none", act="tanh", jk="last")
    assert graph.edge_arguments == [{"edge_attr", "edge_weight"}]
    assert graph.batch_arguments == [True]


def noisy(in_channels: int, out_channels: int) -> nn.Module:
    """A layer with dropout, and running statistics of which one stays frozen."""
    layer = geometric.GPSConv(in_channels, geometric.GATConv(in_channels, out_channels, dropout=0.5), dropout=0.5)
    layer.norm2.eval()
    return layer  # type: ignore[no-any-return]


def test_trying_a_layer_changes_nothing() -> None:
    torch.manual_seed(0)
    expected = [noisy(C, C) for _ in range(2)]
    drawn = torch.get_rng_state()
    torch.manual_seed(0)
    model = GNN(C, 2, noisy, jk="last")
    assert torch.equal(torch.get_rng_state(), drawn)
    for layer, other in zip(model.convs, expected, strict=True):
        assert [module.training for module in layer.modules()] == [module.training for module in other.modules()]
        assert layer.norm1.training
        assert not layer.norm2.training
        assert all(parameter.grad is None and parameter.requires_grad for parameter in layer.parameters())
        for name, value in other.state_dict().items():
            assert torch.equal(layer.state_dict()[name], value), name


def test_trying_a_layer_that_draws_leaves_the_random_state() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    GNN(C, 1, own(lambda x, m: x + torch.zeros_like(x) * torch.rand(1)), jk="last")
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_that_wait_for_their_shape_get_it() -> None:
    torch.manual_seed(0)
    model = GNN(C, 2, lambda i, o: geometric.SAGEConv(-1, o))
    assert not any(is_lazy(parameter) for parameter in model.parameters())
    first, second = (conv.lin_l.weight for conv in model.convs)
    assert first.shape == (C, C)
    assert first.requires_grad
    assert not torch.equal(first, second)
    torch.manual_seed(0)
    assert torch.equal(GNN(C, 2, lambda i, o: geometric.SAGEConv(-1, o)).convs[1].lin_l.weight, second)


def test_layers_of_other_precision_and_without_values_are_built() -> None:
    assert GNN(C, 1, lambda i, o: geometric.GATv2Conv(i, o, edge_dim=1).double()).convs[0].att.dtype == torch.float64
    with torch.device("meta"):
        assert GNN(C, 1, "gat").convs[0].att_src.is_meta


class Mean(nn.Module):
    """A layer that adds the mean of all spots, of each section alone where it is told."""

    def __init__(self, in_channels: int, out_channels: int, knows: bool) -> None:
        super().__init__()
        self.knows = knows

    def forward(self, x: Tensor, edge_index: Tensor, batch: Tensor) -> Tensor:
        return x + geometric.global_mean_pool(x, batch if self.knows else None)[batch if self.knows else 0]


def test_a_layer_that_mixes_sections_is_given_one_at_a_time() -> None:
    x, edge_index, edge_attr = torch.randn(4, C), torch.tensor([[0, 2], [1, 3]]), torch.ones(2, 1)
    batch = torch.tensor([0, 0, 1, 1])
    apart, mixed = (GNN(C, 1, lambda i, o, knows=knows: Mean(i, o, knows)) for knows in (True, False))
    together = apart(x, edge_index, edge_attr, batch)
    torch.testing.assert_close(together[:2], apart(x[:2], edge_index[:, :1], edge_attr[:1]))
    assert torch.isfinite(mixed(x, edge_index, edge_attr, torch.zeros(4, dtype=torch.long))).all()
    with pytest.raises(ValueError, match=r"Mean mixes the sections of a batch; set batch_size=1"):
        mixed(x, edge_index, edge_attr, batch)
