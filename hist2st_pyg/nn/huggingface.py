"""Load image models of transformers from safetensors, or build them without weights; their own code is never run."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from hist2st_pyg.nn.pixels import NormStats
from hist2st_pyg.utils.json_files import read_json

FILES = "The folder holds config.json, model.safetensors and preprocessor_config.json."

ELSEWHERE = "Compute embeddings with it in another program, and train on those (data.embedding)."


class Fetched(NamedTuple):
    """An image model with its weights.

    Args:
        model: The model.
        missing: The names of the weights that its file lacks.
        statistics: Mean and standard deviation of the colors, if the source states them.
        size: Side of its images in pixels, if the source states it.
    """

    model: nn.Module
    missing: list[str]
    statistics: NormStats | None
    size: int | None


def fetch_image_model(source: str) -> Fetched:
    """Download or read an image model, or the image part of a model of images and text.

    Args:
        source: A local folder in transformers' format, or an id on the hub.

    Raises:
        OSError: If it cannot be downloaded or read.
        ValueError: If it is not an image model of transformers.
    """
    from safetensors import SafetensorError
    from transformers import AutoModel, PretrainedConfig

    try:
        config, _ = PretrainedConfig.get_config_dict(source)
    except (OSError, ValueError, RuntimeError) as error:
        raise _explained(source, error) from error
    if not config:
        raise _explained(source, FileNotFoundError("it has no config.json."))
    if isinstance(config.get("vision_config"), dict):  # a model of images and text
        config = {"model_type": f"{config.get('model_type')}_vision_model", **config["vision_config"]}
    try:
        architecture(config)
    except ValueError as error:
        why = "it needs its own code, which is never run." if "auto_map" in config else str(error)
        raise ValueError(f"{source}: {why} {ELSEWHERE}") from error
    try:
        model, info = AutoModel.from_pretrained(
            source, trust_remote_code=False, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise _explained(source, error) from error
    settings = _preprocessor(source)
    return Fetched(_image_part(model), sorted(info["missing_keys"]), _statistics(settings, source), _side(settings))


def build_image_model(config: Mapping[str, Any]) -> nn.Module:
    """Build an image model with random weights from its architecture; nothing is read or fetched.

    Raises:
        ValueError: If the configuration does not describe an image model of transformers.
    """
    from transformers import AutoConfig, AutoModel

    settings = architecture(config)
    try:
        described = AutoConfig.for_model(**settings)
    except Exception as error:  # transformers' own errors have no common class
        reason = " ".join(str(error).split())
        raise ValueError(f"config does not describe a {settings['model_type']}: {reason}") from error
    return _image_part(AutoModel.from_config(described, trust_remote_code=False))


def architecture(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a configuration that describe the architecture; others may name code or weights.

    Raises:
        ValueError: If it is not of an image model of transformers, or of one that downloads another model.
    """
    from transformers import AutoConfig, PretrainedConfig

    kinds, kind = _image_models(), config.get("model_type")
    if kind not in kinds:
        raise ValueError(f"Unknown model_type={kind!r:.100}. Choose one of: {', '.join(sorted(kinds))}.")
    own = inspect.signature(type(AutoConfig.for_model(kind))).parameters
    names = set(own) - set(inspect.signature(PretrainedConfig).parameters)
    if any("backbone" in name for name in names):
        raise ValueError(f"model_type={kind!r} is built on another model, which it would download; use that one.")
    return {"model_type": kind, **{name: value for name, value in config.items() if name in names}}


def _image_models() -> set[str]:
    """The image models by transformers' ``model_type``, without timm's, whose settings name weights."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_MAPPING_NAMES, MODEL_MAPPING_NAMES

    parts = {kind for kind in MODEL_MAPPING_NAMES if kind.endswith("_vision_model")}
    return {kind for kind in {*MODEL_FOR_IMAGE_MAPPING_NAMES, *parts} if not kind.startswith("timm_")}


def _image_part(model: Any) -> nn.Module:
    """The model itself, or its image encoder, in single precision."""
    part: nn.Module = getattr(model, "vision_model", model)
    return part.float()


def _preprocessor(source: str) -> dict[str, Any]:
    from transformers.utils import cached_file

    path = cached_file(source, "preprocessor_config.json", _raise_exceptions_for_missing_entries=False)
    settings = {} if path is None else read_json(path)
    if not isinstance(settings, dict):
        raise ValueError(f"{source}: preprocessor_config.json must hold a mapping, got {settings!r:.100}.")
    return settings


def _statistics(settings: Mapping[str, Any], source: str) -> NormStats | None:
    """Mean and standard deviation of the colors; None if the preprocessor states none."""
    if settings.get("do_normalize") is False:
        return [0.0] * 3, [1.0] * 3
    mean: Any = settings.get("image_mean")
    std: Any = settings.get("image_std")
    if mean is None and std is None:
        return None
    if not (_numbers(mean) and _numbers(std)) or min(std) <= 0:
        raise ValueError(
            f"{source}: preprocessor_config.json must hold image_mean and image_std, 3 numbers each and the second "
            f"above 0, got {mean!r:.60} and {std!r:.60}."
        )
    return mean, std


def _numbers(values: Any) -> bool:
    return isinstance(values, list) and len(values) == 3 and all(type(value) in (int, float) for value in values)


def _side(settings: Mapping[str, Any]) -> int | None:
    """The side of the square that a preprocessor makes, in pixels."""
    for name in ("crop_size", "size") if settings.get("do_center_crop", True) else ("size",):
        side = settings.get(name)
        if isinstance(side, Mapping):
            side = next((side[key] for key in ("height", "shortest_edge") if key in side), None)
        if isinstance(side, int):
            return side
    return None


def _explained(source: str, error: Exception) -> OSError:
    """Turn an error of transformers into one that says what to do."""
    if Path(source).is_dir():
        return OSError(f"The model in {source} could not be loaded: {error} {FILES}")
    if _is_gated(error):
        return OSError(
            f"{source} is gated: accept its license at https://huggingface.co/{source}, log in with `hf auth login` or "
            "set HF_TOKEN, and run this again."
        )
    return OSError(
        f"{source} is not a local folder and could not be downloaded from the Hugging Face hub: {error}\nDownload "
        f"it elsewhere (the hub may ask you to accept a license) and set source=FOLDER. {FILES}"
    )


def _is_gated(error: BaseException) -> bool:
    from huggingface_hub.errors import GatedRepoError

    found: BaseException | None = error
    while found is not None and not isinstance(found, GatedRepoError):
        found = found.__cause__ or found.__context__
    return found is not None
