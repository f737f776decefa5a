"""A kernel stream, fitted before training."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from _helpers.small_hist2st import SMALL, trained
from torch_geometric.data import Batch

from hist2st_pyg import Hist2ST, load_model
from hist2st_pyg.data import SectionData
from hist2st_pyg.nn import PatchStatistics
from hist2st_pyg.nn.statistics import patch_statistics


@pytest.fixture(scope="module")
def with_kernel(sections: dict[int, list[SectionData]]) -> Hist2ST:
    torch.manual_seed(0)
    options = {**SMALL, "color_stream": True, "likelihood": "nb", "seen_scales": 1, "n_scales": 2}
    model = trained(Hist2ST(sections[2][0].y.shape[1], kernel_stream=True, **options), sections[2])
    assert model.kernel is not None
    unfitted = model(sections[2][2])["expression"]
    torch.testing.assert_close(unfitted, model(sections[2][2])["streams"].mean(0))
    model.remember(sections[2][:2])
    assert not torch.allclose(model(sections[2][2])["expression"], unfitted)
    return model


def test_the_expression_is_the_mean_of_the_streams_and_of_the_kernel(
    with_kernel: Hist2ST, sections: dict[int, list[SectionData]]
) -> None:
    data, kernel = sections[2][2], with_kernel.kernel
    assert kernel is not None
    assert len(kernel.spots) == len(sections[2][0].y) + len(sections[2][1].y)
    out = with_kernel(data)
    expected = (out["streams"].mean(0) + kernel(data)["expression"]) / 2
    torch.testing.assert_close(out["expression"], expected)
    both = with_kernel(Batch.from_data_list([data, sections[2][0]]))["expression"]
    torch.testing.assert_close(both[: len(expected)], expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        with_kernel(data, [f.detach() for f in with_kernel.features(data)])["expression"], expected
    )
    assert out["streams"].shape[0] == 2  # which alone are trained
    assert not any(p.requires_grad for p in kernel.parameters())


def test_the_streams_and_the_kernel_share_a_patch_s_statistics(
    with_kernel: Hist2ST, sections: dict[int, list[SectionData]], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    forward = PatchStatistics.forward
    monkeypatch.setattr(PatchStatistics, "forward", lambda self, x: taken.append(len(x)) or forward(self, x))
    shared = with_kernel(sections[2][2])["expression"]
    assert taken == [len(shared)] * 2  # once of each field of view
    monkeypatch.setattr(type(with_kernel.kernel), "with_statistics", lambda _, data: data)
    torch.testing.assert_close(with_kernel(sections[2][2])["expression"], shared)


def test_what_is_white_around_all_spots_leaves_the_kernel_its_say(sections: dict[int, list[SectionData]]) -> None:
    """A quantile that is the same for all spots of training, but for rounding, does not set others apart."""
    train, test = ([copy.copy(data) for data in some] for some in (sections[2][:2], sections[2][2:]))
    for data, white in zip((*train, *test), (0.5, 0.5, 0.1), strict=True):
        data.statistics = patch_statistics(data.x)
        data.statistics[:, -3] = white  # its mean over a section is rounded, or not
    model = Hist2ST(train[0].y.shape[1], **{**SMALL, "n_scales": 2}, kernel_stream=True)
    model.remember(train)
    assert model.kernel is not None
    assert (model.kernel(test[0])["expression"].std(0) > 1e-3).all()


def test_in_training_the_kernel_is_left_out(with_kernel: Hist2ST, sections: dict[int, list[SectionData]]) -> None:
    out = copy.deepcopy(with_kernel).train()(sections[2][2])
    torch.testing.assert_close(out["expression"], out["streams"].mean(0))


def test_a_saved_model_holds_its_kernel(
    with_kernel: Hist2ST, sections: dict[int, list[SectionData]], tmp_path: Path
) -> None:
    loaded = load_model(with_kernel.save_pretrained(tmp_path))
    torch.testing.assert_close(
        loaded(sections[2][2])["expression"], with_kernel(sections[2][2])["expression"], atol=0, rtol=0
    )


def test_the_kernel_holds_some_spots_of_many(
    sections: dict[int, list[SectionData]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hist2st_pyg.models.kernel_stream.KERNEL_SPOTS", 6)
    model = Hist2ST(sections[2][0].y.shape[1], **{**SMALL, "n_scales": 2}, kernel_stream=True)
    model.remember(sections[2][:2])
    assert model.kernel is not None
    assert len(model.kernel.spots) == 6  # of 12 and of 5
