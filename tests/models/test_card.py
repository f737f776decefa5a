from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from _helpers.words import words
from huggingface_hub import ModelCard, ModelCardData
from PIL import Image
from torch_geometric.nn import SAGEConv

import hist2st_pyg as h
from hist2st_pyg import Hist2ST, Preprocessing, Section
from hist2st_pyg.models import ExpressionModel, HisToGene, STNet
from hist2st_pyg.models.card import VALIDATION, edited, run_facts
from hist2st_pyg.models.simple import DepthOracle, PositionKNN
from hist2st_pyg.section import SectionRecord
from hist2st_pyg.training import preset_config

GENES = tuple(f"GENE{i}" for i in range(1, 13))
A1, A2, B1, C1 = (SectionRecord(name, name[0], "dataset") for name in ("A1", "A2", "B1", "C1"))
SECTIONS = {"train": [A1, A2, B1], "val": [C1]}


def build(**options: Any) -> Hist2ST:
    torch.manual_seed(0)
    arguments = {"vision": "cnn", "vision_kwargs": {"channels": (8,), "out_channels": 16}, "gnn": "sage", **options}
    model = Hist2ST(len(GENES), patch_size=14, transformer_layers=0, gnn_layers=1, **arguments).eval()
    model.preprocessing = Preprocessing(
        GENES, patch_size=14, patch_pitch=1.0, k=6, max_distance=2, stain="macenko", pitch=91.25
    )
    model.training_sections = SECTIONS
    return model


def card_of(model: ExpressionModel, folder: Path, **kwargs: Any) -> str:
    return (model.save_pretrained(folder, model_card_kwargs=kwargs) / "README.md").read_text()


def part(card: str, heading: str) -> str:
    """The text under a heading."""
    match = re.search(rf"^## {heading}\n\n(.*?)(?=\n\n## |\n\n<!--|\Z)", card, re.S | re.M)
    assert match is not None, heading
    return match[1]


def test_the_hub_s_own_reader_understands_it(tmp_path: Path) -> None:
    card_of(build(), tmp_path, license="mit", metadata={"datasets": ["lab/sections"], "license_link": "LICENSE"})
    data = ModelCard.load(tmp_path / "README.md").data
    assert isinstance(data, ModelCardData)
    assert (data.library_name, data.license, data.datasets) == ("hist2st_pyg", "mit", ["lab/sections"])
    assert data.license_link == "LICENSE"
    assert {"hist2st", "spatial-transcriptomics", "histology"} <= set(data.tags or [])
    assert data.pipeline_tag is None
    # What the hub's library would write is what is there.
    assert ModelCardData(**data.to_dict()).to_dict() == data.to_dict()


def test_no_license_is_claimed(tmp_path: Path) -> None:
    card_of(build(), tmp_path)
    assert ModelCard.load(tmp_path / "README.md").data.license is None


def test_what_the_card_says(tmp_path: Path) -> None:
    model = build()
    facts = {"title": "Breast", "data": "HER2+ sections.", "split": "By patient.", "notes": "Try **it**."}
    card = card_of(model, tmp_path, metrics={"PCC": 0.123456, "level": "high"}, **facts)
    assert "\n# Breast\n\nSpatial gene expression of 12 genes from H&E histology" in card
    assert part(card, "Notes") == "Try **it**."
    assert part(card, "Training data") == (
        "HER2+ sections.\n\nTrained on 3 sections: `A1`, `A2` of patient `A`; `B1` of patient `B`.\n\n"
        "Validated on 1 section: `C1` of patient `C`.\n\nThe data set names the patients."
    )
    assert part(card, "Split") == "By patient."
    assert part(card, "Results").endswith("| PCC | 0.1235 |\n| level | high |")
    genes = part(card, "Genes")
    assert genes.startswith("12 genes, in this order: `GENE1`, ")
    assert "`GENE10`, ... (all in `config.json`)" in words(genes)
    assert "GENE11" not in genes
    assert hashlib.sha256("\n".join(GENES).encode()).hexdigest() in genes
    inputs = part(card, "Input and output")
    for row in (
        "| patches | 14 × 14 pixels around each spot, RGB, 0 to 255 |",
        "| field of view | 1 × the distance of neighboring spots |",
        "| stains | normalized: `macenko` |",
        "| graph | 6 nearest spots by pixel position, at most 2 spot distances away |",
        "| training spots | 91.25 pixels apart |",
        "| output | log10(1 + 10,000 · counts / the panel's counts of the spot) |",
    ):
        assert row in inputs
    assert f"`hist2st`, {sum(p.numel() for p in model.parameters()):,} parameters" in part(card, "Model")
    assert '- `gnn`: `"sage"`' in part(card, "Model")
    limits = part(card, "Intended use and limits")
    assert all(word in limits for word in ("not a medical device", "not for diagnosis", "stains", "scanners", "organs"))


@pytest.mark.parametrize(
    ("preprocessing", "row"),
    [
        ({"patch_um": 100.0, "patch_pitch": None}, "| field of view | 100 µm, so the µm per pixel"),
        ({"patch_pitch": None}, "| field of view | 14 image pixels at any resolution |"),
        ({"scales": (1.0, 3.5)}, "spots; times 1, 3.5 |"),
        ({"transpose_patches": True}, "0 to 255, the axes swapped as in the original programs |"),
        ({"stain": "none"}, "| stains | unchanged |"),
        ({"um_per_pixel": 0.51}, "| training images | 0.51 µm per pixel |"),
        ({"normalize_by": "all"}, "counts / all genes' counts of the spot"),
        ({"coord_type": "array"}, "by array position, at most 2 array steps away |"),
        ({"max_distance": None, "k": 1}, "| graph | 1 nearest spot by pixel position |"),
    ],
)
def test_how_the_recipe_is_told(tmp_path: Path, preprocessing: dict[str, Any], row: str) -> None:
    model = build()
    assert model.preprocessing is not None
    model.preprocessing = replace(model.preprocessing, **preprocessing)
    assert row in part(card_of(model, tmp_path), "Input and output")


def test_a_model_without_a_graph_has_none_in_its_card(tmp_path: Path) -> None:
    model = STNet(12, patch_size=14, vision="cnn", vision_kwargs={"channels": (8,), "out_channels": 16})
    model.preprocessing = build().preprocessing
    assert "| graph |" not in card_of(model, tmp_path)


@pytest.mark.parametrize(
    ("sections", "text"),
    [
        ({}, "Not recorded."),
        ({"train": [A1]}, "Not recorded."),
        ({"train": [A1], "val": []}, "No validation sections; parts of the training sections may have been held out."),
        ({"train": [A1], "val": [A2]}, "Validation sections share patients with training: `A`."),
        ({"train": [A1], "val": [B1]}, "Validation sections are of other patients than training sections."),
        (
            {"train": [SectionRecord("X")], "val": [SectionRecord("Y")]},
            "It is unknown whether validation sections share patients with training, because the patients of `X`, `Y` "
            "are unknown.",
        ),
        (
            {"train": [SectionRecord("X", "X", "each_section")], "val": [B1]},
            "Validation sections are of other patients than training sections, as the user declared.",
        ),
    ],
)
def test_the_split_is_told_from_the_sections(
    tmp_path: Path, sections: dict[str, list[SectionRecord]], text: str
) -> None:
    model = build()
    model.training_sections = sections
    card = card_of(model, tmp_path)
    assert part(card, "Split") == text
    assert ("not recorded" in part(card, "Training data")) is (not sections)
    assert part(card, "Results").startswith("No results were recorded")


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (SectionRecord("X", "m", "dataset"), "`X` of patient `m`.\n\nThe data set names the patients."),
        (SectionRecord("X", "m", "given"), "`X` of patient `m`.\n\nThe user named the patients."),
        (
            SectionRecord("X", "X", "each_section"),
            "`X` of patient `X`.\n\nThe data name no patients; the user declared each section a separate patient.",
        ),
        (SectionRecord("X"), "`X` of unknown patients.\n\nThe patients are not known."),
        (
            SectionRecord("X", "m", "unrecorded"),
            "`X` of patient `m`.\n\nThe source of the patients was not recorded.",
        ),
    ],
)
def test_the_card_says_how_patients_are_known(tmp_path: Path, record: SectionRecord, text: str) -> None:
    model = build()
    model.training_sections = {"train": [record], "val": []}
    assert part(card_of(model, tmp_path), "Training data") == f"Trained on 1 section: {text}"
    model.training_sections["train"].append(SectionRecord("Z"))
    if record.patient is not None:
        assert part(card_of(model, tmp_path / "two"), "Training data").endswith("The patients are not known (Z).")


def test_weights_of_others_bring_their_license(tmp_path: Path) -> None:
    model = build()
    assert "license also applies" not in card_of(model, tmp_path)
    model.streams[0].vision.origin = "owner/encoder (Hugging Face hub)"  # type: ignore[assignment]
    assert "weights (owner/encoder (Hugging Face hub)), whose license also applies" in words(card_of(model, tmp_path))


def test_long_arguments_stay_in_the_configuration(tmp_path: Path) -> None:
    card = card_of(build(vision_kwargs={"channels": (8,) * 40, "out_channels": 16}), tmp_path)
    assert "- `vision_kwargs`: see `config.json`" in card


def test_an_unknown_fact_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="terms"):
        build().save_pretrained(tmp_path, model_card_kwargs={"terms": "mit"})
    assert list(tmp_path.iterdir()) == []


# How to load it.


class Own(HisToGene):
    """A class that is no key of MODELS."""


def code(card: str) -> str:
    (block,) = re.findall(r"```python\n(.*?)```", card, re.S)
    return str(block)


def test_its_code_runs(tmp_path: Path) -> None:
    model = build()
    block = code(card_of(model, tmp_path / "breast"))
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (300, 300, 3), dtype=np.uint8)).save("IMAGE.png")
    rows = [f"{x},{y}" for x in (50, 150, 250) for y in (50, 150, 250)]
    Path("SPOTS.csv").write_text("\n".join(["x,y", *rows]))
    names: dict[str, Any] = {}
    exec(block, names)
    assert names["adata"].shape == (9, 12)
    assert list(names["adata"].var_names) == list(GENES)
    expected = h.predict(model, "IMAGE.png", "SPOTS.csv")
    np.testing.assert_array_equal(names["adata"].X, expected.X)


def test_code_of_models_that_need_more(tmp_path: Path, cohort: list[Section]) -> None:
    custom = code(card := card_of(build(gnn=SAGEConv), tmp_path / "custom"))
    assert 'h.load_model("custom", gnn=SAGEConv)' in custom
    assert "`gnn` is `torch_geometric.nn.conv.sage_conv.SAGEConv`, which the folder lacks" in words(card)
    names: dict[str, Any] = {"SAGEConv": SAGEConv}
    exec(custom.partition("adata")[0], names)
    assert type(names["model"]) is Hist2ST

    card = card_of(Own(12, patch_size=14, channels=16, transformer_layers=0), tmp_path / "own")
    assert 'model = Own.from_pretrained("own")' in code(card)
    assert "test_card.Own`, which the folder lacks" in words(card)

    genes = tuple(cohort[0].adata.var_names)
    oracle = DepthOracle(len(genes))
    for other, text in (
        (oracle, "a diagnostic of data sets"),
        (PositionKNN(len(genes)), "it fills gaps of a measurement"),
    ):
        other.preprocessing = Preprocessing(genes, patch_size=14)
        assert text in words(card := card_of(other, tmp_path / "counts"))
        assert "h.predict_section(model, section)" in code(card)
    embedded = build()
    assert embedded.preprocessing is not None
    embedded.preprocessing = replace(embedded.preprocessing, embedding="phikon")
    card = card_of(embedded, tmp_path / "embedded")
    assert "h.predict_section(model, section)" in code(card)
    assert "| embeddings | `obsm['phikon']` of a section, instead of an image |" in card
    bare = build()
    bare.preprocessing = None
    card = card_of(bare, tmp_path / "bare")
    assert "predict" not in code(card)
    assert "its genes are unknown" in part(card, "Genes")
    assert part(card, "Input and output") == "Not recorded."


# A card that somebody wrote.


@pytest.mark.parametrize(
    "change",
    [
        lambda card: card.replace("For research only.", "For fun."),
        lambda card: card.replace("library_name:", "license: mit\nlibrary_name:"),
        lambda card: card + "\nMore.\n",
        lambda card: "My own card.\n",
    ],
    ids=["text", "yaml", "end", "own"],
)
def test_a_card_that_was_edited_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture, change: Any) -> None:
    path = tmp_path / "README.md"
    build().save_pretrained(tmp_path)
    assert not edited(path)
    path.write_text(text := change(path.read_text()))
    assert edited(path)
    build().save_pretrained(tmp_path)
    assert path.read_text() == text
    assert "README.md was edited and is kept; overwrite_card=True overwrites it." in caplog.text
    build().save_pretrained(tmp_path, overwrite_card=True)
    assert not edited(path)


def test_a_card_that_was_not_is_written_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "README.md"
    assert not edited(path)
    assert "license: mit" in card_of(build(), tmp_path, license="mit")
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))  # other line ends are no change
    assert "license: cc0-1.0" in card_of(build(), tmp_path, license="cc0-1.0")
    assert not caplog.records


# Runs.


def test_a_run_knows_facts_for_the_card(tmp_path: Path, cohort: list[Section]) -> None:
    run = h.train(
        preset_config(
            "small",
            data={"name": "synthetic", "root": "/secret/place", "test": ["B1"], "n_genes": 5, "patch_size": 14,
                  "scales": [1.0], "stain": "none", "val_share": 0.3},
            model={"vision_kwargs": {"channels": [8], "out_channels": 16}, "color_stream": False},
            training={"epochs": 1}, output=str(tmp_path / "run"), wandb="off",
        ),
        cohort,
    )  # fmt: skip
    facts = run_facts(run)
    summary = json.loads((run / "summary.json").read_text())
    assert facts["metrics"] == {VALIDATION: summary["val_pcc"]}
    card = card_of(h.load_model(run), tmp_path / "shared", **facts)
    assert f"| {summary['val_pcc']:.4g} |" in part(card, "Results")
    assert "Sections of `synthetic`." in part(card, "Training data")
    split = "Squares of the training sections were held out for validation. Kept out for testing: `B1`."
    assert part(card, "Split") == split
    assert "secret" not in card
    with pytest.raises(FileNotFoundError, match=r"summary\.json"):
        run_facts(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "summary.json is not JSON"),
        ("[1]", "summary.json is not the summary of a run"),
        ('{"config": {}}', "summary.json is not the summary of a run: KeyError: 'data'"),
        (
            '{"config": {"data": {"name": "x"}}, "sections": {}, "val_pcc": "x"}',
            "summary.json is not the summary of a ru",
        ),
    ],
)
def test_a_summary_of_something_else_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "summary.json").write_text(content)
    with pytest.raises(ValueError, match=message):
        run_facts(tmp_path)


def test_a_card_in_another_encoding_was_written_by_hand(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_bytes("Modèle".encode("latin-1"))
    assert edited(tmp_path / "README.md")
