from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import expit, gammaln
from scipy.stats import nbinom
from torch import Tensor
from torch_geometric.data import Batch, Data

from hist2st_pyg.data import SectionData
from hist2st_pyg.losses import (
    LOSSES,
    distillation_error,
    expression_error,
    negative_log_likelihood,
)

G = 5


def section(n: int, seed: int) -> SectionData:
    rng = np.random.default_rng(seed)
    return SectionData(
        y=torch.from_numpy(rng.normal(size=(n, G))),
        counts=torch.from_numpy(rng.poisson(3.0, (n, G)).astype(float)),
        size_factor=torch.from_numpy(rng.uniform(0.5, 2.0, n)),
        gene_mask=torch.ones(G, dtype=torch.bool),
        num_nodes=n,
    )


def zinb_out(n: int, seed: int = 9) -> dict[str, Tensor]:
    rng = np.random.default_rng(seed)
    values = {"mean": rng.gamma(2, 2, (n, G)), "dispersion": rng.gamma(2, 1, (n, G)), "dropout": rng.random((n, G))}
    return {name: torch.from_numpy(value) for name, value in values.items()}


def nb_out(n: int, seed: int = 9) -> dict[str, Tensor]:
    rng = np.random.default_rng(seed)
    return {name: torch.from_numpy(rng.normal(size=(n, G))) for name in ("log_r", "logit_p")}


def expression(n: int, seed: int = 9) -> dict[str, Tensor]:
    return {"expression": torch.from_numpy(np.random.default_rng(seed).normal(size=(n, G)))}


def rows(out: dict[str, Tensor], where: slice | Tensor) -> dict[str, Tensor]:
    return {name: value[where] for name, value in out.items()}


TERMS = {
    "expression_error": (expression_error, expression),
    "zinb": (negative_log_likelihood, zinb_out),
    "nb": (negative_log_likelihood, nb_out),
}


# Elementwise, against scipy.


# The reductions.


def test_squared_error_by_hand() -> None:
    data, out, scale = section(7, 0), expression(7), torch.arange(1.0, G + 1)
    difference = (out["expression"] - data.y).numpy()
    assert float(expression_error(out, data)) == pytest.approx((difference**2).mean())
    assert float(expression_error(out, data, scale)) == pytest.approx(((difference / scale.numpy()) ** 2).mean())
    assert float(expression_error({"expression": data.y}, data)) == 0


def test_the_squared_error_is_of_the_denoised_target_where_there_is_one() -> None:
    data, out = section(7, 0), expression(7)
    data.y_denoised = data.y / 2 + 1
    expected = ((out["expression"] - data.y / 2 - 1).numpy() ** 2).mean()
    assert float(expression_error(out, data)) == pytest.approx(expected)
    assert float(expression_error({"expression": data.y_denoised}, data)) == 0
    assert float(expression_error({"expression": data.y}, data)) > 0
    other = section(4, 1)
    other.y_denoised = -other.y
    both = Batch.from_data_list([data, other])
    predicted = torch.cat([data.y_denoised, torch.zeros(4, G)])
    assert float(expression_error({"expression": predicted}, both)) == pytest.approx(float((other.y**2).mean()) / 2)


@pytest.mark.parametrize("scale", [None, torch.arange(1.0, G + 1)])
def test_each_stream_is_to_predict_on_its_own(scale: Tensor | None) -> None:
    data = section(7, 0)
    data.gene_mask[2] = False
    data.train_mask = torch.arange(7) < 5
    streams = torch.stack([expression(7, seed)["expression"] for seed in (1, 2, 3)])
    out = {"streams": streams, "expression": streams.mean(0)}
    alone = [float(expression_error({"expression": stream}, data, scale)) for stream in streams]
    assert float(expression_error(out, data, scale)) == pytest.approx(np.mean(alone))
    assert float(expression_error(out, data, scale)) > float(
        expression_error({"expression": out["expression"]}, data, scale)
    )
    # Streams that are wrong by the same in opposite directions are wrong, though their mean is right.
    opposite = {"streams": torch.stack([data.y + 2, data.y - 2]), "expression": data.y}
    assert float(expression_error(opposite, data)) == pytest.approx(4)


def test_streams_in_a_batch_and_their_gradients() -> None:
    first, second = section(3, 0), section(12, 1)
    for data in (first, second):
        data.y_denoised = data.y.flip(1)
    streams = torch.stack([expression(15, seed)["expression"] for seed in (1, 2)]).requires_grad_()
    got = expression_error({"streams": streams, "expression": streams.mean(0)}, Batch.from_data_list([first, second]))
    target = np.concatenate([data.y.numpy()[:, ::-1] for data in (first, second)])
    difference = streams.detach().numpy() - target
    parts = [(difference[m, where] ** 2).mean() for m in (0, 1) for where in (slice(0, 3), slice(3, 15))]
    assert float(got.detach()) == pytest.approx(np.mean(parts))
    got.backward()
    assert streams.grad is not None
    share = np.repeat([1 / 3, 1 / 12], [3, 12])[:, None] / (2 * 2 * G)
    np.testing.assert_allclose(streams.grad, 2 * difference * share)


def test_distillation_trains_both_predictions() -> None:
    data, out, distilled = section(7, 0), expression(7, 1), expression(7, 2)["expression"].requires_grad_()
    out["expression"].requires_grad_()
    error = distillation_error(distilled, out, data)
    assert float(error.detach()) == pytest.approx(float(((distilled - out["expression"]) ** 2).mean().detach()))
    error.backward()
    for tensor in (distilled, out["expression"]):
        assert tensor.grad is not None
        assert bool((tensor.grad != 0).all())


def test_the_zinb_is_averaged_and_its_mean_scaled_by_the_size_factor() -> None:
    data, out = section(7, 0), zinb_out(7)
    counts, mean = data.counts.numpy(), data.size_factor.numpy()[:, None] * out["mean"].numpy()
    dispersion, dropout = out["dispersion"].numpy(), out["dropout"].numpy()
    chance = (1 - dropout) * nbinom.pmf(counts, dispersion, dispersion / (dispersion + mean)) + dropout * (counts == 0)
    assert float(negative_log_likelihood(out, data)) == pytest.approx(-np.log(chance).mean(), rel=1e-7)


def test_the_nb_is_summed_over_genes_and_averaged_over_spots() -> None:
    data, out = section(7, 0), nb_out(7)
    counts = data.counts.numpy()
    log_prob = nbinom.logpmf(counts, np.exp(out["log_r"].numpy()), 1 - expit(out["logit_p"].numpy()))
    expected = -(log_prob + gammaln(counts + 1)).sum(1).mean()
    assert float(negative_log_likelihood(out, data)) == pytest.approx(expected, rel=1e-9)


def test_without_a_likelihood_the_error_says_how_to_get_one() -> None:
    with pytest.raises(ValueError, match="build it with likelihood set to one of '"):
        negative_log_likelihood(expression(7), section(7, 0))


@pytest.mark.parametrize("name", sorted(TERMS))
def test_sections_count_the_same_whatever_their_size(name: str) -> None:
    loss, outputs = TERMS[name]
    sections, out = [section(3, 0), section(12, 1), section(6, 2)], outputs(21)
    alone = [
        float(loss(rows(out, where), s))
        for s, where in zip(sections, (slice(0, 3), slice(3, 15), slice(15, 21)), strict=True)
    ]
    together = float(loss(out, Batch.from_data_list(sections)))
    assert together == pytest.approx(np.mean(alone))
    assert len(set(alone)) == 3


@pytest.mark.parametrize("name", sorted(TERMS))
def test_unmeasured_genes_do_not_count(name: str) -> None:
    loss, outputs = TERMS[name]
    first, second, out = section(4, 0), section(6, 1), outputs(10)
    first.gene_mask[[1, 4]] = False
    second.gene_mask[0] = False
    batch = Batch.from_data_list([first, second])
    assert batch.gene_mask.shape == (2, G)

    def kept(data: SectionData, where: slice) -> float:
        genes = data.gene_mask
        less = Data(
            y=data.y[:, genes], counts=data.counts[:, genes], size_factor=data.size_factor, num_nodes=len(data.y)
        )
        return float(loss({key: value[where][:, genes] for key, value in out.items()}, less))

    expected = (kept(first, slice(0, 4)) + kept(second, slice(4, 10))) / 2
    leaves = {key: value.clone().requires_grad_() for key, value in out.items()}
    got = loss(leaves, batch)
    assert float(got.detach()) == pytest.approx(expected)
    got.backward()
    counted = torch.cat([first.gene_mask.expand(4, G), second.gene_mask.expand(6, G)])
    for leaf in leaves.values():
        assert leaf.grad is not None
        assert torch.equal(leaf.grad != 0, counted)


@pytest.mark.parametrize("name", sorted(TERMS))
def test_held_out_spots_do_not_count(name: str) -> None:
    loss, outputs = TERMS[name]
    first, second, out = section(4, 0), section(6, 1), outputs(10)
    first.train_mask = torch.tensor([True, False, True, False])
    second.train_mask = torch.tensor([False] * 5 + [True])
    leaves = {key: value.clone().requires_grad_() for key, value in out.items()}
    got = loss(leaves, Batch.from_data_list([first, second]))
    got.backward()
    trained = torch.cat([first.train_mask, second.train_mask])
    for leaf in leaves.values():
        assert leaf.grad is not None
        assert torch.equal((leaf.grad != 0).any(1), trained)

    def kept(data: SectionData, where: slice) -> float:
        spots = data.train_mask
        less = Data(
            y=data.y[spots], counts=data.counts[spots], size_factor=data.size_factor[spots], num_nodes=int(spots.sum())
        )
        return float(loss(rows(rows(out, where), spots), less))

    expected = (kept(first, slice(0, 4)) + kept(second, slice(4, 10))) / 2
    assert float(got.detach()) == pytest.approx(expected)


def test_a_section_held_out_whole_does_not_count() -> None:
    first, second, out = section(4, 0), section(6, 1), expression(10)
    first.train_mask, second.train_mask = torch.zeros(4, dtype=torch.bool), torch.ones(6, dtype=torch.bool)
    both = expression_error(out, Batch.from_data_list([first, second]))
    assert float(both) == pytest.approx(float(expression_error(rows(out, slice(4, 10)), second)))


@pytest.mark.parametrize("name", sorted(TERMS))
def test_the_sum_counts_each_spot_the_same(name: str) -> None:
    loss, outputs = TERMS[name]
    first, second, out = section(4, 0), section(6, 1), outputs(10)
    first.train_mask = torch.tensor([True, False, True, True])
    second.train_mask = torch.ones(6, dtype=torch.bool)
    means = [float(loss(rows(out, where), part)) for where, part in ((slice(0, 4), first), (slice(4, 10), second))]
    got = loss(out, Batch.from_data_list([first, second]), reduction="sum")
    assert float(got) == pytest.approx(3 * means[0] + 6 * means[1])


@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_every_loss_is_0_for_the_target_and_grows_with_the_difference(loss: str) -> None:
    data = section(7, 0)
    values = [float(expression_error({"expression": data.y + step}, data, loss=loss)) for step in (0.0, 0.5, -0.5, 2.0)]
    assert values[0] == 0
    assert values[1] == pytest.approx(values[2])
    assert 0 < values[1] < values[3]


def test_the_absolute_error_by_hand() -> None:
    data, out = section(7, 0), expression(7)
    expected = np.abs((out["expression"] - data.y).numpy()).mean()
    assert float(expression_error(out, data, loss="absolute")) == pytest.approx(expected)
    with pytest.raises(ValueError, match=rf"Unknown loss='cubic'\. Choose one of: {', '.join(LOSSES)}"):
        expression_error(out, data, loss="cubic")


def test_the_published_likelihood_ends_at_its_guard() -> None:
    out = {"mean": torch.tensor([[1e6]]), "dispersion": torch.tensor([[1e4]]), "dropout": torch.zeros(1, 1)}
    data = Data(counts=torch.zeros(1, 1), size_factor=torch.ones(1))
    assert float(negative_log_likelihood(out, data)) == pytest.approx(46_151.2, abs=0.1)
    assert float(negative_log_likelihood(out, data, published=True)) == pytest.approx(-np.log(1e-10), rel=1e-6)
