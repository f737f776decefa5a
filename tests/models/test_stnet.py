from __future__ import annotations

import pytest
import torch

from hist2st_pyg import Section, load_model, to_data
from hist2st_pyg.data import SectionData
from hist2st_pyg.models import STNet
from hist2st_pyg.nn.augment import symmetries


@pytest.fixture(scope="module")
def data(cohort: list[Section]) -> SectionData:
    return to_data(cohort[0], list(cohort[0].adata.var_names)[:4], patch_size=28)


def small() -> STNet:
    torch.manual_seed(0)
    return STNet(4, patch_size=28, vision="convmixer", vision_kwargs={"channels": 8, "depth": 1})


def test_eight_symmetries_are_averaged_outside_training(data: SectionData) -> None:
    model = small().eval()
    with torch.no_grad():
        expected = torch.stack(
            [model.expression(model.vision(model.normalise(view))) for view in symmetries(data.x)]
        ).mean(0)
        turned = data.clone()
        turned.x = data.x.rot90(1, (2, 3))
        torch.testing.assert_close(model(data)["expression"], expected)
        torch.testing.assert_close(model(turned)["expression"], expected, atol=1e-5, rtol=1e-5)
        model.train()
        assert not torch.allclose(model(turned)["expression"], model(data)["expression"])


def test_the_eight_symmetries_differ() -> None:
    patch = torch.arange(9.0).view(1, 1, 3, 3)
    assert len({tuple(view.flatten().tolist()) for view in symmetries(patch)}) == 8


def test_each_spot_is_predicted_alone(data: SectionData) -> None:
    model = small().eval()
    some = data.clone()
    some.x = data.x[:5]
    with torch.no_grad():
        torch.testing.assert_close(model(some)["expression"], model(data)["expression"][:5])


def test_densenet_comes_back_without_fetching(data: SectionData, tmp_path: object) -> None:
    model = STNet(4, patch_size=28, vision_kwargs={"weights": "random", "size": 32}).eval()
    assert type(model.vision).__name__ == "DenseNet121Encoder"
    loaded = load_model(model.save_pretrained(str(tmp_path)))
    with torch.no_grad():
        torch.testing.assert_close(loaded(data)["expression"], model(data)["expression"])
