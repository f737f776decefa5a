"""One thing is added by one entry of one dictionary or by one file: all at once, in a run that uses each."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch_geometric.nn import ResGatedGraphConv

import hist2st_pyg
from hist2st_pyg import Hist2ST, evaluate, load_model
from hist2st_pyg.data.graph import GRAPHS, PRUNINGS, knn_edges
from hist2st_pyg.data.splits import SPLITS, Fold
from hist2st_pyg.datasets import DATASETS, load_sections
from hist2st_pyg.image.stain import STAINS
from hist2st_pyg.losses import LOSSES
from hist2st_pyg.metrics.expression import METRICS, Metric
from hist2st_pyg.models import MODELS
from hist2st_pyg.nn.gnn import CONVS
from hist2st_pyg.nn.jumping_knowledge import JUMPING_KNOWLEDGE, NORMS
from hist2st_pyg.nn.likelihoods import LIKELIHOODS, Poisson
from hist2st_pyg.nn.linear import LinearEncoder
from hist2st_pyg.nn.transformer import POSITIONS
from hist2st_pyg.nn.vision import ENCODERS
from hist2st_pyg.training import PRESETS, preset_config, train
from hist2st_pyg.training.presets import preset_values

GENES = 8
PRESET = {"data": {"n_genes": GENES, "patch_size": 28}, "training": {"epochs": 1, "n_views": 0}, "models": {}}


class Counts(Poisson):
    """A likelihood with a parameter name of its own."""

    parameter_names = ("intensity",)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"intensity": self.linear("intensity", x).clamp(max=10).exp()}

    @staticmethod
    def log_prob(out: Any, counts: Tensor, size_factor: Tensor) -> Tensor:
        return Poisson.log_prob({"rate": out["intensity"]}, counts, size_factor)

    @staticmethod
    def cdf(out: Any, counts: Any, size_factor: Any) -> Any:
        return Poisson.cdf({"rate": out["intensity"]}, counts, size_factor)

    @staticmethod
    def moments(out: Any) -> tuple[Tensor, Tensor]:
        return out["intensity"], out["intensity"]

    @staticmethod
    def zero_probability(out: Any) -> Tensor:
        return (-out["intensity"]).exp()  # type: ignore[no-any-return]


class Sum(nn.Module):
    """Of all depths."""

    def __init__(self, channels: int, num_layers: int) -> None:
        super().__init__()

    def forward(self, depths: list[Tensor]) -> Tensor:
        return torch.stack(depths).sum(0)


class Mine(Hist2ST):
    """A model with a key."""

    def __init__(self, n_genes: int, **arguments: Any) -> None:
        super().__init__(n_genes, **arguments)


def test_each_kind_is_one_entry_and_a_run_uses_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    entries: list[tuple[Any, Any]] = [
        (CONVS, lambda i, o, **kwargs: ResGatedGraphConv(i, o, edge_dim=1)),
        (JUMPING_KNOWLEDGE, Sum),
        (NORMS, lambda channels: nn.Tanh()),
        (POSITIONS, POSITIONS["fourier"]),
        (ENCODERS, LinearEncoder),
        (LIKELIHOODS, Counts),
        (LOSSES, lambda difference: torch.log(torch.cosh(difference))),
        (METRICS, Metric(lambda scored: float(scored.pred.max()), "largest", 0, "the largest prediction")),
        (GRAPHS, lambda pos, k=2: knn_edges(pos, k + 1)),
        (PRUNINGS, lambda edge_index, distance: (edge_index[:, ::2], distance[::2])),
        (STAINS, STAINS["standardize"]),
        (SPLITS, lambda sections: [Fold("only", (sections[0].name,), (), (sections[1].name,))]),
        (MODELS, Mine),
        (DATASETS, lambda root, names=None, **options: load_sections("synthetic", names=names, **options)),
        (PRESETS, PRESET),
    ]
    for dictionary, entry in entries:
        monkeypatch.setitem(dictionary, "mine", entry)
    monkeypatch.setattr(Mine, "key", "mine", raising=False)
    monkeypatch.setitem(Hist2ST.keyed, "mine", Mine)
    sections = load_sections("synthetic", names=["A1", "B1"], patients=2, spots=48, genes=20, noise_genes=4)
    (fold,) = SPLITS["mine"](sections)
    choices = {"jk": "mine", "gnn_norm": "mine", "position": "mine", "vision": "mine", "likelihood": "mine"}
    config = preset_config(
        "mine",
        data={
            "train": list(fold.train), "test": list(fold.test), "graph": "mine", "graph_kwargs": {"k": 3},
            "prune": "mine", "stain": "mine",
        },
        model={"name": "mine", "gnn": "mine", "transformer_layers": 0, "gnn_layers": 2, **choices},
        training={"loss": "mine"},
        output="run",
        wandb="disabled",
    )  # fmt: skip
    run = train(config, sections)
    assert "likelihood" in (run / "metrics.csv").read_text().splitlines()[0]
    assert json.loads((run / "model" / "config.json").read_text())["model"] == "mine"
    model = load_model(run)
    assert type(model) is Mine
    found = evaluate(model, [sections[1]])
    assert np.isfinite(found["sections"]["B1"]["mine"])
    assert found["sections"]["B1"]["coverage_50"] is not None
    assert Path(run / "figures" / "curves.png").is_file()
    assert preset_values("mine", "hist2st")["data"]["n_genes"] == GENES


DATASET = """
from hist2st_pyg.datasets import synthetic

def load(root, names=None):
    return synthetic.load(names=names, spots=16)
"""
COMMAND = '''
"""Count the spots of a section."""

EXAMPLES = ("hist2st mine A1",)

def build(parser, arguments):
    parser.add_argument("section", type=str, help="Its name.")
    return run

def run(parsed):
    from hist2st_pyg.datasets import load_sections

    (section,) = load_sections("mine", ".", [parsed.section])
    print(len(section), "spots")
'''


def test_a_data_set_and_a_command_are_one_new_file_each(tmp_path: Path) -> None:
    source = Path(hist2st_pyg.__path__[0])
    package = tmp_path / "hist2st_pyg"
    for room, text in (("datasets", DATASET), ("cli", COMMAND)):
        (package / room).mkdir(parents=True)
        (package / room / "mine.py").write_text(text)
    for folder in (package, package / "datasets", package / "cli"):
        for path in (source / folder.relative_to(package)).iterdir():
            if not (folder / path.name).exists():
                (folder / path.name).symlink_to(path)
    code = "from hist2st_pyg.cli import main; main(['mine', 'A1']); main(['list', 'datasets']); main(['--help'])"
    ended = subprocess.run(
        [sys.executable, "-B", "-c", code],
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stdout.startswith("16 spots\n"), ended.stderr
    assert "  mine " in ended.stdout
    assert "Count the spots of a section." in ended.stdout
