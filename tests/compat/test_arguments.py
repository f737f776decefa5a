"""Arguments of the original programs, derived from their weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from _helpers.original_weights import histogene_weights
from numpy.typing import NDArray
from torch import Tensor

from hist2st_pyg import compat, load_model
from hist2st_pyg.cli import main
from hist2st_pyg.compat import convert

"""What the weights of the recorded Hist2ST do not tell."""

OPEN = {"policy": "max", "neighbors": 6, "prune": "NA"}


def test_what_the_weights_tell(golden: tuple[dict[str, NDArray[Any]], Any], checkpoint: Path) -> None:
    recorded = json.loads(str(golden[0]["config"]))
    done = convert(checkpoint, config=OPEN)
    assert done.name == "hist2st"
    assert {key: done.arguments[key] for key in recorded} == recorded
    # All that is said and agrees changes nothing.
    again = convert(checkpoint, name="hist2st", config={**recorded, "learning_rate": 1e-5, "bake": 5, "lamb": 0.5})
    assert again.arguments.items() >= recorded.items()
    assert again.assumed == {"dropout": 0.2}
    assert convert(checkpoint).assumed == {"policy": "mean", "dropout": 0.2, "neighbors": 4, "prune": "Grid"}


def test_parts_that_are_not_there() -> None:
    for change, told in (
        ({"depth1": 0}, {"depth1": 0}),
        ({"depth2": 0}, {"depth2": 0}),
        ({"zinb": 0}, {"zinb": 0}),
        ({"zinb": 0.5, "nb": True}, {"nb": True}),
        ({"zinb": 0.5, "bake": 5}, {"nb": False}),
    ):
        given = {"fig_size": 28, "channel": 16, "depth1": 1, "depth2": 1, "depth3": 1, "n_genes": 4, **change}
        torch.save(original_names(compat.Hist2ST(**given)), "weights.pth")
        done = convert("weights.pth")
        assert done.arguments.items() >= told.items(), change
        assert done.arguments["fig_size"] == 28


def original_names(model: compat.Hist2ST) -> dict[str, Tensor]:
    """Our weights by the original's names."""
    old = [
        (r"transformer.position.column.", "x_embed."), ("transformer.position.row.", "y_embed."),
        ("expression.", "gene_head."), ("vision.patch_embedding.", "patch_embedding."),
        ("vision.down.", "vit.transformer.down.0."), ("gnn.jk.lstm.", "vit.transformer.jknet.0."),
        ("likelihood.mean.", "mean.0."), ("likelihood.dispersion.", "disp.0."), ("likelihood.dropout.", "pi.0."),
        ("likelihood.log_r.", "hr."), ("likelihood.logit_p.", "hp."), ("distillation.weight.", "coef."),
        ("vision.blocks.", "vit.transformer.layer1."), (".depthwise.", ".dw."), (".pointwise.", ".pw."),
        ("transformer.blocks.", "vit.transformer.layer2."), (".attention.norm.", ".attn.norm."),
        (".attention.qkv.", ".attn.fn.to_qkv."), (".attention.out.", ".attn.fn.to_out."), (".mlp.0.", ".ff.norm."),
        (".mlp.1.", ".ff.fn.net.0."), (".mlp.4.", ".ff.fn.net.3."), ("gnn.convs.", "vit.transformer.layer3."),
        (".lin.weight", ".weight"),
    ]  # fmt: skip
    state = {}
    for name, value in model.model.state_dict().items():
        if not name.startswith(("pixel_", "target_")):
            name = name.removeprefix("streams.0.")
            for ours, theirs in old:
                name = name.replace(ours, theirs) if ours.startswith(".") or name.startswith(ours) else name
            state[name] = value
    return state


def test_histogene_s_heads_are_told_by_their_product() -> None:
    torch.save(histogene_weights(heads=2, dim_head=64, mlp_channels=24), "weights.pth")
    told = convert("weights.pth").arguments
    assert (told["heads"], told["dim_head"], told["n_layers"], told["dim"], told["mlp_dim"]) == (2, 64, 2, 16, 24)
    for given in ({"heads": 8}, {"dim_head": 16}, {"heads": 8, "dim_head": 16}):
        arguments = convert("weights.pth", config={**given, "dropout": 0.3}).model.config
        assert (arguments["heads"], arguments["dim_head"], arguments["dropout"]) == (8, 16, 0.3)
    torch.save(histogene_weights(heads=3, dim_head=8), "weights.pth")
    with pytest.raises(ValueError, match=r"to_qkv\.weight has 3 times 24 channels, which are not a multiple of 64"):
        convert("weights.pth")
    with pytest.raises(ValueError, match="not a multiple of 0"):
        convert("weights.pth", config={"heads": 0})
    assert main(["convert", "weights.pth", "-o", "model", "--heads", "3"]) == 0
    assert load_model("model").config["dim_head"] == 8


def test_a_weight_of_another_shape_is_named(weights: dict[str, Tensor]) -> None:
    for name, value, message in (
        (
            "x_embed.weight",
            torch.zeros(64, 31),
            "x_embed.weight has 31 channels, which are not",
        ),
        ("hp.bias", torch.zeros(3), r"size mismatch: hp\.bias is \[3\], but the configuration needs \[12\]"),
        ("y_embed.weight", torch.zeros(9, 32), r"y_embed\.weight is \[9, 32\], but .* needs \[64, 32\]"),
        ("vit.transformer.layer3.1.weight", torch.zeros(32, 64), r"layer3\.1\.weight is \[32, 64\]"),
        ("patch_embedding.weight", torch.zeros(16, 147), r"must have 4 dimensions, got shape \[16, 147\]"),
        ("gene_head.1.weight", None, r"The weight gene_head\.1\.weight is missing"),
        ("vit.transformer.layer3.0.weight", None, r"Missing key.*gnn\.convs\.0"),
        ("more.weight", torch.zeros(1), r"'more\.weight' does not belong to the original program"),
    ):
        changed = {**weights, name: value} if value is not None else {k: v for k, v in weights.items() if k != name}
        torch.save(changed, "weights.pth")
        with pytest.raises(ValueError, match=f"(?s)weights.pth, as a checkpoint of hist2st: .*{message}"):
            convert("weights.pth", config=OPEN)
    torch.save({**histogene_weights(), "patch_embedding.weight": torch.zeros(16, 100)}, "weights.pth")
    with pytest.raises(ValueError, match=r"\[16, 100\]: 100 is not 3 times a square"):
        convert("weights.pth")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"n_genes": 785}, "n_genes=785 does not fit the weights, which need 12"),
        ({"heads": 4}, "heads=4 does not fit the weights, which need 2"),
        ({"zinb": 0}, r"zinb=0 does not fit the weights, which need 0\.25"),
        ({"nb": False}, "nb=False does not fit the weights, which need True"),
        ({"policy": "sum"}, "Unknown aggr='sum'"),
        ({"prune": "std"}, "Unknown prune='std'"),
        ({"dropout": "x"}, "The configuration: dropout must be a number, got 'x'"),
        ({"dropout": 9}, "dropout must be at least 0 and below 1, got 9"),
        ({"zinb": None}, "The configuration: zinb must be a number, got None"),
        ({"neighbors": "4"}, "The configuration: neighbors must be a whole number, got '4'"),
        ({"policy": ["mean"]}, r"The configuration: policy must be text, got \['mean'\]"),
        ({"dim_head": 16}, "Unknown argument 'dim_head'. Choose from: bake, channel, depth1"),
    ],
)
def test_an_argument_that_does_not_fit(checkpoint: Path, config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=rf"5-Hist2ST\.ckpt, as a checkpoint of hist2st: {message}"):
        convert(checkpoint, config=config)
