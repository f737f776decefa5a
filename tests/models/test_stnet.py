from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hist2st_pyg import Section, load_model, to_data
from hist2st_pyg.data import SectionData
from hist2st_pyg.models import STNet
from hist2st_pyg.nn.augment import symmetries
from hist2st_pyg.training import preset_config
from hist2st_pyg.training.preparation import make_datamodule, make_model


@pytest.fixture(scope="module")
def data(cohort: list[Section]) -> SectionData:
    return to_data(cohort[0], list(cohort[0].adata.var_names)[:4], patch_size=28)


def small() -> STNet:
    """As after training: the linear map starts from 0."""
    torch.manual_seed(0)
    model = STNet(4, patch_size=28, vision="convmixer", vision_kwargs={"channels": 8, "depth": 1})
    torch.nn.init.normal_(model.expression.weight)
    return model


def test_the_head_is_a_linear_map_that_starts_from_the_mean_expression(data: SectionData) -> None:
    model = STNet(4, patch_size=28, vision="convmixer", vision_kwargs={"channels": 8, "depth": 1})
    assert type(model.expression) is torch.nn.Linear
    mean = torch.tensor([0.5, 1.0, 1.5, 2.0])
    model.initialize(mean)
    assert torch.equal(model(data)["expression"], mean.expand(len(data.y), 4))
    model.target_mean.fill_(1.0)
    model.target_std.fill_(2.0)
    model.initialize(mean)
    torch.testing.assert_close(model(data)["expression"], mean.expand(len(data.y), 4))


def test_training_starts_from_the_mean_expression_of_its_spots(cohort: list[Section]) -> None:
    config = preset_config(
        "paper",
        data={"panel": "variable", "n_genes": 5, "patch_size": 28, "test": ["B1"]},
        model={"name": "stnet", "vision": "cnn", "vision_kwargs": {"channels": [4], "out_channels": 8}},
    )
    datamodule = make_datamodule(config, cohort)
    model = make_model(config, datamodule)
    y = torch.cat([data.y for data in datamodule.data("train")])
    torch.testing.assert_close(model.expression.bias, y.mean(0))
    assert not model.expression.weight.any()
    assert len(datamodule.val_dataloader()) == 0


def test_weights_of_the_earlier_stnet_are_refused_with_a_reason(tmp_path: Path) -> None:
    model = small()
    state = {name: value for name, value in model.state_dict().items() if not name.startswith("expression.")}
    state |= {f"expression.0.{name}": torch.ones(8) for name in ("weight", "bias")}
    state |= {"expression.1.weight": torch.ones(4, 8), "expression.1.bias": torch.ones(4)}
    folder = model.save_pretrained(tmp_path)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"layer norm that the published ST-Net does not have.*Train the model again"):
        load_model(folder)


def test_eight_symmetries_are_averaged_outside_training(data: SectionData) -> None:
    model = small().eval()
    with torch.no_grad():
        expected = torch.stack(
            [model.expression(model.vision(model.normalize(view))) for view in symmetries(data.x)]
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
    torch.nn.init.normal_(model.expression.weight)
    assert type(model.vision).__name__ == "DenseNet121Encoder"
    loaded = load_model(model.save_pretrained(str(tmp_path)))
    with torch.no_grad():
        torch.testing.assert_close(loaded(data)["expression"], model(data)["expression"])
