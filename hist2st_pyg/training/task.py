"""The Lightning module: losses, optimizer and validation for any expression model."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch_geometric.data import Data

from hist2st_pyg import losses
from hist2st_pyg.data.expression import listed, unmeasured_genes
from hist2st_pyg.data.masks import validation_spots
from hist2st_pyg.data.parts import SectionParts
from hist2st_pyg.inference.blocks import predict_blocks
from hist2st_pyg.inference.section_parts import expression_at
from hist2st_pyg.models import load_model
from hist2st_pyg.models.base import ClosedFormModel, ExpressionModel
from hist2st_pyg.models.pretrained import describe, read_checkpoint
from hist2st_pyg.models.selection import mean_pcc, section_pcc
from hist2st_pyg.nn.augment import PatchAugmentation
from hist2st_pyg.nn.checkpointing import Activations, measure_activations
from hist2st_pyg.nn.statistics import recolored
from hist2st_pyg.training.config import TrainingConfig
from hist2st_pyg.training.datamodule import SectionDataModule
from hist2st_pyg.training.optimization import LR_SCHEDULERS, OPTIMIZERS, TRAINING, optimizers, saved_training
from hist2st_pyg.training.preparation import fit_to_sections
from hist2st_pyg.training.processes import gather
from hist2st_pyg.training.sampler import ShardedSampler
from hist2st_pyg.utils.resolver import check_choice, resolve
from hist2st_pyg.utils.runtime import free_memory


class ExpressionTask(pl.LightningModule):
    """Trains a model with squared error + likelihood + distillation (Zeng et al. 2022).

    It logs ``train/loss`` and its parts, ``lr``, ``val/pcc`` (mean over genes, then over sections) and ``val/loss``,
    and in a test ``test/pcc`` and ``test/loss``. Use it with any Lightning ``Trainer`` and a
    :class:`~hist2st_pyg.SectionDataModule`. When training starts, a model without preprocessing gets that of the data
    module, with the statistics for ``normalize`` and ``standardize``, so that :func:`~hist2st_pyg.predict` and
    ``save_pretrained`` work; a model from :func:`~hist2st_pyg.make_model` already has them.

    Args:
        model: The model.
        training: The optimization; None uses the defaults, with the views that the model was built with.
        memory_gb: GiB for the activations of views; None is half of the free memory at the first step. Views that do
            not fit are computed twice, with the same result.

    Attributes:
        lr: The learning rate, which Lightning's ``Tuner.lr_find`` sets.

    Raises:
        ValueError: If a key is unknown, or the model was not built for the views of ``training``.

    >>> import hist2st_pyg as h
    >>> from pytorch_lightning import Trainer
    >>> sections = h.load_sections("synthetic", names=["A1", "B1"], spots=16)
    >>> preprocessing = h.Preprocessing(("GENE1", "GENE2"), patch_size=16, k=2)
    >>> datamodule = h.SectionDataModule(preprocessing, sections[:1], sections[1:])
    >>> model = h.Hist2ST(2, patch_size=16, vision="cnn", transformer_layers=0, gnn="sage")
    >>> quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    >>> trainer = Trainer(max_epochs=1, accelerator="cpu", log_every_n_steps=1, enable_model_summary=False, **quiet)
    >>> trainer.fit(h.ExpressionTask(model), datamodule=datamodule)
    >>> sorted(name for name in trainer.callback_metrics if name.startswith("val"))
    ['val/loss', 'val/pcc']
    >>> h.predict_section(model, sections[1]).shape
    (16, 2)
    """

    def __init__(
        self, model: ExpressionModel, training: TrainingConfig | None = None, memory_gb: float | None = None
    ) -> None:
        super().__init__()
        self.model = model
        self.options = training or TrainingConfig(n_views=int(model.config.get("n_views", 0)))
        resolve(OPTIMIZERS, self.options.optimizer, "optimizer")
        resolve(LR_SCHEDULERS, self.options.lr_scheduler, "lr_scheduler")
        resolve(losses.LOSSES, self.options.loss, "loss")
        check_choice(get_args(losses.Reduction), self.options.reduction, "reduction")
        if self.options.n_views and getattr(model, "distillation", None) is None:
            raise ValueError(
                f"training.n_views={self.options.n_views}, but the {type(model).__name__} was built without views; "
                f"set TrainingConfig(n_views=0), or build Hist2ST(..., n_views={self.options.n_views})."
            )
        self.lr = self.options.lr
        self.view = PatchAugmentation(**asdict(self.options.view_augmentation))
        plain = self.options.augment
        self.augment = PatchAugmentation(**asdict(plain)) if plain is not None else None
        self.memory_gb = memory_gb
        self._memory_bytes: float | None = None
        self._scores: dict[str, tuple[float, float, int]] = {}

    def setup(self, stage: str) -> None:
        """Set preprocessing and statistics of a model without preprocessing from the data module."""
        datamodule = getattr(self.trainer, "datamodule", None)
        if not isinstance(datamodule, SectionDataModule):
            return
        genes, n_genes = datamodule.preprocessing.genes, len(self.model.target_mean)
        if len(genes) != n_genes:
            raise ValueError(f"The model predicts {n_genes} genes, the data module's preprocessing has {len(genes)}.")
        if stage == "fit" and (unmeasured := unmeasured_genes(genes, datamodule.sections["train"])):
            raise ValueError(
                f"{len(unmeasured)} of {n_genes} genes of the preprocessing are in no training section, so their "
                f"weights would not be trained: {listed(unmeasured)}. Leave them out."
            )
        if stage == "fit" and self.model.preprocessing is None:
            fit_to_sections(self.model, datamodule, self.options)

    def forward(self, data: Data) -> dict[str, Tensor]:
        """Run the model."""
        return self.model(data)  # type: ignore[no-any-return]

    def training_step(self, batch: Data, batch_idx: int) -> Tensor:
        """Compute the loss of a batch of sections."""
        weight = self._weight(batch_idx)
        parts = {name: weight * value for name, value in self.losses(batch).items()}
        loss = torch.stack(list(parts.values())).sum()
        if not torch.isfinite(loss):
            values = ", ".join(f"{name} {value.item():g}" for name, value in parts.items())
            raise ValueError(
                f"The loss is not finite in epoch {self.current_epoch}, step {self.global_step}, counted from 0: "
                f"{values} (sections {', '.join(sorted(set(batch.section)))}). Training stops and no model is saved. "
                "Try a lower training.lr or a training.gradient_clip_val, with another output."
            )
        # sync_dist: the mean over processes.
        parts = {f"train/{name}": value for name, value in parts.items()}
        self.log_dict(parts, batch_size=batch.num_nodes, sync_dist=True)
        self.log("train/loss", loss, prog_bar=True, batch_size=batch.num_nodes, sync_dist=True)
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"], batch_size=1)
        return loss

    def _weight(self, step: int) -> float:
        """Return the weight of this process among all processes in a step."""
        sampler = getattr(self.trainer.train_dataloader, "sampler", None)
        return sampler.weight(step, self.options.reduction) if isinstance(sampler, ShardedSampler) else 1.0

    def losses(self, batch: Data) -> dict[str, Tensor]:
        """Compute the weighted parts of the loss, by name."""
        options, scale = self.options, self.model.target_std if self.options.standardize else None
        reduction = options.reduction
        # Precomputed embeddings [N, D] are not augmented.
        plain = batch if self.augment is None or batch.x.dim() == 2 else augmented(batch, self.augment)
        with measure_activations(self.model) if options.n_views else nullcontext(Activations()) as of_view:
            out = self.model(plain)
        how = losses.Options(scale, reduction, options.loss)
        parts = self.model.own_losses(out, batch, how)
        if parts is None:
            parts = {"expression": losses.expression_error(out, batch, *how)}
        likelihood = getattr(self.model, "likelihood", None)
        if options.likelihood_weight and likelihood is not None:
            error = losses.negative_log_likelihood(out, batch, reduction, getattr(likelihood, "published", False))
            parts["likelihood"] = options.likelihood_weight * error
        if options.n_views:
            views = (augmented(batch, self.view) for _ in range(options.n_views))
            n_kept = int(self._memory(batch.x.device) // max(of_view.size, 1))
            distilled = self.model.distil(views, n_kept)  # type: ignore[operator]
            parts["distillation"] = options.distillation_weight * losses.distillation_error(
                distilled, out, batch, scale, reduction
            )
        return parts

    def _memory(self, device: torch.device) -> float:
        """Return the bytes for the activations of views; determined once, so that every step computes the same."""
        if self._memory_bytes is None:
            given = self.memory_gb
            self._memory_bytes = free_memory(device) / 2 if given is None else given * 2**30
        return self._memory_bytes

    def validation_step(self, batch: Data, batch_idx: int) -> None:
        """Correlate the prediction for one section's validation spots."""
        self._score(batch)

    def on_validation_epoch_end(self) -> None:
        """Average the sections of all processes."""
        self._log_scores("val")

    def test_step(self, batch: Data, batch_idx: int) -> None:
        """Correlate the prediction for one section's spots."""
        self._score(batch)

    def on_test_epoch_end(self) -> None:
        """Average the sections of all processes."""
        self._log_scores("test")

    def _score(self, batch: Data) -> None:
        section = batch.streamed[0] if "streamed" in batch else SectionParts(batch.get_example(0))
        where = validation_spots(section.data)
        expression = expression_at(self.model, section, where, str(self.device))
        measured = section.measured_at(where).cpu()
        error = losses.expression_error({"expression": expression}, measured)
        # By name, because the sampler repeats a section in a process with fewer sections.
        self._scores[section.data.section] = (section_pcc(expression, measured), float(error), len(expression))

    def _log_scores(self, part: str) -> None:
        found = {name: score for of_process in gather(self._scores) for name, score in of_process.items()}
        self._scores.clear()
        # By name, so that the order of the sum does not depend on the number of processes.
        scores, errors, spots = zip(*(found[name] for name in sorted(found)), strict=True)
        # Every process has the same values; sync_dist tells Lightning.
        self.log(f"{part}/pcc", mean_pcc(scores), prog_bar=True, batch_size=1, sync_dist=True)
        self.log(f"{part}/loss", float(np.average(errors, weights=spots)), batch_size=1, sync_dist=True)

    def predict_step(self, batch: Data, batch_idx: int) -> dict[str, Tensor]:
        """Run the model on one section; a streamed section gives the values of :func:`~hist2st_pyg.predict`."""
        if "streamed" not in batch:
            return self.model(batch)  # type: ignore[no-any-return]
        (section,) = batch.streamed
        made = predict_blocks(self.model, section.data, section.patches, device=str(self.device))
        return {name: torch.from_numpy(value) for name, value in made.values.items()}

    def configure_optimizers(self) -> Any:
        """Build the optimizer and the learning rate schedule.

        Raises:
            ValueError: If the model is not trained by gradient.
        """
        if isinstance(self.model, ClosedFormModel):
            raise ValueError(
                f"{type(self.model).__name__} is fitted in closed form, not by a trainer; use hist2st_pyg.train or "
                "model.fit(datamodule.data('train'), datamodule.validation())."
            )
        return optimizers(
            self.model.parameters(), self.options, self.lr, lambda: int(self.trainer.estimated_stepping_batches)
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the description of model and task, so that the checkpoint alone can rebuild them."""
        checkpoint["description"] = describe(self.model)
        checkpoint[TRAINING] = asdict(replace(self.options, lr=self.lr))

    @classmethod
    def load_from_checkpoint(  # type: ignore[override]
        cls,
        checkpoint_path: str | Path,
        map_location: Any = None,
        hparams_file: None = None,
        strict: bool | None = None,
        weights_only: bool | None = None,
        *,
        model: ExpressionModel | None = None,
        training: TrainingConfig | None = None,
        **custom: Any,
    ) -> Self:
        """Load the task and its model from a checkpoint, without executing code from it.

        Args:
            checkpoint_path: A checkpoint that a trainer wrote.
            map_location: The device of the model; None is the CPU.
            hparams_file: Ignored: the checkpoint has the options.
            strict: False allows missing and unexpected weights if ``model`` is passed.
            weights_only: Ignored: it is always true.
            model: The model to load the weights into, for a class without a key; None builds it.
            training: The optimization; None uses the checkpoint's.
            custom: Classes or factories that the model was built with, by argument: ``gnn=MyConv``.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is not such a checkpoint.
        """
        if training is None:
            training = saved_training(checkpoint_path)
        if model is None:
            model = load_model(checkpoint_path, **custom).train()
        else:
            model.load_state_dict(read_checkpoint(Path(checkpoint_path))[1], strict=strict is not False)
        return cls(model, training).to(map_location or "cpu")


def augmented(batch: Data, augmentation: PatchAugmentation) -> Data:
    """Augment the patches of a batch, and update their statistics if those of the view follow from them."""
    view = copy.copy(batch)
    view.x, gain, offset = augmentation.draw(batch.x)
    if view.get("statistics") is not None:
        if not augmentation.keeps_statistics:
            del view.statistics
        elif gain is not None and offset is not None:
            view.statistics = recolored(view.statistics, gain, offset)
    return view
