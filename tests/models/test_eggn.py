from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from _helpers.programs import recorded
from torch import Tensor
from torch_geometric.data import Batch

from hist2st_pyg import Section, to_data
from hist2st_pyg.data import SectionData
from hist2st_pyg.models.eggn import EXEMPLAR_NEIGHBORS, LEAST_STEPS_APART, Eggn
from hist2st_pyg.nn.statistics import patch_statistics
from hist2st_pyg.section import SectionRecord

P, G = 14, 6


@pytest.fixture(scope="module")
def golden() -> dict[str, Tensor]:
    return recorded("eggn")


@pytest.fixture(scope="module")
def sections(cohort: list[Section]) -> list[SectionData]:
    return [to_data(section, list(section.adata.var_names)[:G], patch_size=P) for section in cohort]


def small(train: list[SectionData], **options: Any) -> Eggn:
    torch.manual_seed(0)
    model = Eggn(G, patch_size=P, **{"channels": 8, "layers": 2, "k": 2, **options})
    model.training_sections = {"train": [SectionRecord(data.section) for data in train]}
    model.remember(train)
    return model.eval()


BRIDGE = {
    "exemplar": "lin_src", "spot": "lin_dst", "expression": "lin_y", "score": "att.1", "gate": "score.1",
    "to_exemplar": "out_src", "to_spot": "out_dist",
}  # fmt: skip


def renamed(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The original's weights under our names. A bias before a linear map is part of the bias of that map."""
    whole = {
        "of_spot": "pretransform_win", "of_exemplar": "pretransform_exp", "mix": "post_transform.1",
        "head": "pool.head", "expression": "lin",
    }  # fmt: skip
    names = {f"{own}.{part}": f"{theirs}.{part}" for own, theirs in whole.items() for part in ("weight", "bias")}
    names["share"] = "pool.lam"
    for layer in range(2):
        for own, theirs in (("near", "window__near__window"), ("close", "example__close__example")):
            for part in ("lin_l.weight", "lin_l.bias", "lin_r.weight"):
                names[f"layers.{layer}.{own}.{part}"] = f"convs.{layer}.convs.{theirs}.{part}"
        bridge = f"convs.{layer}.convs.example__refer__window"
        for own, theirs in BRIDGE.items():
            for part in ("weight", "bias"):
                names[f"layers.{layer}.bridge.{own}.{part}"] = f"{bridge}.{theirs}.{part}"
        for end in ("src", "dist"):
            out = f"{bridge}.out_{end}"
            state = {
                **state,
                f"{out}.bias": state[f"{out}.bias"] + state[f"{out}.weight"] @ state[f"{bridge}.bias_{end}"],
            }
    return {own: state[theirs] for own, theirs in names.items() if theirs in state}


@torch.no_grad()
def test_the_graph_network_is_the_original_s(golden: dict[str, Tensor]) -> None:
    state = renamed({name.removeprefix("state."): v for name, v in golden.items() if name.startswith("state.")})
    options = {"vision": "linear", "vision_kwargs": {"out_channels": 5}}
    model = Eggn(3, patch_size=P, channels=8, layers=2, **options).eval()
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert unexpected == []
    assert {name.partition(".")[0] for name in missing} & {"layers", "head", "share", "mix", "expression"} == set()
    # What the original embeds as the exemplars' expression are hidden channels, which are recorded.
    model.of_expression = torch.nn.Identity()
    edges = (golden["in.near"], golden["in.refer"], golden["in.close"])
    embedding = model.relate(golden["in.window"], golden["in.example"], golden["hidden.example_y"], *edges)
    torch.testing.assert_close(model.expression(embedding), golden["out"], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_exemplars_are_the_kept_spots_nearest_by_standardized_statistics(sections: list[SectionData]) -> None:
    """Spot by spot in numpy: L1 to the kept spots, Euclidean among the exemplars."""
    model = small(sections[:2])
    kept = torch.cat([patch_statistics(data.x) for data in sections[:2]]).double().numpy()
    y = torch.cat([data.y for data in sections[:2]]).double().numpy()
    mean, std = kept.mean(0), kept.std(0)
    seen = (patch_statistics(sections[2].x).double().numpy() - mean) / std
    kept = (kept - mean) / std
    which, refer, close = model.exemplars(torch.from_numpy(seen).float(), sections[2])
    pairs = {(int(which[source]), int(target)) for source, target in refer.T}
    assert pairs == {
        (int(i), spot) for spot, x in enumerate(seen) for i in np.argsort(np.abs(kept - x).sum(1), kind="stable")[:2]
    }
    assert which.tolist() == sorted({i for i, _ in pairs})
    known = np.concatenate([kept, y], axis=1)[which.numpy()]
    expected = set()
    for target, x in enumerate(known):
        apart = np.linalg.norm(known - x, axis=1)
        apart[target] = np.inf
        expected |= {(int(source), target) for source in np.argsort(apart, kind="stable")[:EXEMPLAR_NEIGHBORS]}
    assert {(int(source), int(target)) for source, target in close.T} == expected


def test_in_training_no_exemplar_is_of_the_spot_s_own_section(sections: list[SectionData]) -> None:
    model = small(sections[:2], k=3)
    batch = Batch.from_data_list(sections[:2])
    x = (model.encode(model.vision, batch) - model.feature_mean) / model.feature_std
    which, refer, _ = model.train().exemplars(x, batch)
    of = (which[refer[0]] >= len(sections[0].y)).long()
    assert torch.equal(of, 1 - batch.batch[refer[1]])
    assert len(refer[0]) == 3 * len(batch.y)
    which, refer, _ = model.eval().exemplars(x, batch)
    assert (which[refer[0]] == refer[1]).sum() == len(batch.y)  # each is nearest to itself


def test_in_training_on_one_section_no_exemplar_is_near_the_spot(sections: list[SectionData]) -> None:
    model = small(sections[:1]).train()
    x = (model.encode(model.vision, sections[0]) - model.feature_mean) / model.feature_std
    which, refer, _ = model.exemplars(x, sections[0])
    steps = (sections[0].grid[which[refer[0]]] - sections[0].grid[refer[1]]).abs().amax(1)
    assert int(steps.min()) >= LEAST_STEPS_APART
    assert len(refer[0]) == 2 * len(x)
    few = sections[0].subgraph(torch.arange(2))  # all kept spots are near
    model = small([few]).train()
    out = model(few)["expression"]
    assert out.shape == (2, G)
    assert bool(out.isfinite().all())


def test_the_encoder_is_not_trained(sections: list[SectionData]) -> None:
    model = small(sections[:2], vision="cnn", vision_kwargs={"channels": (4,), "out_channels": 8, "dropout": 0.5})
    before = {name: value.clone() for name, value in model.vision.state_dict().items()}
    model.train()
    assert not model.vision.training
    batch = Batch.from_data_list(sections[:2])
    model(batch)["expression"].square().mean().backward()
    assert {name for name, p in model.named_parameters() if p.grad is None} == {
        f"vision.{name}" for name, _ in model.vision.named_parameters()
    }
    assert all(torch.equal(value, before[name]) for name, value in model.vision.state_dict().items())


@torch.no_grad()
def test_a_far_spot_is_read_through_a_shared_exemplar(sections: list[SectionData]) -> None:
    model = small(sections[:1], n_reference=2)  # every spot has both as exemplars
    data = sections[2].clone()
    data.edge_index = data.edge_index[:, :0]
    before = model(data)["expression"]
    data.x = data.x.clone()
    data.x[0] = 255 - data.x[0]
    changed = (model(data)["expression"] - before).abs().amax(1)
    assert bool((changed[1:] > 0).all())
    assert model.attends == "full"
    assert model.receptive_field is None


def test_without_kept_spots_it_says_so(sections: list[SectionData]) -> None:
    with pytest.raises(ValueError, match=r"Eggn has no training spots for exemplars.*remember"):
        Eggn(G, patch_size=P, channels=8)(sections[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": 6}, "channels is a multiple of 4, got 6"),
        ({"layers": 0}, "layers must be at least 1, got 0"),
        ({"k": 0}, "k must be at least 1, got 0"),
        ({"n_reference": 0}, "n_reference must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Eggn(G, patch_size=P, **options)


def test_a_feature_that_is_the_same_for_all_training_spots_keeps_its_unit(sections: list[SectionData]) -> None:
    blank = [copy.copy(data) for data in sections[:2]]
    for data in blank:
        data.x = torch.full_like(data.x, 200)
    model = small(blank)
    assert (model.feature_std == 1).all()
