"""The expression of some spots is that of the whole section, whether it is held whole or streamed."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from _helpers.preset_models import GENES, model
from torch import Tensor

from hist2st_pyg import Section
from hist2st_pyg.data.parts import SectionParts
from hist2st_pyg.data.streamed import StreamedSection, streamed_section
from hist2st_pyg.inference import blocks, predict_blocks
from hist2st_pyg.inference import section_parts as module
from hist2st_pyg.inference.running import run_model
from hist2st_pyg.inference.section_parts import expression_at

SPOTS = torch.arange(48) % 5 == 0


def parts(built: Any, section: Section) -> tuple[SectionParts, StreamedSection]:
    """The section held whole, and streamed."""
    return SectionParts(built.preprocessing.to_data(section)), streamed_section(built.preprocessing, section)


def expected(built: Any, section: Section) -> Tensor:
    """The model's own output for all spots."""
    with torch.no_grad():
        found: Tensor = built(built.preprocessing.to_data(section))["expression"]
    return found


def test_it_is_the_model_s_own_for_these_spots(cohort: list[Section]) -> None:
    built = model("graph_only", gnn="sage", gnn_layers=2)
    whole = expected(built, cohort[0])
    for section in parts(built, cohort[0]):
        found = expression_at(built, section, SPOTS, "cpu")
        assert found.shape == (10, len(GENES))
        torch.testing.assert_close(found, whole[SPOTS], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "arguments", "read"),
    [
        ("ridge", {}, 10),
        ("graph_only", {"gnn": "sage", "gnn_layers": 1}, "neighbors"),
        ("ridge", {"per_section": True}, 48),
        ("histogene", {"channels": 16, "transformer_layers": 1, "heads": 2, "dim_head": 8}, 48),
        ("depth_oracle", {}, 48),
    ],
    ids=["no neighbors", "neighbors", "standardized within the section", "attention", "counts"],
)
def test_of_a_section_in_memory_the_spots_that_these_read_are_computed(
    cohort: list[Section], monkeypatch: pytest.MonkeyPatch, name: str, arguments: dict[str, Any], read: int | str
) -> None:
    built = model(name, **arguments)
    section, _ = parts(built, cohort[0])
    if read == "neighbors":
        source, target = section.data.edge_index
        read = len(set(SPOTS.nonzero()[:, 0].tolist()) | set(source[SPOTS[target]].tolist()))
        assert 10 < read < 48
    seen: list[int] = []
    monkeypatch.setattr(module, "run_model", lambda m, data, d: seen.append(len(data.pos)) or run_model(m, data, d))
    found = expression_at(built, section, SPOTS, "cpu")
    assert seen == [read]
    torch.testing.assert_close(found, expected(built, cohort[0])[SPOTS], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "arguments"), [("depth_oracle", {}), ("position_knn", {"k": 3})])
def test_a_model_that_reads_counts_is_given_a_streamed_section_whole(
    cohort: list[Section], name: str, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    built = model(name, **arguments)
    monkeypatch.setattr(type(built), "num_hops", property(lambda _: 0))  # however little it looks around
    assert built.uses_counts
    _, streamed = parts(built, cohort[0])
    torch.testing.assert_close(expression_at(built, streamed, SPOTS, "cpu"), expected(built, cohort[0])[SPOTS])


@pytest.fixture
def in_small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "predict_blocks", partial(predict_blocks, block=8))


@pytest.mark.usefixtures("in_small_blocks")
def test_a_streamed_section_is_read_in_blocks_and_patches_of_these_spots_alone(
    cohort: list[Section], monkeypatch: pytest.MonkeyPatch
) -> None:
    built = model("ridge")  # reads no neighbors
    _, streamed = parts(built, cohort[0])
    cut: list[int] = []
    patches = streamed.patches
    monkeypatch.setattr(streamed, "patches", lambda spots: cut.extend(spots) or patches(spots))
    monkeypatch.setattr(streamed, "whole", lambda: pytest.fail("the section is read whole"))
    found = expression_at(built, streamed, SPOTS, "cpu")
    assert sorted(cut) == SPOTS.nonzero()[:, 0].tolist()
    torch.testing.assert_close(found, expected(built, cohort[0])[SPOTS], rtol=1e-5, atol=1e-5)


@pytest.mark.usefixtures("in_small_blocks")
def test_a_section_in_blocks_is_not_warned_of_at_each_epoch_anew(
    cohort: list[Section], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(blocks, "WHOLE_SECTION_SPOTS", 47)
    built = model("histogene", channels=16, transformer_layers=1, heads=2, dim_head=8)
    _, streamed = parts(built, cohort[0])
    noted = predict_blocks(built, streamed.data, streamed.patches, block=8)
    assert len(noted.notes) == len(caplog.messages) == 1
    caplog.clear()
    expression_at(built, streamed, SPOTS, "cpu")
    assert caplog.messages == []
