"""What all models share: fitted statistics, and where the sections of a batch begin."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch_geometric.data import Batch

from hist2st_pyg import Hist2ST, Preprocessing
from hist2st_pyg.data import SectionData
from hist2st_pyg.models.base import require_preprocessing, section_ptr


def test_fitted_statistics_are_used(build: Callable[..., Hist2ST], data: SectionData) -> None:
    plain, fitted = build().eval(), build().eval()
    assert torch.equal(plain.normalize(data.x), data.x.float())
    fitted.pixel_mean.copy_(torch.tensor([200.0, 150.0, 180.0]))
    fitted.pixel_std.copy_(torch.tensor([20.0, 40.0, 30.0]))
    expected = (data.x.double() - fitted.pixel_mean[:, None, None]) / fitted.pixel_std[:, None, None]
    torch.testing.assert_close(fitted.normalize(data.x).double(), expected)
    standard = data.clone()
    standard.x = expected.float()
    torch.testing.assert_close(fitted(data)["embedding"], plain(standard)["embedding"], rtol=1e-4, atol=1e-5)
    before = fitted(data)["expression"]
    fitted.target_mean.fill_(3.0)
    fitted.target_std.fill_(0.5)
    torch.testing.assert_close(fitted(data)["expression"], 3 + 0.5 * before)
    assert not {"pixel_mean", "target_std"} & {name for name, _ in fitted.named_parameters()}


@pytest.fixture
def sections() -> list[SectionData]:
    return [SectionData(x=torch.zeros(n, 1)) for n in (12, 5, 9)]


def test_where_sections_begin_and_end(sections: list[SectionData]) -> None:
    batch = Batch.from_data_list(sections)
    assert section_ptr(batch) == [0, 12, 17, 26]
    assert section_ptr(sections[0]) == [0, 12]
    without = batch.clone()
    without.ptr = None
    assert section_ptr(without) == [0, 12, 17, 26]


def test_a_model_without_preprocessing_says_how_it_gets_one(build: Callable[..., Hist2ST]) -> None:
    model = build()
    with pytest.raises(
        ValueError, match=r"The model has no preprocessing .*`model\.preprocessing = Preprocessing\(gen"
    ):
        _ = model.genes
    model.preprocessing = Preprocessing(("A", "B"))
    assert model.genes == ("A", "B")
    assert require_preprocessing(model) is model.preprocessing


def test_patches_of_other_channels_are_refused_and_embeddings_where_they_are_not_read(
    build: Callable[..., Hist2ST], data: SectionData
) -> None:
    model = build()
    for shape in ((2, 6, 14, 14), (2, 3, 14), (2, 8)):
        with pytest.raises(ValueError, match=r"Patches are \[N, 3, P, P\], got \[2, "):
            model.normalize(torch.zeros(shape))
    reads = Hist2ST(3, vision="precomputed", vision_kwargs={"embedding_channels": 8}, transformer_layers=0)
    with pytest.raises(ValueError, match=r"reads precomputed embeddings \[N, D\], got \[12, 3, 14, 14\]; name them by"):
        reads(data)
