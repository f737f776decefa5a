"""The command line: ``hist2st demo | download | train | predict | evaluate | info | doctor``."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hist2st_pyg.choices import choose

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

Run = Callable[[Any], None]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: The arguments; None takes the process's.

    Returns:
        0, or 2 where the input was wrong: the message then says what.
    """
    from jsonargparse import ArgumentParser

    arguments = list(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    parser = ArgumentParser(prog="hist2st", description="Spatial gene expression from histology.")
    commands = parser.add_subcommands(required=True, dest="command")
    # Only the chosen command's parser is built: training's needs Lightning.
    chosen = next((word for word in arguments if word in COMMANDS), None)
    run: Run = print
    try:
        for name, (build, description) in COMMANDS.items():
            subparser = ArgumentParser(description=description)
            if name == chosen:
                run = build(subparser, arguments[1:])
            commands.add_subcommand(name, subparser, help=description)
        if chosen == "train" and len(arguments) > 1 and not arguments[1].startswith("-"):
            arguments.insert(1, "--config")
        run(parser.parse_args(arguments)[str(chosen)])
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f"hist2st {chosen}: {error}", file=sys.stderr)
        return 2
    return 0


def _train(parser: ArgumentParser, arguments: list[str]) -> Run:
    """``train CONFIG.yaml --key value``: the preset's values < the file's < the command line's."""
    import dataclasses

    from lightning_fabric.utilities.exceptions import MisconfigurationException

    from hist2st_pyg.models import MODELS
    from hist2st_pyg.models.pretrained import parameters_of
    from hist2st_pyg.training import DataConfig, TrainConfig, TrainingConfig, preset_values, train

    # The preset and the model decide what the other keys' defaults and names are, so they are looked up first.
    preset = _look_up(arguments, "preset") or TrainConfig.preset
    model = _look_up(arguments, "model.name") or "hist2st"
    build = choose(MODELS, model, "model.name")
    values = preset_values(
        preset,
        model,
        vision=_look_up(arguments, "model.vision"),
        embedding=_look_up(arguments, "data.embedding"),
        patch_um=_look_up(arguments, "data.patch_um"),
    )
    from_data = {"n_genes", "patch_size", "n_scales", "views"} & parameters_of(build).keys()
    parser.add_argument("--config", action="config", help="A YAML file of these keys.")
    parser.add_class_arguments(TrainConfig, skip={"data", "model", "training"})
    parser.add_class_arguments(DataConfig, "data")
    parser.add_argument("--model.name", default=model, help="The model.")
    parser.add_method_arguments(build, "__init__", "model", skip=from_data)
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


def _predict(parser: ArgumentParser, arguments: list[str]) -> Run:
    parser.add_argument("model", type=str, help="A run folder, a saved model's folder, or a checkpoint.")
    parser.add_argument("image", type=str, help="The H&E image (JPEG, PNG, TIFF).")
    parser.add_argument("--output", "-o", type=str, required=True, help="The .h5ad file to write.")
    parser.add_argument(
        "--spots",
        type=str | None,
        default=None,
        help="her2st selection, Visium tissue_positions, or CSV of x,y.",
    )
    parser.add_argument("--pitch", type=float | None, default=None, help="Distance of the grid's spots in pixels.")
    parser.add_argument("--um_per_pixel", type=float | None, default=None, help="Resolution of the image.")
    parser.add_argument("--figures", type=str | None, default=None, help="Folder for pictures.")
    parser.add_argument("--genes", type=list[str] | None, default=None, help="Genes to draw.")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, ...")
    return run_predict


def run_predict(parsed: Namespace) -> None:
    """Predict one image, write the ``.h5ad``, draw the pictures."""
    from hist2st_pyg import inference
    from hist2st_pyg.models import load_model

    adata = inference.predict(
        load_model(parsed.model),
        parsed.image,
        parsed.spots,
        pitch=parsed.pitch,
        um_per_pixel=parsed.um_per_pixel,
        device=parsed.device,
    )
    if parsed.figures is not None:
        from hist2st_pyg.evaluation.maps import draw_prediction

        for path in draw_prediction(adata, parsed.figures, parsed.genes):
            print(f"Picture: {path}")
    inference.write_h5ad(adata, parsed.output)
    print(f"{adata.n_obs} spots x {adata.n_vars} genes in {parsed.output}.")


def _evaluate(parser: ArgumentParser, arguments: list[str]) -> Run:
    parser.add_argument("model", type=str, help="A run folder, a saved model's folder, or a checkpoint.")
    parser.add_argument("--data.name", type=str, default="synthetic", help="The data set.")
    parser.add_argument("--data.root", type=str | None, default=None, help="Its folder.")
    parser.add_argument("--data.sections", type=list[str] | str | None, default=None, help="Sections; default all.")
    parser.add_argument("--data.options", type=dict[str, Any], default={}, help="Further options of its reader.")
    parser.add_argument("--data.embedding", type=str | None, default=None, help="Folder of precomputed embeddings.")
    parser.add_argument("--output", "-o", type=str | None, default=None, help="The .json file to write.")
    parser.add_argument("--figures", type=str | None, default=None, help="Folder for pictures.")
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, ...")
    return run_evaluate


def run_evaluate(parsed: Namespace) -> None:
    """Evaluate a model on sections, print the numbers, write the JSON and the pictures."""
    import json

    from hist2st_pyg.evaluation.run import evaluate, scalars
    from hist2st_pyg.files import write_json
    from hist2st_pyg.models import load_model
    from hist2st_pyg.training import DataConfig, read_sections

    names = [parsed.data.sections] if isinstance(parsed.data.sections, str) else parsed.data.sections
    data = {name: value for name, value in vars(parsed.data).items() if name != "sections"}
    sections = read_sections(DataConfig(**data), names)
    result = evaluate(load_model(parsed.model), sections, figures=parsed.figures, device=parsed.device)
    if parsed.output is not None:
        write_json(parsed.output, result)
    short = {
        **scalars(result),
        "seen_in_training": result["seen_in_training"],
        "sections": {name: scalars(numbers) for name, numbers in result["sections"].items()},
    }
    print(json.dumps(short, indent=2))


def _download(parser: ArgumentParser, arguments: list[str]) -> Run:
    from hist2st_pyg.datasets import downloader

    parser.add_argument("dataset", type=str, help="The data set.")
    if not arguments or arguments[0].startswith("-"):  # --help, or an error that the parser tells
        return print
    download = downloader(arguments[0])
    parser.add_function_arguments(download, skip={"progress"})
    return lambda parsed: download(**{key: value for key, value in vars(parsed).items() if key != "dataset"})


def _info(parser: ArgumentParser, arguments: list[str]) -> Run:
    parser.add_argument("model", type=str, help="A run folder, a saved model's folder, or a checkpoint.")
    return run_info


def run_info(parsed: Namespace) -> None:
    """Print what a saved model is."""
    import json

    from hist2st_pyg.models import load_model
    from hist2st_pyg.models.pretrained import describe

    model = load_model(parsed.model)
    description = describe(model)
    recipe = description["recipe"]
    if recipe is not None:
        genes = recipe["genes"]
        recipe["genes"] = f"{len(genes)} genes: {', '.join(genes[:5])}{', ...' if len(genes) > 5 else ''}"
    description["parameters"] = sum(parameter.numel() for parameter in model.parameters())
    print(json.dumps(description, indent=2))


def _doctor(parser: ArgumentParser, arguments: list[str]) -> Run:
    from hist2st_pyg.doctor import doctor

    return lambda parsed: print(doctor())


def _demo(parser: ArgumentParser, arguments: list[str]) -> Run:
    from hist2st_pyg.demo import demo

    parser.add_function_arguments(demo)
    return lambda parsed: demo(**{key: value for key, value in vars(parsed).items() if key != "config"})


COMMANDS: dict[str, tuple[Callable[[Any, list[str]], Run], str]] = {
    "demo": (_demo, "Train on the synthetic cohort, predict a held-out patient, draw pictures."),
    "doctor": (_doctor, "Show versions, devices and optional parts."),
    "download": (_download, "Download a public data set."),
    "evaluate": (_evaluate, "Compare predictions with measured sections."),
    "info": (_info, "Show what a saved model is."),
    "predict": (_predict, "Predict expression from an image."),
    "train": (_train, "Train a model: CONFIG.yaml --key value."),
}
