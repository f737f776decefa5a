from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch_geometric.data import Batch

from hist2st_pyg import ExpressionTask, Hist2ST, Section, load_model, losses, to_data
from hist2st_pyg.nn.checkpointing import measure_activations
from hist2st_pyg.nn.statistics import patch_statistics
from hist2st_pyg.training import AugmentConfig, TrainingConfig

SMALL: dict[str, Any] = {
    "patch_size": 14, "vision": "cnn", "vision_kwargs": {"channels": [8], "out_channels": 16}, "transformer_layers": 1,
    "heads": 2, "dim_head": 8, "gnn_layers": 2,
}  # fmt: skip
GENES = [f"GENE{i}" for i in range(1, 9)]


@pytest.fixture(scope="module")
def batch(cohort: list[Section]) -> Batch:
    return Batch.from_data_list([to_data(section, GENES, 14) for section in cohort[:2]])


def task(**options: Any) -> ExpressionTask:
    torch.manual_seed(0)
    training = TrainingConfig(**{"n_views": 0, **options})
    return ExpressionTask(Hist2ST(len(GENES), **SMALL, n_views=training.n_views), training)


@pytest.mark.parametrize("published", [False, True])
def test_the_likelihood_is_of_the_form_that_the_model_was_built_with(batch: Batch, published: bool) -> None:
    model = Hist2ST(len(GENES), **SMALL, published_likelihood=published).eval()
    for name, bias in (("mean", 14.0), ("dropout", -200.0), ("dispersion", 1e4)):
        torch.nn.init.constant_(getattr(model.likelihood, name).bias, bias)
    batch = batch.clone()
    batch.counts = torch.zeros_like(batch.counts)
    found = ExpressionTask(model, TrainingConfig(n_views=0)).losses(batch)["likelihood"]
    torch.testing.assert_close(found, 0.25 * losses.negative_log_likelihood(model(batch), batch, "mean", published))
    # Of zero counts that dropout does not explain.
    assert float(found) == pytest.approx(0.25 * (-np.log(1e-10) if published else 80), rel=0.1)


def test_loss_is_the_sum_of_its_weighted_parts(batch: Batch) -> None:
    module = task(likelihood_weight=0.3, n_views=2, distillation_weight=0.7).eval()
    parts = module.losses(batch)
    out = module(batch)
    assert set(parts) == {"expression", "likelihood", "distillation"}
    torch.testing.assert_close(parts["expression"], losses.expression_error(out, batch))
    torch.testing.assert_close(parts["likelihood"], 0.3 * losses.negative_log_likelihood(out, batch))
    assert parts["distillation"] > 0
    with pl.utilities.seed.isolate_rng():
        torch.manual_seed(5)
        twice = task(likelihood_weight=0, n_views=2, distillation_weight=1.4).eval()
        twice.model.load_state_dict(module.model.state_dict())
        torch.manual_seed(5)
        a = module.losses(batch)["distillation"]
        torch.manual_seed(5)
        b = twice.losses(batch)
    torch.testing.assert_close(2 * a, b["distillation"])
    assert "likelihood" not in b


def test_standardized_error_is_divided_by_each_gene_s_deviation(batch: Batch) -> None:
    module = task(standardize=True, likelihood_weight=0).eval()
    module.model.target_std.fill_(2.0)
    out = module(batch)
    torch.testing.assert_close(module.losses(batch)["expression"], losses.expression_error(out, batch) / 4)


def test_augmentation_changes_patches_and_not_the_batch(batch: Batch) -> None:
    before = batch.x.clone()
    augment = AugmentConfig(grayscale=1.0, rotation=0, flip=0)
    plain, gray = task(likelihood_weight=0).eval(), task(likelihood_weight=0, augment=augment).eval()
    assert plain.losses(batch)["expression"] != gray.losses(batch)["expression"]
    assert torch.equal(batch.x, before)


def test_views_are_kept_as_memory_allows_with_the_same_gradients(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = task(n_views=3)
    with measure_activations(plain.model) as of_view:
        plain.model(batch)
    gib = of_view.size / 2**30
    distil, kept, gradients = Hist2ST.distil, [], []
    monkeypatch.setattr(Hist2ST, "distil", lambda self, views, n: (kept.append(n), distil(self, views, n))[1])
    monkeypatch.setattr("hist2st_pyg.training.task.free_memory", lambda device: int(2 * 2.5 * of_view.size))
    for memory_gb in (0, 1.5 * gib, 10 * gib, None):
        module = task(n_views=3).train()
        module.memory_gb = memory_gb
        torch.manual_seed(1)
        torch.stack(list(module.losses(batch).values())).sum().backward()
        gradients.append({name: p.grad for name, p in module.model.named_parameters()})
    assert kept == [0, 1, 10, 2]
    for other in gradients[1:]:
        for name, value in gradients[0].items():
            assert value is not None
            torch.testing.assert_close(other[name], value, rtol=1e-5, atol=1e-7, msg=name)


@pytest.mark.parametrize("n_views", [0, 2])
def test_every_parameter_has_a_gradient(batch: Batch, n_views: int) -> None:
    module = task(n_views=n_views)
    torch.stack(list(module.losses(batch).values())).sum().backward()
    assert [name for name, p in module.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("vision_kwargs", [{"channels": 8, "depth": 1, "kernel_size": 3}])
def test_every_parameter_of_the_paper_s_model_has_a_gradient(batch: Batch, vision_kwargs: dict[str, int]) -> None:
    stages = {"transformer_layers": 2, "heads": 2, "dim_head": 4, "n_pos": 8}
    module = ExpressionTask(
        Hist2ST(len(GENES), patch_size=14, vision_kwargs=vision_kwargs, n_views=2, **stages), TrainingConfig(n_views=2)
    )
    torch.stack(list(module.losses(batch).values())).sum().backward()
    assert [name for name, p in module.named_parameters() if p.grad is None] == []


def test_validation_scores_the_held_out_spots_section_by_section(batch: Batch, tmp_path: Any) -> None:
    module = task().eval()
    parts = batch.to_data_list()
    for data in parts:
        data.val_mask = torch.arange(data.num_nodes) < 20
    expected = []
    for data in parts:
        y, predicted = (v[:20].detach().numpy() for v in (data.y, module(data)["expression"]))
        expected.append(
            np.mean([np.corrcoef(y[:, g], predicted[:, g])[0, 1] for g in range(len(GENES)) if y[:, g].std()])
        )
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, default_root_dir=tmp_path)
    loader = torch.utils.data.DataLoader([Batch.from_data_list([data]) for data in parts], batch_size=None)
    (metrics,) = trainer.validate(module, loader, verbose=False)
    assert metrics["val/pcc"] == pytest.approx(np.mean(expected), abs=1e-5)


def fit(module: ExpressionTask, batch: Batch, epochs: int, tmp_path: Any) -> list[float]:
    """Learning rates of the epochs."""
    rates: list[float] = []

    class Note(pl.Callback):
        def on_train_batch_start(self, trainer: pl.Trainer, *args: Any) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    trainer = pl.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, callbacks=[Note()], enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, default_root_dir=tmp_path,
    )  # fmt: skip
    trainer.fit(module, torch.utils.data.DataLoader([batch], batch_size=None))
    trainer.save_checkpoint(tmp_path / "task.ckpt")
    return rates


def test_step_schedule(batch: Batch, tmp_path: Any) -> None:
    rates = fit(task(lr=1.0, step_size=2, gamma=0.5), batch, 5, tmp_path)
    assert rates == pytest.approx([1, 1, 0.5, 0.5, 0.25])


def test_cosine_schedule_warms_up_and_ends_near_zero(batch: Batch, tmp_path: Any) -> None:
    rates = fit(task(lr=1e-3, lr_scheduler="cosine", warmup=0.4, optimizer="adamw"), batch, 10, tmp_path)
    assert rates[:5] == pytest.approx([1e-3 * x for x in (0.2, 0.4, 0.6, 0.8, 1.0)])
    assert rates[5:] == sorted(rates[5:], reverse=True)
    assert rates[-1] < 1e-4


def test_checkpoint_is_read_without_executing_code(batch: Batch, tmp_path: Any) -> None:
    module = task()
    fit(module, batch, 1, tmp_path)
    torch.load(tmp_path / "task.ckpt", weights_only=True)
    model = load_model(tmp_path / "task.ckpt")
    torch.testing.assert_close(model(batch)["expression"], module.model.eval()(batch)["expression"])


def test_a_constant_schedule(batch: Batch, tmp_path: Any) -> None:
    assert fit(task(lr=0.25, lr_scheduler="constant"), batch, 3, tmp_path) == [0.25] * 3


def test_sgd_with_momentum_on_the_sum_over_spots(batch: Batch, tmp_path: Any) -> None:
    """Two steps of ST-Net's optimizer, written out: v <- 0.9 v + g; w <- w - lr v."""
    module = task(lr=1e-4, optimizer="sgd", momentum=0.9, lr_scheduler="constant", reduction="sum", likelihood_weight=0)
    for dropout in (m for m in module.modules() if isinstance(m, torch.nn.Dropout)):
        dropout.p = 0.0
    other = task(likelihood_weight=0)
    other.load_state_dict(module.state_dict())
    other.model.load_state_dict({name: value.clone() for name, value in module.model.state_dict().items()})
    for dropout in (m for m in other.modules() if isinstance(m, torch.nn.Dropout)):
        dropout.p = 0.0
    velocity = {name: torch.zeros_like(p) for name, p in other.model.named_parameters()}
    for _ in range(2):
        other.zero_grad()
        ((other.model(batch)["expression"] - batch.y) ** 2).mean(1).sum().backward()
        with torch.no_grad():
            for name, p in other.model.named_parameters():
                if p.grad is not None:
                    velocity[name] = 0.9 * velocity[name] + p.grad
                    p -= 1e-4 * velocity[name]
    before = {name: p.detach().clone() for name, p in module.model.named_parameters()}
    fit(module, batch, 2, tmp_path)
    moved = {n for n, p in module.model.named_parameters() if not torch.equal(p, before[n])}
    assert "streams.0.expression.1.weight" in moved
    for (name, p), q in zip(module.model.named_parameters(), other.model.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-3, atol=1e-6, msg=name)


@pytest.mark.parametrize(("field", "value"), [("optimizer", "rprop"), ("lr_scheduler", "linear"), ("reduction", "max")])
def test_unknown_choices(field: str, value: str) -> None:
    options = dataclasses.replace(TrainingConfig(n_views=0), **{field: value})
    with pytest.raises(ValueError, match=f"Unknown {field}='{value}'"):
        ExpressionTask(Hist2ST(3, **SMALL), options)


@pytest.mark.parametrize(
    ("part", "value", "message"),
    [
        ("expression_error", "nan", r"expression nan, likelihood [\d.e-]+, distillation [\d.e-]+"),
        ("negative_log_likelihood", "inf", r"expression [\d.e-]+, likelihood inf, distillation [\d.e-]+"),
        ("distillation_error", "nan", r"expression [\d.e-]+, likelihood [\d.e-]+, distillation nan"),
    ],
)
def test_a_loss_that_is_not_finite_ends_training_at_its_step(
    part: str, value: str, message: str, batch: Batch, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, steps = getattr(losses, part), iter(range(9))

    def diverging(*args: Any) -> torch.Tensor:
        return whole(*args) * (float(value) if next(steps) == 2 else 1.0)  # type: ignore[no-any-return]

    monkeypatch.setattr(losses, part, diverging)
    with pytest.raises(
        ValueError, match=rf"not finite in epoch 2, step 2, .*: {message} \(sections A1, A2\).*training\.lr"
    ):
        fit(task(n_views=2), batch, 9, tmp_path)
    assert next(steps) == 3


@pytest.mark.parametrize(
    "change", [{"symmetries": True, "jitter": 0.1}, {"flip": 0.5}, {"grayscale": 0.5}, {"rotation": 45.0}], ids=str
)
@pytest.mark.parametrize("per_spot", [True, False])
def test_a_step_with_precomputed_statistics_is_the_step_without(
    batch: Batch, change: dict[str, Any], per_spot: bool
) -> None:
    augment = AugmentConfig(**{"grayscale": 0, "rotation": 0, "flip": 0, **change}, per_spot=per_spot)
    with_statistics = batch.clone()
    with_statistics.statistics = patch_statistics(batch.x)
    results = []
    for given in (batch, with_statistics):
        torch.manual_seed(0)
        model = Hist2ST(
            batch.y.shape[1], patch_size=batch.x.shape[-1], n_scales=batch.x.shape[1] // 3, vision="cnn",
            vision_kwargs={"out_channels": 8}, transformer_layers=0, gnn="sage", color_stream=True,
        )  # fmt: skip
        task = ExpressionTask(model.train(), TrainingConfig(n_views=0, augment=augment))
        torch.stack(list(task.losses(given).values())).sum().backward()
        results.append([p.grad for p in model.parameters()])
    for plain, fast in zip(*results, strict=True):
        assert (plain is None) == (fast is None)
        if plain is not None and fast is not None:
            torch.testing.assert_close(fast, plain, rtol=1e-4, atol=1e-5)
