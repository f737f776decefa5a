from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from hist2st_pyg import Hist2ST, Preprocessing, Section, load_model
from hist2st_pyg.cli import main
from hist2st_pyg.data.preprocessing import SectionData
from hist2st_pyg.explain import Explanation, explain_spot
from hist2st_pyg.models import MODELS
from hist2st_pyg.utils.file_names import file_name

GENES = tuple(f"GENE{i}" for i in range(1, 4))


def save(name: str, **preprocessing: Any) -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = {"vision": "cnn", "vision_kwargs": {"channels": [8], "out_channels": 8}}
    if "embedding" in preprocessing:
        options = {"vision": "precomputed", "vision_kwargs": {"embedding_channels": 5, "out_channels": 8}}
    model = Hist2ST(
        len(GENES), patch_size=16, n_scales=1 if "embedding" in preprocessing else 2, transformer_layers=0,
        position="none", gnn="sage", gnn_layers=1, gnn_norm="layer", gnn_residual=True, jk="last", likelihood=None,
        **options,
    )  # fmt: skip
    model.preprocessing = Preprocessing(
        GENES, **{"patch_size": 16, "scales": (1.0, 3.0), "pitch": 64.0, **preprocessing}
    )
    model.save_pretrained(name)


@pytest.fixture
def files(cohort: list[Section]) -> Section:
    """A model, an image and its spots in the folder of the test."""
    section = cohort[2]
    save("model")
    image = section.require_image()
    with image.open() as region:
        Image.fromarray(region(0, 0, *image.size)).save("slide.png")
    lines = [f"s{i}/a,{x},{y}" for i, (x, y) in enumerate(section.pos)]
    Path("spots.csv").write_text("\n".join(["name,x,y", *lines]))
    return section


def by_hand(section: Section, spot: int, gene: str, **options: Any) -> Explanation:
    model = load_model("model")
    assert model.preprocessing is not None
    data: SectionData = model.preprocessing.input_data(section)
    return explain_spot(model, data, spot, gene, **options)


def test_named_spots(files: Section, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["explain", "model", "slide.png", "--spots", "spots.csv", "--gene", "GENE2", "--gene", "GENE1"]
    arguments += ["--spot", "s7/a", "--spot", "s20/a", "--figures", "pictures", "-o", "out/numbers.json"]
    arguments += ["--pixels", "2", "--steps", "8", "--device", "cpu"]
    assert main(arguments) == 0
    pictures = {path.name for path in Path("pictures").iterdir()}
    assert pictures == {
        f"{file_name('slide', gene, spot)}.png" for gene in ("GENE2", "GENE1") for spot in ("s7/a", "s20/a")
    }
    with Image.open(f"pictures/{file_name('slide', 'GENE2', 's7/a')}.png") as picture:
        assert min(picture.size) > 500
        assert np.asarray(picture.convert("RGB")).std() > 20
    found = json.loads(Path("out/numbers.json").read_text())
    assert [(e["gene"], e["spot"]) for e in found] == [
        ("GENE2", "s7/a"), ("GENE2", "s20/a"), ("GENE1", "s7/a"), ("GENE1", "s20/a"),
    ]  # fmt: skip
    expected = by_hand(files, 20, "GENE2", pixels=2, steps=8)
    numbers = found[1]
    assert numbers["predicted"] == pytest.approx(expected.predicted, abs=1e-5)
    assert numbers["measured"] is None
    assert numbers["reference"] == pytest.approx(expected.reference, abs=1e-5)
    assert [n["spot"] for n in numbers["neighbors"]] == [f"s{i}/a" for i in expected.neighbors]
    np.testing.assert_allclose([n["importance"] for n in numbers["neighbors"]], expected.importance, atol=1e-5)
    own = numbers["neighbors"][0]
    np.testing.assert_allclose([own["x"], own["y"]], files.pos[20])
    assert [[e["source"], e["target"]] for e in numbers["edges"]] == [
        [f"s{source}/a", f"s{target}/a"] for source, target in expected.edges.T
    ]
    np.testing.assert_allclose([e["importance"] for e in numbers["edges"]], expected.edge_importance, atol=1e-5)
    for written, pixels in zip(numbers["pixels"], expected.pixels, strict=True):
        assert written["spot"] == f"s{pixels.spot}/a"
        assert written["reference"] == pytest.approx(pixels.reference, abs=1e-5)
        fields = written["fields_of_view"]
        np.testing.assert_allclose([f["adds"] for f in fields], pixels.attribution.sum((1, 2)), atol=1e-4)
        np.testing.assert_allclose([f["raises"] + f["lowers"] for f in fields], [f["adds"] for f in fields], atol=1e-6)
        assert all(f["lowers"] <= 0 <= f["raises"] for f in fields)
    out = capsys.readouterr().out
    assert f"GENE2 at s20/a: predicted {expected.predicted:.2f}. Picture: pictures/slide_GENE2_s20_a~" in out
    assert "Numbers: out/numbers.json" in out


def test_the_highest_spots_of_a_grid(files: Section, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["explain", "model", "slide.png", "--gene", "GENE2", "--figures", "pictures", "-o", "numbers.json"]
    assert main([*arguments, "--pixels", "0"]) == 0
    found = json.loads(Path("numbers.json").read_text())
    assert len(found) == len(list(Path("pictures").iterdir())) == 3
    values = [e["predicted"] for e in found]
    assert values == sorted(values, reverse=True)
    assert [e["pixels"] for e in found] == [[], [], []]
    wide = ["--top", "1", "--pitch", "100", "--um_per_pixel", "3", "--steps", "2"]
    assert main([*arguments[:-1], "wide.json", *wide]) == 0
    (other,) = json.loads(Path("wide.json").read_text())
    x, y = ([n[key] for n in other["neighbors"]] for key in ("x", "y"))
    np.testing.assert_allclose(np.hypot(x[1] - x[0], y[1] - y[0]), 100, rtol=0.01)
    assert "Picture: pictures/" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--gene", "GENE22"], "The gene 'GENE22' is not in the model's panel of 3 genes. Did you mean GENE2"),
        (["--gene", "GENE1", "--spot", "s77/a"], "There is no spot 's77/a' among 48. Did you mean s7/a"),
        (["--gene", "GENE1", "--top", "0"], "top must be 1 spot per gene or more, got 0."),
    ],
)
def test_errors_are_one_line(
    files: Section, change: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", "model", "slide.png", "--spots", "spots.csv", "--figures", "p", *change]) == 2
    error = capsys.readouterr().err
    assert f"hist2st explain: {message}" in error
    assert "Traceback" not in error
    assert not Path("p").exists()


def test_models_that_cannot_be_explained(files: Section, capsys: pytest.CaptureFixture[str]) -> None:
    save("embedded", embedding="embedding", scales=(1.0,))
    rest = ["slide.png", "--gene", "GENE1", "--figures", "p"]
    assert main(["explain", "embedded", *rest]) == 2
    assert "The model reads precomputed embeddings (obsm['embedding']), not an image" in capsys.readouterr().err
    ridge = MODELS["ridge"](len(GENES), patch_size=16)
    ridge.preprocessing = Preprocessing(GENES, patch_size=16, pitch=64.0)
    ridge.save_pretrained("ridge")
    assert main(["explain", "ridge", *rest]) == 2
    assert "Ridge cannot be explained: this needs a vision stage" in capsys.readouterr().err


def test_what_has_to_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, missing in ((["--figures", "p"], "gene"), (["--gene", "GENE1"], "figures")):
        with pytest.raises(SystemExit, match="2"):
            main(["explain", "model", "slide.png", *arguments])
        assert missing in capsys.readouterr().err
