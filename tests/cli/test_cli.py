from __future__ import annotations

import json
from pathlib import Path

import anndata
import numpy as np
import pytest
import yaml
from _helpers.small_run import CONFIG
from PIL import Image

from hist2st_pyg import Section
from hist2st_pyg.cli import COMMANDS, main, train


def test_preset_then_file_then_command_line(run: Path) -> None:
    values = yaml.safe_load((run / "config.yaml").read_text())
    assert values["training"]["epochs"] == 1  # command line
    assert values["model"]["gnn"] == "gat"
    assert values["training"]["lr"] == 0.01  # file
    assert values["data"]["k"] == 5
    assert values["model"]["gnn_norm"] == "layer"  # preset
    assert values["training"]["augment"]["symmetries"] is True
    assert values["model"]["heads"] == 16  # default


def test_the_saved_configuration_trains_again(run: Path) -> None:
    assert main(["train", str(run / "config.yaml"), "--output", "again"]) == 0
    first, second = (yaml.safe_load(Path(name, "config.yaml").read_text()) for name in ("run", "again"))
    assert {**first, "output": ""} == {**second, "output": ""}


def test_predict_and_info(run: Path, cohort: list[Section], capsys: pytest.CaptureFixture[str]) -> None:
    image = cohort[2].require_image()
    with image.open() as region:
        Image.fromarray(region(0, 0, *image.size)).save("slide.png")
    lines = [f"s{i},{x},{y}" for i, (x, y) in enumerate(cohort[2].pos)]
    Path("spots.csv").write_text("\n".join(["name,x,y", *lines]))
    assert (
        main(["predict", str(run), "slide.png", "--spots", "spots.csv", "-o", "a.h5ad", "--figures", "pictures"]) == 0
    )
    out = anndata.read_h5ad("a.h5ad")
    np.testing.assert_array_equal(out.obsm["spatial"], cohort[2].pos)
    assert out.obs_names[0] == "s0"
    assert main(["predict", str(run / "last.ckpt"), "slide.png", "-o", "b.h5ad", "--figures", "pictures"]) == 0
    assert {path.name for path in Path("pictures").iterdir()} == {"slide_predicted.png", "slide_tissue.png"}
    assert main(["predict", str(run), "slide.png", "--spots", "spots.csv", "-o", "a.geojson"]) == 0
    (first, *_) = json.loads(Path("a.geojson").read_text())["features"]
    assert first["properties"]["measurements"] == pytest.approx(out.to_df().loc["s0"].to_dict(), rel=1e-4)
    genes = list(out.var_names[:2])
    options = ["--pitch", "90", "--um_per_pixel", "3", "--genes", f"[{', '.join(genes)}]", "--device", "cpu"]
    assert main(["predict", str(run / "model"), "slide.png", "-o", "c.h5ad", "--figures", "chosen", *options]) == 0
    grid = anndata.read_h5ad("c.h5ad")
    assert grid.uns["hist2st"]["um_per_pixel"] == 3
    assert grid.n_obs < anndata.read_h5ad("b.h5ad").n_obs  # a wider grid
    capsys.readouterr()
    assert main(["info", str(run)]) == 0
    info = json.loads(capsys.readouterr().out)
    assert info["arguments"]["gnn"] == "gat"
    assert info["preprocessing"]["genes"].startswith("8 genes: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "--model.gnnn", "gat"], "gnnn"),
        (["train", "--training.learning_rate", "1"], "learning_rate"),
        (["train", "--training.epochs", "many"], "epochs"),
        (["fly"], "fly"),
    ],
)
def test_unknown_keys_and_wrong_types(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


def test_an_unknown_key_in_the_file(capsys: pytest.CaptureFixture[str]) -> None:
    Path("wrong.yaml").write_text("data: {neighbors: 4}\n")
    with pytest.raises(SystemExit) as exit_:
        main(["train", "wrong.yaml"])
    assert exit_.value.code == 2
    assert "neighbors" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["predict", "nowhere", "a.png", "-o", "x.h5ad"],
            "hist2st predict: There is no model at nowhere, and it is not",
        ),
        (["evaluate", "nowhere"], "hist2st evaluate: There is no"),
        (["info", "nowhere"], "hist2st info: There is no model at nowhere, and it is not an id"),
        (["train", "--data.test", "[Z9]", "--wandb", "off", "--output", "x"], "There is no section 'Z9'"),
        (["train", "--training.epochs", "0", "--output", "x"], "training.epochs must be at least 1, got 0"),
        (["train", "--data.name", "her3st", "--output", "x"], "her3st"),
        (["train", "--accelerator", "nonsense", "--wandb", "off", "--output", "x"], "nonsense"),
        (["train", "--preset", "huge"], "Unknown preset='huge'. Choose one of: paper, small."),
        (
            ["train", "--model.gnn", "gatt", "--data.n_genes", "9", "--wandb", "off", "--output", "x"],
            "Unknown gnn='gatt'. Choose one of: gat,",
        ),
    ],
)
def test_user_errors_are_one_line(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_a_run_in_the_way(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "config.yaml", "--output", "run"]) == 2
    assert "run holds a run; choose another --output" in capsys.readouterr().err
    restore_rows = ["train", "config.yaml", "--output", "run", "--model.gnn", "gat", "--resume", "true"]
    assert main([*restore_rows, "--training.epochs", "1"]) == 0  # it has ended
    assert main(restore_rows) == 2
    # A cosine that has come to zero would rise again.
    assert "run/config.yaml is of another run: training.epochs is 1 there and 2 now" in capsys.readouterr().err
    assert json.loads((run / "summary.json").read_text())["epochs"] == 1


def test_part_of_a_nested_value(tmp_path: Path) -> None:
    text = CONFIG.replace("{epochs: 2, lr: 0.01}", "{epochs: 1, augment: {jitter: 0.3}}")
    (tmp_path / "config.yaml").write_text(text)
    options = ["--training.view_augmentation.grayscale", "0.7", "--model.vision_kwargs.dropout", "0.5"]
    assert main(["train", "config.yaml", "--output", "run", *options]) == 0
    values = yaml.safe_load(Path("run/config.yaml").read_text())
    augment = values["training"]["augment"]
    assert (augment["jitter"], augment["symmetries"], augment["rotation"]) == (0.3, True, 0)  # the rest is the preset's
    assert (
        values["training"]["view_augmentation"]["grayscale"],
        values["training"]["view_augmentation"]["rotation"],
    ) == (0.7, 90)
    assert values["model"]["vision_kwargs"] == {"channels": [8], "out_channels": 16, "dropout": 0.5}


def test_the_paper_s_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    from jsonargparse import ArgumentParser

    parser = ArgumentParser()
    train.build(parser, ["--preset", "paper"])
    values = parser.parse_args(["--preset", "paper"])
    assert (values.data.max_distance, values.training.n_views, values.model.gnn) == (2.0, 5, "hist2st")


def test_help_of_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    out = capsys.readouterr().out
    assert all(command in out for command in COMMANDS)


def test_null_on_the_command_line_is_not_a_value(capsys: pytest.CaptureFixture[str]) -> None:
    def printed(*arguments: str) -> dict[str, object]:
        with pytest.raises(SystemExit, match="0"):
            main(["train", *arguments, "--print_config"])
        config: dict[str, object] = yaml.safe_load(capsys.readouterr().out)
        return config

    plain = printed()
    assert printed("--data.patch_um=null", "--data.embedding", "null") == plain
    assert printed("--data.patch_um=100") != plain
