from __future__ import annotations

import threading

import pytest
import torch
from torch import nn

from hist2st_pyg.nn.weight_limit import as_large_as, weight_limit

ADVICE = "take fewer"


def test_what_fits_is_built() -> None:
    with weight_limit(ADVICE, tensors=4, size=4 * (6 + 3 + 6 + 3)):
        layers = [nn.Linear(2, 3) for _ in range(2)]
    assert len(layers) == 2


def test_a_weight_that_is_too_large_takes_no_memory() -> None:
    message = r"it asks for weights of more than 1 MiB \(Embedding.weight is \[4000000, 1000\]\); take fewer"
    with pytest.raises(ValueError, match=message), weight_limit(ADVICE, size=2**20):
        nn.Embedding(4_000_000, 1000)


def test_a_weight_that_no_memory_holds_is_refused_alike() -> None:
    with pytest.raises(ValueError, match="its weights do not fit into memory; take fewer"), weight_limit(ADVICE):
        nn.Linear(10**9, 10**8)


def test_the_number_of_weights_is_limited() -> None:
    norms = (nn.BatchNorm1d(1) for _ in range(10**7))
    built: list[nn.Module] = []
    with pytest.raises(ValueError, match="asks for more than 20 weights; take fewer"), weight_limit(ADVICE, tensors=20):
        built.extend(norms)
    assert len(built) == 4  # of five tensors each: buffers count


def test_other_errors_and_other_threads_are_left_alone() -> None:
    with pytest.raises(RuntimeError, match="negative dimension"), weight_limit(ADVICE):
        nn.Linear(-1, 1)
    with weight_limit(ADVICE, tensors=0):
        thread = threading.Thread(target=lambda: built.append(nn.Linear(1, 1)))
        built: list[nn.Module] = []
        thread.start()
        thread.join()
    assert len(built) == 1
    assert isinstance(nn.Linear(1, 1), nn.Module)  # the limit ends with the block


def test_lazy_weights_have_no_size_yet() -> None:
    with weight_limit(ADVICE, size=0):
        layer = nn.LazyLinear(3)
    assert list(dict(layer.named_parameters())) == ["weight", "bias"]


def test_the_limit_of_given_weights_has_room_for_what_constructors_drop() -> None:
    limit = as_large_as({"a": torch.zeros(2**20), "b": torch.zeros(3, dtype=torch.float16), "c": "no tensor"})
    assert limit == {"tensors": 1006, "size": 2 * (2**22 + 6) + 2**26}
