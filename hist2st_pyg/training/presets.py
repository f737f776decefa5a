"""Presets: named configurations, and their combination with a user's values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hist2st_pyg.models import MODELS
from hist2st_pyg.models.registry import parameters_of
from hist2st_pyg.training.config import AugmentConfig, DataConfig, TrainConfig, TrainingConfig
from hist2st_pyg.training.renamed import refuse_renamed
from hist2st_pyg.utils.resolver import resolve

_GRAPH = {
    "gnn": "sage",
    "gnn_layers": 2,
    "gnn_act": "gelu",
    "gnn_norm": "layer",
    "gnn_residual": True,
    "gnn_dropout": 0.6,
    "jk": "last",
    "detach_likelihood": True,
}
_ENCODER = {"vision_kwargs": {"out_channels": 64, "dropout": 0.6}}
_SYMMETRIES = AugmentConfig(grayscale=0, rotation=0, flip=0, symmetries=True, per_spot=True)

PRESETS: dict[str, dict[str, Any]] = {
    # Each model as published; benchmarks/README.md lists the differences. hist2st: Zeng et al. 2022, HIST2ST_train.py
    # and tutorial.ipynb, whose values are also the defaults of the model and of TrainingConfig.
    "paper": {
        "about": "Each model as published, except for the differences listed in benchmarks/README.md.",
        "data": {
            "panel": "paper",  # her_hvg_cut_1000.npy: 785 genes
            "coord_type": "array",  # calcADJ takes array coordinates
            "max_distance": 2.0,  # --prune Grid; tutorial.ipynb has NA for cSCC
            "transpose_patches": True,  # dataset.py: im.permute(1, 0, 2)
            "val_share": 0.0,  # all spots of the training sections train, and the last epoch is kept
        },
        "training": {"n_views": 5},  # HIST2ST_train.py: --bake 5
        "models": {
            # eps=1e-10 inside the logarithms of ZINB, no bounds of NB.
            "hist2st": {"model": {"published_likelihood": True}},
            # Xie et al. 2023, config.py, dataset.py and train_ddp.sh: AdamW, batches of 256 random spots, 300 epochs.
            "bleep": {
                "data": {"patch_size": 224, "transpose_patches": False, "window": 1},
                "model": {"vision_kwargs": {"weights": "imagenet"}},  # ResNet-50 there
                "training": {
                    "epochs": 300,
                    "batch_size": 256,
                    "optimizer": "adamw",
                    "lr": 1e-3,
                    "weight_decay": 1e-3,
                    "lr_scheduler": "constant",
                    "augment": _SYMMETRIES,
                },
            },
            # Yang et al. 2024, README.md: --size 256 --numk 6 --num_layers 4 --epoch 300 --lr 5e-4 --weight_decay 1e-4;
            # generate_graph.py: at most 5 neighbors within the root of 2; train.py: AdamW.
            "eggn": {
                "data": {"patch_size": 256, "transpose_patches": False, "k": 5, "max_distance": 1.42},
                "model": {"vision": "densenet121", "vision_kwargs": {"weights": "imagenet"}},  # ResNet-18 there
                "training": {
                    "epochs": 300,
                    "optimizer": "adamw",
                    "lr": 5e-4,
                    "weight_decay": 1e-4,
                    "lr_scheduler": "constant",
                },
            },
            # Pang et al. 2021, tutorial.ipynb: HisToGene(n_layers=8, n_genes=785, learning_rate=1e-5), max_epochs=100;
            # vis_model.py: Adam at a constant rate, dropout 0.1.
            "histogene": {
                "model": {"transformer_layers": 8},
                "training": {"epochs": 100, "lr": 1e-5, "lr_scheduler": "constant"},
            },
            # Chung et al. 2024, config/her2st/TRIPLEX.yaml and datasets/st_data.py: 224 px, five times as wide around,
            # Adam 1e-4, times 0.9 every 50 of 200 epochs; flips and quarter turns. There 128 random spots a step.
            "triplex": {
                "data": {"patch_size": 224, "scales": [1.0, 5.0], "transpose_patches": False},
                "model": {"vision_kwargs": {"out_channels": 512}},
                "training": {"epochs": 200, "lr": 1e-4, "augment": _SYMMETRIES, "normalize": True},
            },
            # Li et al. 2024, HGGEP_train.py: --neighbor 8 --bake 5, Adam 1e-5 as Hist2ST; 100 times 5 epochs.
            "hggep": {
                "data": {"k": 8},
                "model": {"vision_kwargs": {"out_channels": 192}, "published_likelihood": True},
                "training": {"epochs": 500},
            },
            # He et al. 2020, README.md: cross_validate.py ... 50 --lr 1e-6 --window 224 --model densenet121 --pretrain
            # --batch 32.
            "stnet": {
                "data": {
                    "patch_size": 224,  # --window 224
                    "transpose_patches": False,
                    "window": 1,  # with batch_size: random batches of single spots
                },
                # --pretrain; run_spatial.py scales colors by the training patches' mean and deviation.
                "model": {"vision_kwargs": {"weights": "imagenet", "scaling": "training"}},
                "training": {
                    "epochs": 50,
                    "batch_size": 32,  # --batch 32
                    "optimizer": "sgd",  # parser.py: --optim SGD, --momentum 0.9, --weight_decay 0
                    "momentum": 0.9,
                    "lr": 1e-6,  # --lr 1e-6
                    "lr_scheduler": "constant",
                    "reduction": "sum",  # run_spatial.py: sum((pred - gene) ** 2) / outputs
                    "augment": _SYMMETRIES,  # run_spatial.py: flips and quarter turns; no jitter is asked for
                    "normalize": True,
                },
            },
        },
    },
    # Trains in minutes on two cores; chosen on training sections alone (benchmarks/ACCURACY.md). Patches are 1 and 3.5
    # spot distances wide on any array. The number of epochs is fixed, because held-out squares cost more in training
    # spots than early stopping gains. Closed-form models (ridge, kernel_ridge and others) use the same data and
    # denoised targets, and of the other `training` options only `normalize`.
    "small": {
        "about": "Trains in minutes on two cores; chosen on training sections alone.",
        "data": {
            "patch_size": 56,
            "patch_pitch": 1.0,
            "scales": [1.0, 3.5],
            "stain": "macenko",
            "k": 6,
            "window": 200,
            "val_share": 0.0,
        },
        "training": {
            "epochs": 120,
            "optimizer": "adamw",
            "lr": 3e-3,
            "weight_decay": 0.05,
            "lr_scheduler": "cosine",
            "warmup": 0.2,
            "augment": replace(_SYMMETRIES, jitter=0.03),
            "normalize": True,
            "standardize": True,
            "denoise": True,
        },
        "models": {
            "bleep": {"model": {"vision": "cnn", **_ENCODER, "temperature": 8.0}, "training": {"lr": 1e-3}},
            "eggn": {"model": {"channels": 128, "layers": 2}, "training": {"lr": 1e-3}},
            "graph_only": {"model": {**_ENCODER, **_GRAPH}},
            "hist2st": {
                "data": {"scales": [1.0, 3.5, 8.0]},  # only the kernel stream uses the widest
                "model": {
                    "vision": "cnn",
                    **_ENCODER,
                    "color_stream": True,
                    "kernel_stream": True,
                    "seen_scales": 2,
                    "transformer_layers": 0,
                    "position": "none",
                    **_GRAPH,
                },
            },
            "histogene": {
                "model": {"channels": 256, "transformer_layers": 2, "heads": 4, "position": "none"},
                "training": {"lr": 1e-3},
            },
            "stnet": {"training": {"lr": 1e-3}},
            "triplex": {"model": {**_ENCODER, "tiles": 4, "heads": 4, "dropout": 0.3}},
            "hggep": {
                "model": {
                    **_ENCODER,
                    "channels": 256,
                    "transformer_layers": 1,
                    "heads": 4,
                    "position": "none",
                    "lstm_layers": 1,
                    "detach_likelihood": True,
                },
                "training": {"lr": 1e-3},
            },
        },
    },
}
"""Values that differ from the dataclasses' defaults, by preset; ``models`` holds those of single models."""


def preset_values(
    preset: str | None,
    model: str,
    *,
    vision: Any = None,
    embedding: str | None = None,
    patch_um: float | str | None = None,
) -> dict[str, dict[str, Any]]:
    """Return a preset's values of ``data``, ``model`` and ``training`` for a model.

    Values that conflict with the given ones are omitted: views and fields of view if the model does not support them,
    arguments of another vision stage, a field of view in pitches if one in µm is given, statistics of embeddings.

    Args:
        preset: A key of :data:`PRESETS`; None has no values.
        model: A key of ``MODELS``.
        vision: The vision stage, if given.
        embedding: ``data.embedding``, if given.
        patch_um: ``data.patch_um``, if given.

    Raises:
        ValueError: If the preset or the model is unknown.
    """
    values = resolve(PRESETS, preset, "preset") if preset is not None else {"data": {}, "training": {}, "models": {}}
    known = parameters_of(resolve(MODELS, model, "model.name"))
    chosen = values["models"].get(model, {})
    data, own = {**values["data"], **chosen.get("data", {})}, dict(chosen.get("model", {}))
    training = {**values["training"], **chosen.get("training", {})}
    if "n_scales" not in known or embedding is not None:
        data["scales"] = [1.0]
    if "n_views" not in known:
        training["n_views"] = 0
    if patch_um is not None:
        data["patch_pitch"] = None
    if embedding is not None:
        for name in ("color_stream", "kernel_stream"):
            own.pop(name, None)
        if "enhance" in known:  # gradient enhancement needs pixels
            own["enhance"] = False
    if embedding is not None or (vision is not None and vision != own.get("vision", known.get("vision"))):
        own.pop("vision_kwargs", None)
    return {"data": data, "model": own, "training": training}


def preset_config(
    preset: str | None = "small",
    data: dict[str, Any] | None = None,
    model: dict[str, Any] | None = None,
    training: dict[str, Any] | None = None,
    **run: Any,
) -> TrainConfig:
    """Build the configuration of a preset with some values changed.

    Args:
        preset: A key of :data:`PRESETS`, or None.
        data: Fields of :class:`DataConfig`.
        model: ``name``, a key of ``MODELS``, and arguments of the model.
        training: Fields of :class:`TrainingConfig`.
        run: Further fields of :class:`TrainConfig`.

    Raises:
        ValueError: If the preset is unknown.

    >>> config = preset_config("paper", model={"gnn": "sage"}, training={"epochs": 10}, seed=1)
    >>> config.model["gnn"], config.training.epochs, config.training.lr, config.seed
    ('sage', 10, 1e-05, 1)
    """
    refuse_renamed({"data": data, "model": model, "training": training})
    model = {"name": "hist2st", **(model or {})}
    given = data or {}
    values = preset_values(
        preset,
        model["name"],
        vision=model.get("vision"),
        embedding=given.get("embedding"),
        patch_um=given.get("patch_um"),
    )
    return TrainConfig(
        data=DataConfig(**{**values["data"], **given}),
        model={**values["model"], **model},
        training=TrainingConfig(**{**values["training"], **(training or {})}),
        preset=preset,
        **run,
    )
