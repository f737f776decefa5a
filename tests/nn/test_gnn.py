from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch_geometric.data import Batch, Data
from torch_geometric.nn import ChebConv, GATv2Conv, MessagePassing

from hist2st_pyg import knn_edges
from hist2st_pyg.nn import CONVS, EDGE_WEIGHTS, GNN, JUMPING_KNOWLEDGE, NORMS, Hist2STConv, conv_resolver

C = 16
LAYERS = sorted(key for key in CONVS if key != "none")


def graph(n: int = 12, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    edge_index, distance = knn_edges(torch.from_numpy(rng.uniform(0, 4, (n, 2))), 3)
    return torch.from_numpy(rng.normal(size=(n, C))).float(), edge_index, distance[:, None]


def build(conv: Any, num_layers: int = 2, seed: int = 0, **options: Any) -> GNN:
    torch.manual_seed(seed)
    return GNN(C, num_layers, conv, **options).eval()


def dense(edge_index: Tensor, n: int) -> NDArray[np.float64]:
    """The paper's matrix: A[i, j] = 1 where j is a neighbor of i."""
    a = np.zeros((n, n))
    a[edge_index[1], edge_index[0]] = 1
    return a


def check_gradients(module: nn.Module) -> None:
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None, f"{name} has no gradient"
        assert torch.isfinite(parameter.grad).all(), f"{name} has a gradient that is not finite"


@pytest.mark.parametrize("key", sorted(CONVS))
def test_shape_and_a_gradient_for_every_parameter(key: str) -> None:
    x, edge_index, edge_attr = graph()
    x.requires_grad_()
    model = build(key)
    out = model(x, edge_index, edge_attr)
    assert out.shape == (12, C)
    (out * torch.randn(12, C)).sum().backward()
    check_gradients(model)
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    for conv in model.convs:
        assert sum(float(p.grad.abs().sum()) for p in conv.parameters() if p.grad is not None) > 0


@pytest.mark.parametrize("key", sorted(CONVS))
def test_the_order_of_the_spots_does_not_matter(key: str) -> None:
    x, edge_index, edge_attr = graph()
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    model = build(key)
    out = model(x, edge_index, edge_attr)
    # Old spot i is now at order.argsort()[i].
    moved = model(x[order], order.argsort()[edge_index], edge_attr)
    torch.testing.assert_close(moved, out[order], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("key", sorted(CONVS))
@pytest.mark.parametrize("edges", ["one spot alone", "none"])
def test_a_spot_without_neighbors_stays_finite(key: str, edges: str) -> None:
    x, edge_index, edge_attr = graph()
    keep = (edge_index != 0).all(0) & (edges != "none")
    x.requires_grad_()
    model = build(key)
    out = model(x, edge_index[:, keep], edge_attr[keep])
    assert torch.isfinite(out).all()
    (out * torch.randn(12, C)).sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    check_gradients(model)


@pytest.mark.parametrize("key", LAYERS)
def test_an_edge_carries_its_source_to_its_target_and_nowhere_else(key: str) -> None:
    # The only edge runs from spot 0 (j) to spot 1 (i); spot 2 stands apart.
    edge_index, edge_attr = torch.tensor([[0], [1]]), torch.ones(1, 1)
    x = torch.randn(3, C, generator=torch.Generator().manual_seed(0))
    model = build(key, num_layers=1, jk="last", norm="none", act="tanh")
    before = model(x, edge_index, edge_attr)

    def changed(spot: int) -> list[int]:
        other = x.clone()
        other[spot] += 1.5
        moved = (model(other, edge_index, edge_attr) - before).abs().amax(1) > 1e-6
        return [i for i in moved.nonzero().flatten().tolist() if i != spot]

    assert changed(0) == [1]
    assert changed(1) == []
    assert changed(2) == []


@pytest.mark.parametrize("key", sorted(CONVS))
def test_the_distance_reaches_the_layers_that_use_it(key: str) -> None:
    x, edge_index, edge_attr = graph()
    model = build(key)
    near, far = model(x, edge_index, edge_attr), model(x, edge_index, edge_attr**2 + 3)
    assert bool((near - far).abs().max() > 1e-6) == any(model.edge_arguments)


@pytest.mark.parametrize("key", sorted(CONVS))
def test_weights_come_back(key: str) -> None:
    x, edge_index, edge_attr = graph()
    first, second = build(key, seed=0), build(key, seed=1)
    expected = first(x, edge_index, edge_attr)
    if key != "none":
        assert not torch.equal(second(x, edge_index, edge_attr), expected)
    second.load_state_dict(first.state_dict(), strict=True)
    assert torch.equal(second(x, edge_index, edge_attr), expected)


@pytest.mark.parametrize("key", sorted(CONVS))
def test_sections_in_a_batch_are_as_if_alone(key: str) -> None:
    sections = [Data(x=x, edge_index=e, edge_attr=d) for x, e, d in (graph(12, 0), graph(5, 1), graph(9, 2))]
    batch = Batch.from_data_list(sections)
    model = build(key)
    together = model(batch.x, batch.edge_index, batch.edge_attr)
    alone = torch.cat([model(s.x, s.edge_index, s.edge_attr) for s in sections])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("key", ["gat", "gatv2", "transformer"])
def test_heads_that_do_not_divide_the_width_are_refused(key: str) -> None:
    with pytest.raises(ValueError, match=r"heads=3 does not divide the width 16"):
        GNN(C, 1, key, {"heads": 3})


@pytest.mark.parametrize("aggr", ["mean", "max"])
def test_hist2st_conv_is_the_dense_aggregation(aggr: str) -> None:
    x, edge_index, _ = graph()
    edge_index = edge_index[:, (edge_index[1] != 4)]  # spot 4 has no neighbors
    torch.manual_seed(0)
    conv = Hist2STConv(C, 5, aggr)
    a, h = dense(edge_index, 12), x.double().numpy()
    if aggr == "mean":
        aggregated = a @ h / np.maximum(a.sum(1, keepdims=True), 1)
    else:
        aggregated = np.stack([h[row > 0].max(0) if row.any() else np.zeros(C) for row in a])
    expected = aggregated @ conv.lin.weight.detach().double().numpy().T
    assert conv.lin.bias is None
    np.testing.assert_allclose(conv(x, edge_index).detach().numpy(), expected, atol=1e-6)
    assert not expected[4].any()


def test_gin_learns_how_much_of_itself_a_spot_keeps() -> None:
    layer = conv_resolver("gin")(4, 6)
    assert isinstance(layer.eps, nn.Parameter)
    assert not isinstance(conv_resolver("gin", train_eps=False)(4, 6).eps, nn.Parameter)


def test_pna_does_not_scale_by_the_number_of_neighbors() -> None:
    torch.manual_seed(0)
    layer = conv_resolver("pna")(4, 4)
    edge_index = torch.tensor([[2, 3, 4, 5], [0, 1, 1, 1]])
    out = layer(torch.ones(6, 4), edge_index, edge_attr=torch.ones(4, 1))
    torch.testing.assert_close(out[0], out[1])  # one neighbor, and three that are like it


def test_hist2st_conv_refuses_an_unknown_aggregation() -> None:
    with pytest.raises(ValueError, match=r"Unknown aggr='sum'. Choose one of: max, mean"):
        Hist2STConv(C, C, "sum")


def test_the_paper_s_layer_starts_from_xavier_s_uniform_weights() -> None:
    torch.manual_seed(0)
    weight = Hist2STConv(300, 500).lin.weight
    bound = (6 / (300 + 500)) ** 0.5
    assert float(weight.abs().max()) == pytest.approx(bound, rel=1e-3)
    assert float(weight.std()) == pytest.approx(bound / 3**0.5, rel=0.01)


@pytest.mark.parametrize("aggr", ["mean", "max"])
def test_a_layer_is_rectified_and_then_normalized(aggr: str) -> None:
    x, edge_index, edge_attr = graph()
    model = build("hist2st", num_layers=3, conv_kwargs={"aggr": aggr}, jk="last")
    a, h = dense(edge_index, 12), x.double().numpy()
    for conv in model.convs:
        weight = conv.lin.weight.detach().double().numpy()
        aggregated = a @ h / a.sum(1, keepdims=True) if aggr == "mean" else np.stack([h[row > 0].max(0) for row in a])
        h = np.maximum(aggregated @ weight.T, 0)
        h = h / np.maximum(np.linalg.norm(h, axis=1, keepdims=True), 1e-12)
    np.testing.assert_allclose(model(x, edge_index, edge_attr).detach().numpy(), h, atol=1e-5)


def test_residual_adds_each_layers_input() -> None:
    x, edge_index, edge_attr = graph()
    plain, residual = build("sage", jk="last"), build("sage", jk="last", residual=True)
    h = x + GNN.forward(_first_layer(plain), x, edge_index, edge_attr)
    second = _first_layer(plain, 1)
    torch.testing.assert_close(residual(x, edge_index, edge_attr), h + second(h, edge_index, edge_attr))


def _first_layer(model: GNN, layer: int = 0) -> GNN:
    one = build("sage", num_layers=1, jk="last")
    one.convs[0].load_state_dict(model.convs[layer].state_dict())
    return one


def test_dropout_acts_in_training_alone() -> None:
    x, edge_index, edge_attr = graph()
    model = build("hist2st", num_layers=1, dropout=0.5, jk="last")
    evaluated = model(x, edge_index, edge_attr)
    assert torch.equal(evaluated, model(x, edge_index, edge_attr))
    trained = model.train()(x, edge_index, edge_attr)
    kept = trained != 0
    torch.testing.assert_close(trained[kept], 2 * evaluated[kept])
    assert 0.2 < float((evaluated[~kept] != 0).sum() / (evaluated != 0).sum()) < 0.8


def test_without_a_graph_the_stage_is_the_identity() -> None:
    x, edge_index, edge_attr = graph()
    model = GNN(C, 4, "none")
    assert torch.equal(model(x, edge_index, edge_attr), x)
    assert not list(model.parameters())
    assert torch.equal(GNN(C, 0, "gat")(x, edge_index, edge_attr), x)


# Jumping knowledge and norms.


@pytest.mark.parametrize("key", sorted(JUMPING_KNOWLEDGE))
def test_jumping_knowledge_keep_the_width_and_the_spots_apart(key: str) -> None:
    torch.manual_seed(0)
    jk = JUMPING_KNOWLEDGE[key](C, 3)
    depths = [torch.randn(6, C, requires_grad=True) for _ in range(3)]
    out = jk(depths)
    assert out.shape == (6, C)
    (out * torch.randn(6, C)).sum().backward()
    check_gradients(jk)
    other = [depth.detach().clone() for depth in depths]
    for depth in other:
        depth[2] += 1
    moved = (jk(other) - out).abs().amax(1) > 1e-6
    assert moved.nonzero().flatten().tolist() == [2]


@pytest.mark.parametrize("key", sorted(NORMS))
def test_norms_treat_each_spot_alone(key: str) -> None:
    norm = NORMS[key](C)
    x = torch.randn(6, C, generator=torch.Generator().manual_seed(0))
    x[3] = 0
    out = norm(x)
    assert out.shape == x.shape
    assert torch.isfinite(out).all()
    torch.testing.assert_close(norm(x[:2]), out[:2])


def test_norms_by_formula() -> None:
    x = torch.randn(6, C, generator=torch.Generator().manual_seed(0))
    assert torch.equal(NORMS["none"](C)(x), x)
    torch.testing.assert_close(NORMS["l2"](C)(x), x / x.norm(dim=1, keepdim=True))
    centered = x - x.mean(1, keepdim=True)
    torch.testing.assert_close(NORMS["layer"](C)(x), centered / (centered.pow(2).mean(1, keepdim=True) + 1e-5).sqrt())


# What a user may pass.


def test_unknown_keys_list_the_choices() -> None:
    for options, choices in (({"conv": "gta"}, CONVS), ({"norm": "batch"}, NORMS), ({"jk": "sum"}, JUMPING_KNOWLEDGE)):
        with pytest.raises(ValueError, match=f"Choose one of: {', '.join(sorted(choices))}"):
            GNN(C, 1, **options)


def test_an_instance_is_refused() -> None:
    with pytest.raises(TypeError, match=r"gnn=GATv2Conv\(...\) is an instance.*pass the class"):
        GNN(C, 1, GATv2Conv(C, C))


def test_a_class_built_without_edge_features_is_given_none() -> None:
    x, edge_index, edge_attr = graph()
    model = build(GATv2Conv)
    out = model(x, edge_index, edge_attr)
    assert out.shape == (12, C)
    assert torch.equal(out, model(x, edge_index, None))
    with_distance = build(GATv2Conv, conv_kwargs={"edge_dim": 1})
    assert not torch.equal(
        with_distance(x, edge_index, edge_attr), with_distance(x, edge_index, torch.zeros_like(edge_attr))
    )


def test_a_factory_makes_each_depth_its_own_layer() -> None:
    x, edge_index, edge_attr = graph()
    model = build(lambda i, o: ChebConv(i, o, K=2), num_layers=3)
    assert model(x, edge_index, edge_attr).shape == (12, C)
    assert len({id(conv) for conv in model.convs}) == 3
    assert not torch.equal(model.convs[0].lins[0].weight, model.convs[1].lins[0].weight)


class _Recorder(MessagePassing):
    """Notes what it is given."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.seen: dict[str, Any] = {}
        self.scale = nn.Parameter(torch.ones(()))


class _TakesAttributes(_Recorder):
    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor | None = None) -> Tensor:
        self.seen = {"edge_attr": edge_attr}
        return self.scale * x


class _TakesWeights(_Recorder):
    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:
        self.seen = {"edge_weight": edge_weight}
        return self.scale * x


class _TakesNothing(_Recorder):
    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.scale * x


def test_custom_layers_get_what_their_forward_takes() -> None:
    x, edge_index, edge_attr = graph()
    edge_attr[0] = 0.0
    models = {conv: build(conv, num_layers=1) for conv in (_TakesAttributes, _TakesWeights, _TakesNothing)}
    for model in models.values():
        assert model(x, edge_index, edge_attr).shape == (12, C)
    assert torch.equal(models[_TakesAttributes].convs[0].seen["edge_attr"], edge_attr)
    weight = models[_TakesWeights].convs[0].seen["edge_weight"]
    assert weight.shape == (edge_index.shape[1],)
    torch.testing.assert_close(weight, 1 / (1 + edge_attr[:, 0]))
    assert float(weight[0]) == 1.0
    models[_TakesAttributes](x, edge_index, None)
    assert models[_TakesAttributes].convs[0].seen["edge_attr"] is None


def test_distances_may_be_one_number_for_each_edge() -> None:
    x, edge_index, edge_attr = graph()
    for key in LAYERS:
        model = build(key)
        assert torch.equal(model(x, edge_index, edge_attr[:, 0]), model(x, edge_index, edge_attr))


@pytest.mark.parametrize(
    ("choice", "formula"),
    [
        ("inverse", lambda d: 1 / (1 + d)),
        ("gaussian", lambda d: np.exp(-(d**2) / 2)),
        (lambda d: 3 - d, lambda d: 3 - d),
    ],
)
def test_the_weight_of_an_edge_is_chosen(choice: Any, formula: Any) -> None:
    x, edge_index, edge_attr = graph()
    model = build(_TakesWeights, num_layers=1, edge_weight=choice)
    model(x, edge_index, edge_attr)
    expected = formula(edge_attr[:, 0].double().numpy())
    np.testing.assert_allclose(model.convs[0].seen["edge_weight"].double().numpy(), expected, rtol=1e-6)


def test_edges_may_have_no_weight() -> None:
    x, edge_index, edge_attr = graph()
    model = build("gcn", edge_weight="none")
    assert torch.equal(model(x, edge_index, edge_attr), build("gcn")(x, edge_index))
    with pytest.raises(
        ValueError, match=rf"Unknown edge_weight='far'. Choose one of: {', '.join(sorted(EDGE_WEIGHTS))}"
    ):
        GNN(C, 1, "gcn", edge_weight="far")
    with pytest.raises(ValueError, match=r"edge_weight returned \[18, 1\] for distances \[18\]"):
        GNN(C, 1, "gcn", edge_weight=lambda distance: distance[:, None])


def test_keyword_arguments_reach_the_layers() -> None:
    assert [conv.heads for conv in GNN(C, 2, "gat", {"heads": 2}).convs] == [2, 2]
    assert [conv.reduce for conv in GNN(C, 2, "hist2st", {"aggr": "max"}).convs] == ["max", "max"]
    factory = conv_resolver("sage", project=True)
    assert factory is not None
    assert factory(C, C).project is True
    assert conv_resolver("none") is None
    with pytest.raises(TypeError, match=r"gnn=gat cannot be built with \(16, 16, hands=2\): .*hands"):
        GNN(C, 1, "gat", {"hands": 2})


def test_gat_with_one_neighbor_by_hand() -> None:
    # One head, one edge 0 -> 1 and the layer's own self-loop: attention is a softmax of two numbers.
    x = torch.randn(2, C, generator=torch.Generator().manual_seed(0))
    edge_index, edge_attr = torch.tensor([[0], [1]]), torch.full((1, 1), 2.0)
    conv = build("gat", num_layers=1, conv_kwargs={"heads": 1, "bias": False}).convs[0]
    h = conv.lin(x)
    source, target = h @ conv.att_src[0, 0], h @ conv.att_dst[0, 0]
    edge = conv.lin_edge(edge_attr) @ conv.att_edge[0, 0]  # the self-loop gets the mean of the incoming, the same here
    score = nn.functional.leaky_relu(source + target[1] + edge, 0.2)
    first, second = score.detach().tolist()
    share = 1 / (1 + math.exp(second - first))
    torch.testing.assert_close(conv(x, edge_index, edge_attr)[1], share * h[0] + (1 - share) * h[1])
