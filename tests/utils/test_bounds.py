"""Numbers of a configuration that make no sense are refused by their key and value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from hist2st_pyg.utils.bounds import above, at_least, at_most, between, check, check_least, check_seed, is_positive


@dataclass
class Config:
    count: int = 3
    rate: float = 0.5
    width: float | None = None
    scales: tuple[float, ...] = (1.0,)


def checked(part: str = "data", **values: Any) -> None:
    check(Config(**values), part, count=between(1, 9), rate=at_most(1), width=above(0), scales=at_least(0.5))


@pytest.mark.parametrize(
    "values",
    [
        {"count": 1}, {"count": 9}, {"count": np.int64(4)}, {"rate": 1}, {"rate": -math.pi}, {"width": None},
        {"width": 1e-9}, {"scales": (0.5, 7)}, {"scales": [2.0]},
    ],
    ids=str,
)  # fmt: skip
def test_numbers_within_their_bounds_pass(values: dict[str, Any]) -> None:
    checked(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": 0}, "data.count must be from 1 to 9, got 0."),
        ({"count": 10}, "data.count must be from 1 to 9, got 10."),
        ({"count": 2.0}, "data.count must be a whole number, got 2.0."),
        ({"count": True}, "data.count must be a whole number, got True."),
        ({"count": None}, "data.count must be a whole number, got None."),
        ({"rate": 1.01}, "data.rate must be at most 1, got 1.01."),
        ({"rate": math.nan}, "data.rate must be at most 1, got nan."),
        ({"rate": -math.inf}, "data.rate must be at most 1, got -inf."),
        ({"rate": "1"}, "data.rate must be a number, got '1'."),
        ({"width": 0.0}, "data.width must be above 0, got 0.0."),
        ({"scales": (1.0, 0.4)}, "data.scales must be at least 0.5, got 0.4."),
        ({"scales": ()}, "data.scales must hold at least one number, got ()."),
        ({"scales": (1.0, None)}, "data.scales must be a number, got None."),
    ],
    ids=str,
)
def test_others_are_refused_by_key_and_value(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - compared below
        checked(**values)
    assert str(refused.value) == message


def test_at_the_top_of_a_configuration_a_key_has_no_part() -> None:
    with pytest.raises(ValueError, match=r"^rate must be at most 1, got 2\.$"):
        checked("", rate=2)


@pytest.mark.parametrize(
    ("value", "positive"),
    [(1, True), (1e-300, True), (np.float32(2), True), (0, False), (-1, False), (math.inf, False), (math.nan, False),
     (True, False), ("1", False), (None, False)],
)  # fmt: skip
def test_positive_is_a_finite_number_above_zero(value: object, positive: bool) -> None:
    assert is_positive(value) is positive


def test_the_first_number_that_is_too_small_is_named() -> None:
    check_least({"heads": 1, "k": 5, "other": -3}, {"heads": 1, "k": 2})
    with pytest.raises(ValueError, match=r"^k must be at least 2, got 1\.$"):
        check_least({"heads": 1, "k": 1, "layers": 0}, {"heads": 1, "k": 2, "layers": 1})


def test_a_seed_is_what_numpy_takes() -> None:
    for seed in (0, 2**32 - 1):
        check_seed(seed)
        np.random.RandomState(seed)
    for seed in (-1, 2**32):
        with pytest.raises(ValueError, match="Seed must be between 0"):
            np.random.RandomState(seed)
        with pytest.raises(ValueError, match=rf"^seed must be from 0 to 4294967295, got {seed}\.$"):
            check_seed(seed)
