"""Train a model: CONFIG.yaml --key value."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from hist2st_pyg.choices import choose

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from hist2st_pyg.cli import Run


def build(parser: ArgumentParser, arguments: list[str]) -> Run:
    """``train CONFIG.yaml --key value``: the preset's values < the file's < the command line's."""
    import dataclasses

    from lightning_fabric.utilities.exceptions import MisconfigurationException

    from hist2st_pyg.models import MODELS
    from hist2st_pyg.models.pretrained import parameters_of
    from hist2st_pyg.training import DataConfig, TrainConfig, TrainingConfig, preset_values, train
    from hist2st_pyg.training.processes import is_first

    # The preset and the model decide what the other keys' defaults and names are, so they are looked up first.
    preset = _look_up(arguments, "preset") or TrainConfig.preset
    model = _look_up(arguments, "model.name") or "hist2st"
    build_model = choose(MODELS, model, "model.name")
    values = preset_values(
        preset,
        model,
        vision=_look_up(arguments, "model.vision"),
        embedding=_look_up(arguments, "data.embedding"),
        patch_um=_look_up(arguments, "data.patch_um"),
    )
    from_data = {"n_genes", "patch_size", "n_scales", "views"} & parameters_of(build_model).keys()
    parser.add_argument("--config", action="config", help="A YAML file of these keys.")
    parser.add_class_arguments(TrainConfig, skip={"data", "model", "training"})
    parser.add_class_arguments(DataConfig, "data")
    parser.add_argument("--model.name", default=model, help="The model.")
    parser.add_method_arguments(build_model, "__init__", "model", skip=from_data)
    parser.add_class_arguments(TrainingConfig, "training")
    defaults = {"preset": preset}
    for part in ("data", "model", "training"):
        defaults |= {f"{part}.{key}": value for key, value in values[part].items()}
    parser.set_defaults(defaults)

    def run(parsed: Namespace) -> None:
        parts = parser.instantiate(parsed)
        fields = {field.name for field in dataclasses.fields(TrainConfig)} - {"data", "model", "training"}
        config = TrainConfig(
            data=DataConfig(**vars(parts.data)),
            model=dict(vars(parts.model)),
            training=TrainingConfig(**vars(parts.training)),
            **{name: parts[name] for name in fields},
        )
        try:
            output = train(config)
        except MisconfigurationException as error:  # an accelerator that is not there, say
            raise ValueError(str(error)) from error
        if is_first():
            print(f"The run is in {output}, the model in {output / 'model'}.")

    return run


def _look_up(arguments: list[str], key: str) -> str | None:
    """A key's value on the command line, or in the configuration file."""
    import yaml

    for i, argument in enumerate(arguments):
        name, _, value = argument.partition("=")
        if name == f"--{key}":
            value = value or (arguments[i + 1] if i + 1 < len(arguments) else "")
            return None if value in ("", "null") else value
    files = [a for a in arguments if a.endswith((".yaml", ".yml")) and Path(a).is_file()]
    found: Any = yaml.safe_load(Path(files[0]).read_text(encoding="utf-8")) if files else None
    for part in key.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    return str(found) if found is not None else None
