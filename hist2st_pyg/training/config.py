"""What a training run is made of: plain dataclasses."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

WandbMode = Literal["auto", "online", "offline", "disabled", "off"]


@dataclass(frozen=True)
class DataConfig:
    """Sections, panel, patches and graph.

    Args:
        name: The data set, a key of ``DATASETS``.
        root: Its folder, where it has one.
        options: Further options of its reader.
        train: Names of the training sections; empty means all that are in no other part.
        val: Names of the sections that choose the epoch; empty holds out squares of the training sections.
        test: Names of the sections to be kept out of training, with ``split="patient"`` their patients too. Their
            images are not opened.
        split: ``"patient"`` refuses a patient in two parts, ``"test_patient"`` one of test in another part, and
            ``"section"`` only a section.
        patients: The patients of sections whose files do not say, by section.
        stripes: Cut each section into stripes by this pattern, see :func:`~hist2st_pyg.data.splits.cut_stripes`;
            ``train``, ``val`` and ``test`` then name ``<section>_<letter>``, and ``patients`` the whole sections.
        panel: ``"variable"``, ``"variance"``, ``"paper"`` or a file with one gene a line.
        n_genes: Size of the ``"variable"`` or ``"variance"`` panel; 50 as in the HEST benchmark.
        total: Target scaling by the spot's total over the ``"panel"`` or over ``"all"`` genes.
        patch_size: Side of a patch in pixels.
        patch_um: Side of the field of view in µm.
        patch_pitch: Side of the field of view in spot pitches instead; with neither it is ``patch_size`` image pixels.
        scales: Factors of the field of view, one set of patches for each.
        k: Neighbours of each spot.
        max_distance: Neighbours farther than this many spot pitches are dropped.
        graph_on: Neighbours by ``"pixel"`` or ``"array"`` position.
        stain: How stains are made comparable: ``"none"``, ``"macenko"`` or ``"standardise"``.
        window: Training shows at most this many neighbouring spots of a section at a time; None shows all.
        val_share: Share of the training spots held out where ``val`` is empty.
        val_side: Side of the held-out squares in spot pitches.
        embedding: Precomputed embeddings instead of patches: a key of the sections' ``obsm``, or a folder of
            ``<section>.npz`` or ``.h5`` (see :func:`~hist2st_pyg.data.embeddings.read_embeddings`).
        cache: Folder of the patch cache; None keeps patches in memory.
    """

    name: str = "synthetic"
    root: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    train: list[str] = field(default_factory=list)
    val: list[str] = field(default_factory=list)
    test: list[str] = field(default_factory=list)
    split: Literal["patient", "test_patient", "section"] = "patient"
    patients: dict[str, str] = field(default_factory=dict)
    stripes: str | None = None
    panel: str = "variable"
    n_genes: int = 50
    total: Literal["panel", "all"] = "panel"
    patch_size: int = 112
    patch_um: float | None = None
    patch_pitch: float | None = None
    scales: list[float] = field(default_factory=lambda: [1.0])
    k: int = 4
    max_distance: float | None = None
    graph_on: Literal["pixel", "array"] = "pixel"
    stain: str = "none"
    window: int | None = None
    val_share: float = 0.2
    val_side: float = 4.0
    embedding: str | None = None
    cache: str | None = None


@dataclass(frozen=True)
class AugmentConfig:
    """Random views of patches; see :class:`~hist2st_pyg.nn.PatchAugmentation`.

    Args:
        grayscale: Probability of losing the colour.
        rotation: Largest turn in degrees.
        flip: Probability of a horizontal mirror image.
        jitter: Deviation of a random gain and offset of each colour channel, as a share of 255.
        symmetries: Draw one of the square's eight symmetries.
        per_spot: Draw anew for each spot.
    """

    grayscale: float = 0.1
    rotation: float = 90.0
    flip: float = 0.2
    jitter: float = 0.0
    symmetries: bool = False
    per_spot: bool = False


@dataclass(frozen=True)
class TrainingConfig:
    """Optimisation. The defaults are the paper's.

    Args:
        epochs: Number of epochs.
        batch_size: Sections, or windows of sections, of one step.
        optimizer: ``"adam"`` or ``"adamw"``.
        lr: Learning rate.
        weight_decay: Weight decay.
        schedule: ``"step"`` (times ``gamma`` every ``step_size`` epochs) or ``"cosine"`` (to zero, after a warm-up).
        step_size: Epochs of a step of ``"step"``.
        gamma: Factor of ``"step"``.
        warmup: Share of the steps in which ``"cosine"`` warms up.
        clip: Largest norm of the gradient; None does not clip.
        likelihood_weight: Weight of the negative log-likelihood, where the model has one.
        views: Augmented views for self-distillation; 0 is without.
        lamb: Weight of the distillation.
        view: The augmentation of those views.
        augment: Also augment the patches of the plain prediction, by this; None does not.
        normalise: Scale patches by the training sections' colour statistics.
        standardise: Scale each gene's error by its deviation over the training spots.
        denoise: Train towards targets without most of their counting noise, see
            :func:`~hist2st_pyg.data.denoise.denoise`; validation and test are of the targets as they are.
        patience: Epochs without a better validation PCC after which training stops; None never stops.
        max_minutes: Training stops with the epoch in which this time is over, resumed runs included; None never.
    """

    epochs: int = 350
    batch_size: int = 1
    optimizer: Literal["adam", "adamw"] = "adam"
    lr: float = 1e-5
    weight_decay: float = 0.0
    schedule: Literal["step", "cosine"] = "step"
    step_size: int = 50
    gamma: float = 0.9
    warmup: float = 0.1
    clip: float | None = None
    likelihood_weight: float = 0.25
    views: int = 5
    lamb: float = 0.5
    view: AugmentConfig = field(default_factory=AugmentConfig)
    augment: AugmentConfig | None = None
    normalise: bool = False
    standardise: bool = False
    denoise: bool = False
    patience: int | None = None
    max_minutes: float | None = None


@dataclass(frozen=True)
class TrainConfig:
    """One training run.

    Args:
        data: Sections, panel, patches and graph.
        model: ``name``, a key of ``MODELS``, and the model's arguments.
        training: Optimisation.
        preset: The preset these values started from.
        seed: Seed of everything random.
        output: The run folder.
        resume: Go on from the end of the run folder's last epoch; a run that has ended is left as it is.
        wandb: ``"online"``, ``"offline"``, ``"disabled"`` (or ``"off"``), or ``"auto"``: what ``WANDB_MODE`` says, else
            online where a key is set, else offline.
        project: The wandb project.
        group: The wandb group, for runs that belong together.
        job_type: The wandb job type.
        run_name: The wandb run's name; None takes the run folder's.
        accelerator: Lightning's ``accelerator``.
        devices: Lightning's ``devices``.
        precision: Lightning's ``precision``.
    """

    data: DataConfig = field(default_factory=DataConfig)
    model: dict[str, Any] = field(default_factory=lambda: {"name": "hist2st"})
    training: TrainingConfig = field(default_factory=TrainingConfig)
    preset: str = "small"
    seed: int = 0
    output: str = "runs/hist2st"
    resume: bool = False
    wandb: WandbMode = "auto"
    project: str = "hist2st_pyg"
    group: str | None = None
    job_type: str | None = None
    run_name: str | None = None
    accelerator: str = "auto"
    devices: int | str = "auto"
    precision: str = "32-true"


def config_dict(config: TrainConfig) -> dict[str, Any]:
    """A configuration as plain values, as YAML and JSON hold them; a class or factory is noted by its name."""
    values = asdict(config)
    values["model"] = {
        name: getattr(value, "__qualname__", repr(value)) if callable(value) else value
        for name, value in values["model"].items()
    }
    return values
