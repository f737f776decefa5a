"""The dataclasses that configure a training run."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from hist2st_pyg.data.options import DataOptions
from hist2st_pyg.datasets import absolute_options
from hist2st_pyg.utils.bounds import Bound, above, at_least, at_most, between, check

WandbMode = Literal["auto", "online", "offline", "disabled", "off"]


@dataclass(frozen=True, kw_only=True)
class DataConfig(DataOptions):
    """Sections, panel, and the options of patches, graph and target (:class:`~hist2st_pyg.data.DataOptions`).

    Args:
        name: The data set, a key of ``DATASETS``.
        root: Its folder, if it has one.
        options: Further options of its reader.
        train: Names of the training sections; empty means all sections of no other part.
        val: Names of the sections that choose the epoch; empty holds out squares of the training sections.
        test: Names of the sections kept out of training; with ``split="patient"`` their patients too. Their images are
            not opened.
        split: Unit that must be in one part only. ``"patient"`` raises for a patient in two parts, ``"test_patient"``
            only for a test patient in another part, and ``"section"`` only for a section.
        patients: The patient of each section; replaces those of the data set. ``"each_section"`` declares that each
            section of an unknown patient is from a separate patient.
        stripes: Cut each section into stripes by this pattern, see :func:`~hist2st_pyg.data.splits.cut_stripes`;
            ``train``, ``val`` and ``test`` then name ``<section>_<letter>``, and ``patients`` the whole sections.
        panel: Genes: ``"variable"``, ``"variance"``, ``"paper"`` or a file; one gene per line.
        n_genes: Size of the ``"variable"`` or ``"variance"`` panel; 50 as in the HEST benchmark.
        window: Spots of a training window; neighboring ones. None trains on whole sections. With 1, the spots of all
            sections come in random order, for models that predict each spot independently.
        val_share: Share of the training spots held out; if ``val`` is empty.
        val_side: Side of the held-out squares in spot pitches.
        embedding: Embeddings instead of patches: a key of ``obsm``, or a folder of ``<section>.npz`` or ``.h5`` (see
            :func:`~hist2st_pyg.io.embeddings.read_embeddings`).
        cache: Folder of the patch cache; None keeps patches in memory.
    """

    name: str = "synthetic"
    root: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    train: list[str] = field(default_factory=list)
    val: list[str] = field(default_factory=list)
    test: list[str] = field(default_factory=list)
    split: Literal["patient", "test_patient", "section"] = "patient"
    patients: dict[str, Any] | Literal["each_section"] = field(default_factory=dict)
    stripes: str | None = None
    panel: str = "variable"
    n_genes: int = 50
    window: int | None = None
    val_share: float = 0.2
    val_side: float = 4.0
    cache: str | None = None

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        super().__post_init__()
        check(
            self,
            self.PART,
            n_genes=at_least(1),
            window=at_least(1),
            val_share=Bound("at least 0 and below 1", lambda share: 0 <= share < 1),
            val_side=above(0),
        )

    def with_absolute_paths(self) -> DataConfig:
        """Return a copy whose paths are absolute."""
        changed: dict[str, Any] = {"root": self.root, "cache": self.cache}
        if self.panel not in ("variable", "variance", "paper"):
            changed["panel"] = self.panel
        if self.embedding is not None and Path(self.embedding).is_dir():  # otherwise a key of obsm
            changed["embedding"] = self.embedding
        for name, path in changed.items():
            changed[name] = None if path is None else str(Path(path).absolute())
        return replace(self, options=absolute_options(self.name, self.options), **changed)


@dataclass(frozen=True)
class AugmentConfig:
    """Random views of patches; see :class:`~hist2st_pyg.nn.PatchAugmentation`.

    Args:
        grayscale: Probability of losing the color.
        rotation: Largest rotation in degrees.
        flip: Probability of a flip; horizontally.
        jitter: Deviation of gain and offset; drawn for each color channel, as a share of 255.
        symmetries: Apply a random symmetry; one of the eight of the square.
        per_spot: Draw separately for each spot.
    """

    grayscale: float = 0.1
    rotation: float = 90.0
    flip: float = 0.2
    jitter: float = 0.0
    symmetries: bool = False
    per_spot: bool = False


@dataclass(frozen=True)
class TrainingConfig:
    """Optimization. The defaults are the paper's, without its self-distillation (``n_views=5``).

    Args:
        epochs: Number of epochs.
        batch_size: Sections of one step; or windows of sections, or single spots.
        optimizer: The optimizer.
        lr: Learning rate.
        weight_decay: Weight decay.
        momentum: Momentum of ``"sgd"``.
        lr_scheduler: Schedule of the learning rate. ``"step"`` multiplies it by ``gamma`` every ``step_size`` epochs,
            ``"cosine"`` decays it to zero after a warm-up.
        step_size: Epochs between steps of ``"step"``.
        gamma: Factor of ``"step"``.
        warmup: Share of the steps for the warm-up of ``"cosine"``.
        gradient_clip_val: Largest norm of the gradient; None does not clip.
        accumulate_grad_batches: Batches per step. Their gradients are averaged.
        reduction: The losses' ``"mean"`` over a section's spots and the sections of a step, or their ``"sum"`` over
            all spots of a step.
        loss: The error of the expression, a key of :data:`~hist2st_pyg.losses.LOSSES`.
        likelihood_weight: Weight of the negative log-likelihood; if the model has one.
        n_views: Augmented views for self-distillation; 0 disables it.
        distillation_weight: Weight of the distillation.
        view_augmentation: The augmentation of those views.
        augment: Augmentation of the patches; views use ``view_augmentation`` instead. None disables it.
        normalize: Standardize the colors of patches; by those of the training sections.
        standardize: Scale each gene's error by its deviation; over the training spots.
        denoise: Train on denoised targets. See :func:`~hist2st_pyg.data.targets.denoise_targets`; closed-form models
            too. Validation and test use the measured targets.
        patience: Stop after this many epochs without progress; needs validation, whose PCC it is. None disables it.
        max_minutes: Stop after the epoch in which this time ends; summed over resumed runs. None disables it.
    """

    epochs: int = 350
    batch_size: int = 1
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    lr: float = 1e-5
    weight_decay: float = 0.0
    momentum: float = 0.9
    lr_scheduler: Literal["step", "cosine", "constant"] = "step"
    step_size: int = 50
    gamma: float = 0.9
    warmup: float = 0.1
    gradient_clip_val: float | None = None
    accumulate_grad_batches: int = 1
    reduction: Literal["mean", "sum"] = "mean"
    loss: str = "squared"
    likelihood_weight: float = 0.25
    n_views: int = 0
    distillation_weight: float = 0.5
    view_augmentation: AugmentConfig = field(default_factory=AugmentConfig)
    augment: AugmentConfig | None = None
    normalize: bool = False
    standardize: bool = False
    denoise: bool = False
    patience: int | None = None
    max_minutes: float | None = None

    def __post_init__(self) -> None:
        """Convert augmentations from YAML, and raise if a value is out of range."""
        for name in ("view_augmentation", "augment"):
            value = getattr(self, name)
            if isinstance(value, dict):
                object.__setattr__(self, name, AugmentConfig(**value))
        check(
            self,
            "training",
            epochs=at_least(1),
            batch_size=at_least(1),
            accumulate_grad_batches=at_least(1),
            lr=above(0),
            weight_decay=at_least(0),
            step_size=at_least(1),
            gamma=above(0),
            momentum=between(0, 1),
            warmup=between(0, 1),
            gradient_clip_val=above(0),
            likelihood_weight=at_least(0),
            n_views=at_least(0),
            distillation_weight=at_least(0),
            patience=at_least(1),
            max_minutes=above(0),
        )
        check(self, "training", lr=at_most(1000), n_views=at_most(100), max_minutes=at_most(1_000_000))
        for name, view in (("view_augmentation", self.view_augmentation), ("augment", self.augment)):
            if view is not None:
                shares = {"grayscale": between(0, 1), "flip": between(0, 1)}
                check(view, f"training.{name}", **shares, rotation=at_least(0), jitter=at_least(0))


@dataclass(frozen=True)
class TrainConfig:
    """One training run.

    Args:
        data: Sections, panel, patches and graph.
        model: ``name``, a key of ``MODELS``, and the model's arguments.
        training: Optimization.
        preset: Preset of the default values; None: the defaults of these dataclasses.
        seed: Seed of all random numbers.
        output: The run folder, by default a new ``runs/<model>/version_<n>``; n is the next free number.
        resume: Continue from the end of the last epoch; a finished run does not change.
        overwrite: Replace the run in the folder; other files in it are kept.
        wandb: Mode of wandb. ``"auto"`` uses ``WANDB_MODE`` or ``WANDB_DISABLED``, otherwise online if a key is set
            and offline without; ``"off"`` is ``"disabled"``.
        project: The wandb project; None uses ``WANDB_PROJECT`` or hist2st_pyg.
        entity: The wandb user or team; None uses ``WANDB_ENTITY`` or your default.
        group: The wandb group; None uses ``WANDB_RUN_GROUP``.
        job_type: The wandb job type.
        run_name: The wandb run's name; None uses ``WANDB_NAME`` or the run folder's name.
        tags: The wandb run's tags; empty uses ``WANDB_TAGS``.
        notes: The wandb run's notes; None uses ``WANDB_NOTES``.
        accelerator: Lightning's ``accelerator``.
        devices: Lightning's ``devices``.
        precision: Lightning's ``precision``.
        strategy: Lightning's ``strategy``; ``"auto"`` uses DDP on several devices.
        memory_gb: GiB for the activations of distillation's views. None is half of the free memory. Views that do not
            fit are computed twice: with the paper's settings a step takes up to 1.4 times as long.
        num_workers: Processes that load batches; per training process.

    >>> config = TrainConfig(DataConfig(name="synthetic", k=4), {"name": "ridge"}, output="run")
    >>> config.data.k, config.folder.name
    (4, 'run')
    """

    data: DataConfig = field(default_factory=DataConfig)
    model: dict[str, Any] = field(default_factory=lambda: {"name": "hist2st"})
    training: TrainingConfig = field(default_factory=TrainingConfig)
    preset: str | None = None
    seed: int = 0
    output: str | None = None
    resume: bool = False
    overwrite: bool = False
    wandb: WandbMode = "auto"
    project: str | None = None
    entity: str | None = None
    group: str | None = None
    job_type: str | None = None
    run_name: str | None = None
    tags: list[str] = field(default_factory=list)
    notes: str | None = None
    accelerator: str = "auto"
    devices: int | str = "auto"
    precision: str = "32-true"
    strategy: str = "auto"
    memory_gb: float | None = None
    num_workers: int = 0

    def __post_init__(self) -> None:
        """Refuse values that make no sense."""
        check(self, "", seed=between(0, 2**32 - 1), num_workers=between(0, 64), memory_gb=at_least(0))
        if self.resume and self.overwrite:
            raise ValueError("resume continues a run and overwrite replaces it; set only one of them.")
        if self.resume and self.output is None:
            raise ValueError("resume needs output, the folder of the run to continue.")

    @property
    def folder(self) -> Path:
        """The run folder, which ``train`` chooses if none is set.

        Raises:
            ValueError: If it is not chosen yet.
        """
        if self.output is None:
            raise ValueError("The configuration has no output; set the run folder, or call train, which chooses one.")
        return Path(self.output)


def config_dict(config: TrainConfig) -> dict[str, Any]:
    """Convert a configuration to plain values for YAML and JSON; classes and factories become their names."""
    values = asdict(config)
    values["data"]["scales"] = list(config.data.scales)
    values["model"] = {
        name: getattr(value, "__qualname__", repr(value)) if callable(value) else value
        for name, value in values["model"].items()
    }
    return values
