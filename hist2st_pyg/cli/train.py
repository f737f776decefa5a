"""Train a model: CONFIG.yaml --key value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from hist2st_pyg.cli import Run

USAGE = "hist2st train CONFIG.yaml --key value ... (--help lists the keys)"


def arrange(arguments: list[str]) -> list[str]:
    """Put the configuration files first, in their order, so that the command line's values override theirs.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If a file is not YAML or repeats a key.
    """
    import argparse

    from hist2st_pyg.training.renamed import refuse_renamed
    from hist2st_pyg.utils.files import read_yaml

    if arguments and not arguments[0].startswith("-"):
        arguments = ["--config", *arguments]
    parser = argparse.ArgumentParser("hist2st train", usage=USAGE, add_help=False, allow_abbrev=False)
    parser.add_argument("--config", action="append", default=[])
    given, rest = parser.parse_known_args(arguments)
    for file in given.config:
        refuse_renamed(read_yaml(file), file)
    refuse_renamed({word.removeprefix("--").partition("=")[0]: None for word in rest if word.startswith("--")})
    return [*(f"--config={file}" for file in given.config), *rest]


def build(parser: ArgumentParser, arguments: list[str]) -> Run:
    """``train CONFIG.yaml --key value``; priority: command line > file > preset."""
    from lightning_fabric.utilities.exceptions import MisconfigurationException

    from hist2st_pyg.models import MODELS
    from hist2st_pyg.models.registry import parameters_of
    from hist2st_pyg.training import DataConfig, TrainConfig, TrainingConfig, preset_values, train
    from hist2st_pyg.training.processes import is_first
    from hist2st_pyg.utils.resolver import resolve

    given = _given(arguments)
    build_model = resolve(MODELS, given.model.name, "model.name")
    values = preset_values(
        given.preset,
        given.model.name,
        vision=given.model.vision,
        embedding=given.data.embedding,
        patch_um=given.data.patch_um,
    )
    from_data = {"n_genes", "patch_size", "n_scales", "n_views"} & parameters_of(build_model).keys()
    _add_configuration(parser)
    parser.add_argument("--model.name", default=given.model.name, help="The model.")
    parser.add_method_arguments(build_model, "__init__", "model", skip=from_data)
    defaults = {"preset": given.preset}
    for part in ("data", "model", "training"):
        defaults |= {f"{part}.{key}": value for key, value in values[part].items()}
    parser.set_defaults(defaults)

    def run(parsed: Namespace) -> None:
        plain = parsed.clone(with_meta=False).as_dict()
        del plain["config"]
        data, training = DataConfig(**plain.pop("data")), TrainingConfig(**plain.pop("training"))
        try:
            output = train(TrainConfig(data=data, training=training, **plain))
        except MisconfigurationException as error:  # for example a missing accelerator
            raise ValueError(str(error)) from error
        if is_first():
            print(f"The run is in {output}, the model in {output / 'model'}.")

    return run


def _given(arguments: list[str]) -> Namespace:
    """A first parse with the arguments of every model; preset and model decide other keys' defaults and names."""
    from dataclasses import field, make_dataclass

    from jsonargparse import ArgumentParser

    from hist2st_pyg.cli import yaml_mode
    from hist2st_pyg.models import MODELS
    from hist2st_pyg.models.registry import parameters_of

    parser = ArgumentParser(
        "hist2st train", usage=USAGE, add_help=False, print_config=None, allow_abbrev=False, parser_mode=yaml_mode()
    )
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--print_config", nargs="?", const="")
    _add_configuration(parser)
    names = sorted({"vision"}.union(*(parameters_of(model) for model in MODELS.values())))
    model = make_dataclass("Model", [("name", str, "hist2st"), *((name, Any, field(default=None)) for name in names)])
    parser.add_class_arguments(model, "model")
    return parser.parse_args(arguments)


def _add_configuration(parser: ArgumentParser) -> None:
    """The arguments that do not depend on the model."""
    from hist2st_pyg.training import DataConfig, TrainConfig, TrainingConfig

    parser.add_argument("--config", action="config", help="A YAML file of these keys; the last of several wins.")
    parser.add_class_arguments(TrainConfig, skip={"data", "model", "training"})
    parser.add_class_arguments(DataConfig, "data")
    parser.add_class_arguments(TrainingConfig, "training")
