from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from scipy import stats

from hist2st_pyg.evaluation.compare import Scores, compare_to, paired_bootstrap, wilcoxon_over_sections


def scores(
    rng: np.random.Generator, shift: float = 0, sections: int = 4, genes: int = 60, noise: float = 0.1
) -> Scores:
    return {f"S{s}": {f"G{g}": shift + noise * rng.normal() for g in range(genes)} for s in range(sections)}


def zeros(like: Scores) -> Scores:
    return {section: dict.fromkeys(genes, 0.0) for section, genes in like.items()}


def values(a: Scores) -> list[list[Any]]:
    return [list(genes.values()) for genes in a.values()]


def test_numbers_are_those_of_scipy() -> None:
    a = scores(np.random.default_rng(0), 0.02, sections=1, genes=80)
    difference = paired_bootstrap(a, zeros(a), n=5000, level=0.9)
    (data,) = values(a)
    assert difference.mean == pytest.approx(np.mean(data))
    assert difference.effect_size == pytest.approx(np.mean(data) / np.std(data, ddof=1))
    reference = stats.bootstrap([data], np.mean, n_resamples=5000, confidence_level=0.9, method="percentile", rng=1)
    width = reference.confidence_interval.high - reference.confidence_interval.low
    assert difference.low == pytest.approx(reference.confidence_interval.low, abs=0.06 * width)
    assert difference.high == pytest.approx(reference.confidence_interval.high, abs=0.06 * width)

    def d_z(x: Any, axis: int) -> Any:
        return np.mean(x, axis=axis) / np.std(x, axis=axis, ddof=1)

    effect = stats.bootstrap([data], d_z, n_resamples=5000, confidence_level=0.9, method="percentile", rng=1)
    width = effect.confidence_interval.high - effect.confidence_interval.low
    assert difference.effect_low == pytest.approx(effect.confidence_interval.low, abs=0.06 * width)
    assert difference.effect_high == pytest.approx(effect.confidence_interval.high, abs=0.06 * width)


def test_sections_count_the_same_whatever_their_genes() -> None:
    a = {"S0": {"A": 0.4, "B": 0.2}, "S1": dict.fromkeys("ABCDEF", 0.1)}
    difference = paired_bootstrap(a, zeros(a))
    assert difference.mean == pytest.approx((0.3 + 0.1) / 2)
    assert (difference.n_genes, difference.n_sections) == (6, 2)


def test_only_what_both_models_scored_is_compared() -> None:
    a: Scores = {"S0": {"A": 0.5, "B": None, "C": 0.9, "D": 0.4}, "S1": {"A": 0.7}, "S2": {"A": 0.1}, "S3": {"A": None}}
    b: Scores = {"S0": {"A": 0.3, "B": 0.9, "C": None, "D": 0.1}, "S1": {"B": 0.7}, "S2": {"A": 0.2}, "S3": {"A": 0.5}}
    difference = paired_bootstrap(a, b)
    assert difference.mean == pytest.approx((0.25 - 0.1) / 2)
    assert (difference.n_genes, difference.n_sections) == (2, 2)
    assert wilcoxon_over_sections(a, b) == 1.0  # of two sections that point to both sides


def test_it_is_symmetric() -> None:
    rng = np.random.default_rng(1)
    a, b = scores(rng, 0.02), scores(rng)
    there, back = paired_bootstrap(a, b), paired_bootstrap(b, a)
    assert (there.mean, there.low, there.high) == pytest.approx((-back.mean, -back.high, -back.low))
    assert there.p == back.p
    assert (there.effect_size, there.effect_low) == pytest.approx((-(back.effect_size or 0), -(back.effect_high or 0)))


def test_a_p_value_of_no_difference_is_uniform_and_of_a_large_one_small() -> None:
    rng = np.random.default_rng(2)
    null = [paired_bootstrap(a, zeros(a), n=300).p for a in (scores(rng, sections=2) for _ in range(300))]
    assert np.mean(np.array(null) <= 0.1) == pytest.approx(0.1, abs=0.05)
    assert np.mean(null) == pytest.approx(0.5, abs=0.06)
    a = scores(rng, 0.1)
    assert paired_bootstrap(a, zeros(a), n=999).p == pytest.approx(2 / 1000)


def test_its_interval_covers_the_true_difference() -> None:
    rng = np.random.default_rng(3)
    found = [paired_bootstrap(a, zeros(a), n=300) for a in (scores(rng, 0.02, sections=2) for _ in range(300))]
    assert np.mean([d.low <= 0.02 <= d.high for d in found]) == pytest.approx(0.95, abs=0.04)
    assert np.mean([(d.effect_low or 9) <= 0.2 <= (d.effect_high or -9) for d in found]) == pytest.approx(
        0.95, abs=0.04
    )


def test_the_seed_decides() -> None:
    a = scores(np.random.default_rng(4), 0.02)
    assert paired_bootstrap(a, zeros(a), seed=7) == paired_bootstrap(a, zeros(a), seed=7)
    assert paired_bootstrap(a, zeros(a), seed=7) != paired_bootstrap(a, zeros(a), seed=8)
    shuffled = {section: dict(reversed(genes.items())) for section, genes in reversed(a.items())}
    assert paired_bootstrap(a, zeros(a), seed=7) == paired_bootstrap(shuffled, zeros(a), seed=7)


def test_the_same_scores_do_not_differ() -> None:
    a = scores(np.random.default_rng(5))
    difference = paired_bootstrap(a, a)
    expected = {"mean": 0, "low": 0, "high": 0, "p": 1, "effect_size": 0, "effect_low": 0, "effect_high": 0}
    assert {name: getattr(difference, name) for name in expected} == expected
    assert wilcoxon_over_sections(a, a) == 1


@pytest.mark.parametrize("genes", [1, 30])
def test_differences_that_are_all_the_same_have_no_effect_size(genes: int) -> None:
    b = scores(np.random.default_rng(6), genes=genes)
    a = {section: {gene: value + 0.1 for gene, value in row.items() if value} for section, row in b.items()}
    difference = paired_bootstrap(a, b)
    assert difference.mean == pytest.approx(0.1)
    assert difference.effect_size is difference.effect_low is difference.effect_high is None


def test_few_genes_have_an_effect_size_with_an_interval() -> None:
    difference = paired_bootstrap({"S0": {"A": 0.1, "B": 0.3}}, {"S0": {"A": 0.0, "B": 0.0}})
    assert difference.effect_size == pytest.approx(0.2 / np.std([0.1, 0.3], ddof=1))
    assert difference.effect_low == difference.effect_high == pytest.approx(difference.effect_size)


@pytest.mark.parametrize("sections", [2, 5, 8])
def test_wilcoxon_is_scipy_s_and_has_a_floor(sections: int) -> None:
    rng = np.random.default_rng(7)
    a, b = scores(rng, 0.03, sections), scores(rng, 0, sections)
    means = np.mean(values(a), axis=1) - np.mean(values(b), axis=1)
    assert wilcoxon_over_sections(a, b) == pytest.approx(stats.wilcoxon(means).pvalue)
    assert wilcoxon_over_sections(scores(rng, 5, sections), b) == pytest.approx(2.0 ** (1 - sections))


def test_differences_of_rounding_are_none() -> None:
    a, b = ({f"S{i}": {"G": value} for i in range(8)} for value in (0.1 + 0.2, 0.3))
    assert a != b
    assert wilcoxon_over_sections(a, b) == 1
    assert paired_bootstrap(a, b).p == 1


def test_one_section_has_no_wilcoxon() -> None:
    a = scores(np.random.default_rng(8), sections=1)
    assert wilcoxon_over_sections(a, zeros(a)) is None


def test_the_table() -> None:
    rng = np.random.default_rng(9)
    models = {"a": scores(rng, 0.05), "mean": scores(rng), "b": scores(rng, 0.008), "c": scores(rng, 0.01)}
    table = compare_to(models, "mean")
    assert list(table.index) == ["a", "b", "c"]
    assert table.index.name == "model"
    assert list(table.columns) == [
        "mean_difference", "low", "high", "p_bootstrap", "p_bootstrap_holm", "effect_size", "effect_low", "effect_high",
        "n_sections", "p_wilcoxon", "p_wilcoxon_holm",
    ]  # fmt: skip
    names = {"mean_difference": "mean", "p_bootstrap": "p"}
    for model in table.index:
        alone = dataclasses.asdict(paired_bootstrap(models[model], models["mean"]))
        for column in table.columns.drop(["p_bootstrap_holm", "p_wilcoxon", "p_wilcoxon_holm"]):
            assert table.loc[model, column] == alone[names.get(column, column)]
        assert table.loc[model, "p_wilcoxon"] == wilcoxon_over_sections(models[model], models["mean"])
    for p in ("p_bootstrap", "p_wilcoxon"):
        np.testing.assert_allclose(table[f"{p}_holm"].astype(float), holm(table[p].to_numpy(float)))


def holm(p: Any) -> Any:
    """Holm 1979, step by step."""
    corrected, largest = np.zeros(len(p)), 0.0
    for rank, i in enumerate(np.argsort(p)):
        largest = max(largest, min(1, (len(p) - rank) * p[i]))
        corrected[i] = largest
    return corrected


def test_missing_p_values_are_none_and_not_corrected_for() -> None:
    rng = np.random.default_rng(10)
    reference = scores(rng, sections=4)
    models = {"few": scores(rng, 1, sections=1), "many": scores(rng, 1, sections=4), "mean": reference}
    table = compare_to(models, "mean")
    assert table.loc["few", "p_wilcoxon"] is table.loc["few", "p_wilcoxon_holm"] is None
    assert table.loc["many", "p_wilcoxon"] == table.loc["many", "p_wilcoxon_holm"] == 0.125
    none = compare_to({"few": models["few"], "mean": reference}, "mean")
    assert none.loc["few", "p_wilcoxon_holm"] is None


@pytest.mark.parametrize(
    ("models", "reference", "message"),
    [
        ({"a": {}, "b": {}}, "c", "Unknown reference='c'. Choose one of: a, b"),
        ({"a": {"S0": {"A": 0.1}}}, "a", "another model besides 'a'"),
        ({"a": {"S0": {"A": 0.1}}, "b": {"S1": {"A": 0.1}}}, "a", "'b' and 'a': No gene was scored by both"),
        ({"a": {"S0": {"A": 0.1}}, "b": {"S0": {"A": None}}}, "a", "'b' and 'a': No gene was scored by both"),
    ],
)
def test_models_that_cannot_be_compared(models: dict[str, Scores], reference: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        compare_to(models, reference)


@pytest.mark.parametrize("arguments", [{"n": 0}, {"level": 1.0}, {"level": 0.0}])
def test_arguments_out_of_range(arguments: dict[str, Any]) -> None:
    a = scores(np.random.default_rng(11))
    with pytest.raises(ValueError, match="n must be 1 or more and level between 0 and 1"):
        paired_bootstrap(a, a, **arguments)
