"""Train a model: CONFIG.yaml --key value."""

from __future__ import annotations

from itertools import pairwise, takewhile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from jsonargparse import ArgumentParser, Namespace

    from hist2st_pyg.cli import Run

EXAMPLES = (
    "hist2st train --data.name synthetic --data.test '[C1, C2]' --output runs/start",
    "hist2st train her2st.yaml --model.gnn gat --training.epochs 60",
)
USAGE = "hist2st train [CONFIG.yaml ...] [--key=value ...]"
DEFAULT_PRESET = "small"
HELP_OF_A_PART = "training.augment.help"
PARTS = ("--data", "--model", "--training")
CODE = {
    "model.gnn": "Graph layer",
    "model.gnn_edge_weight": "Weight of an edge by its length",
    "model.vision": "Encoder of the patches",
}
"""Options that accept a class or function besides a key: in Python, and in a configuration with ``--trust-code``."""
TITLES = {
    "TrainConfig": "run (here and below: each key with its default)",
    "data": "data (or --data FILE.yaml)",
    "training": "training (or --training FILE.yaml)",
    "training.view_augmentation": "training, views for self-distillation",
}


def arrange(arguments: list[str]) -> list[str]:
    """Put the configuration files first, in their order, so that the command line's values override theirs.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If a file is not YAML, repeats a key, or names code that ``--trust-code`` does not allow.
    """
    import argparse

    from hist2st_pyg.cli import OneLine
    from hist2st_pyg.training.renamed import refuse_renamed
    from hist2st_pyg.utils.files import read_yaml
    from hist2st_pyg.utils.named_code import CLASS_PATH, TRUST, refuse_code

    class Parser(OneLine, argparse.ArgumentParser):
        pass

    first = [*takewhile(lambda word: not word.startswith("-"), arguments)]
    arguments = [*(f"--config={file}" for file in first), *arguments[len(first) :]]
    parser = Parser("hist2st train", add_help=False, allow_abbrev=False)
    parser.add_argument("--config", action="append", default=[])
    given, rest = parser.parse_known_args(arguments)
    files = {file: read_yaml(file) for file in given.config}
    for file, values in files.items():
        refuse_renamed(values, file)
        _refuse_repeated(values, file)
    words = dict(_keys_and_values(rest))
    refuse_renamed(words)
    if TRUST not in rest:
        for file, values in files.items():
            refuse_code(values, file, by_key=CODE)
        for key, value in words.items():
            if CLASS_PATH in key.split("."):
                refuse_code({key.partition(f".{CLASS_PATH}")[0]: {CLASS_PATH: value}}, "the command line")
    return [*(f"--config={file}" for file in given.config), *_with_absolute_files(rest)]


def _refuse_repeated(values: dict[str, Any], file: str) -> None:
    """Reject a key that a file sets twice, with and without dots: jsonargparse takes one of the two."""
    from hist2st_pyg.utils.files import dotted

    seen: set[str] = set()
    for key, _ in dotted(values):
        if key in seen:
            raise ValueError(f"{file}: duplicate key {key!r}, once with dots and once nested; keep one of them.")
        seen.add(key)


def _keys_and_values(words: list[str]) -> Iterator[tuple[str, str]]:
    """Iterate over the options of a command line, ``--key=value`` and ``--key value``."""
    for word, following in pairwise([*words, ""]):
        if word.startswith("--"):
            key, given, value = word.removeprefix("--").partition("=")
            yield key, value if given else following


def _with_absolute_files(words: list[str]) -> Iterator[str]:
    """Make the paths of files of one part absolute; jsonargparse would read a relative one as ``module.Class``."""
    from pathlib import Path

    for before, word in pairwise(["", *words]):
        option, equals, value = word.partition("=")
        if equals and option in PARTS and Path(value).is_file():
            yield f"{option}={Path(value).resolve()}"
        else:
            yield str(Path(word).resolve()) if before in PARTS and Path(word).is_file() else word


def build(parser: ArgumentParser, arguments: list[str]) -> Run:
    """``train CONFIG.yaml --key value``; priority: command line > file > preset."""
    from argparse import SUPPRESS

    from hist2st_pyg.models import MODELS
    from hist2st_pyg.models.registry import parameters_of
    from hist2st_pyg.training import DataConfig, TrainConfig, TrainingConfig, preset_values, train
    from hist2st_pyg.training.processes import is_first
    from hist2st_pyg.training.resume import RunExistsError
    from hist2st_pyg.utils.named_code import TRUST, load_code, refuse_code
    from hist2st_pyg.utils.resolver import resolve

    given, trusted = _given(arguments), TRUST in arguments
    if not trusted:  # arrange has already checked the files
        refuse_code({"model": given.model.as_dict()}, "the command line", CODE)
    build_model = resolve(MODELS, given.model.name, "model.name")
    values = preset_values(
        given.preset,
        given.model.name,
        vision=given.model.vision,
        embedding=given.data.embedding,
        patch_um=given.data.patch_um,
    )
    known = parameters_of(build_model)
    from_data = {"n_genes", "patch_size", "n_scales", "n_views"} & known.keys()
    code = {name for name in known if f"model.{name}" in CODE}
    parser.usage = USAGE
    _add_run_and_data(parser)
    parser.add_method_arguments(build_model, "__init__", "model", skip=from_data | code)
    groups = parser.groups or {}
    group = groups["model"]
    group.title = f"model (of {given.model.name}; --model.name NAME --help shows those of another)"
    group.add_argument("--model.name", default=given.model.name, help="The model.")
    for name in sorted(code):  # added here, because jsonargparse would import the class that a value names
        text = f"{CODE[f'model.{name}']}."
        group.add_argument(f"--model.{name}", type=str | dict[str, Any] | None, default=known[name], help=text)
    parser.add_class_arguments(TrainingConfig, "training")
    for part, title in TITLES.items():
        groups[part].title = title
    # The title of a part already names its file option, and its help option is not needed.
    for action in parser._actions:
        if action.option_strings == ["--print_config"]:
            action.metavar, action.help = "", "Print the configuration as YAML, and exit."
        if action.option_strings and action.option_strings[0].removeprefix("--") in (*groups, HELP_OF_A_PART):
            action.help = SUPPRESS
    defaults = {"preset": given.preset}
    for part in ("data", "model", "training"):
        defaults |= {f"{part}.{key}": value for key, value in values[part].items()}
    parser.set_defaults(defaults)

    def run(parsed: Namespace) -> None:
        plain = parsed.clone(with_meta=False).as_dict()
        del plain["config"]
        if trusted:
            plain["model"] |= {name: load_code(plain["model"][name], f"model.{name}") for name in code}
        data, training = DataConfig(**plain.pop("data")), TrainingConfig(**plain.pop("training"))
        try:
            output = train(TrainConfig(data=data, training=training, **plain))
        except RunExistsError as error:
            ways = ("choose another --output", "--resume true", "--overwrite true")
            raise FileExistsError(error.message(error.folder, *ways)) from error
        if is_first():
            print(f"The run is in {output}, the model in {output / 'model'}.")

    return run


def _given(arguments: list[str]) -> Namespace:
    """Parse with the arguments of every model, because preset and model determine defaults and names of other keys."""
    from dataclasses import field, make_dataclass

    from hist2st_pyg.cli import Parser, yaml_mode
    from hist2st_pyg.models import MODELS
    from hist2st_pyg.models.registry import parameters_of
    from hist2st_pyg.training import TrainingConfig
    from hist2st_pyg.utils.named_code import TRUST

    mode = yaml_mode(trusted=TRUST in arguments)
    parser = Parser(
        "hist2st train", usage=USAGE, add_help=False, print_config=None, allow_abbrev=False, parser_mode=mode
    )
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--print_config", nargs="?", const="")
    _add_run_and_data(parser)
    parser.add_class_arguments(TrainingConfig, "training")
    names = sorted({"vision"}.union(*(parameters_of(model) for model in MODELS.values())))
    model = make_dataclass("Model", [("name", str, "hist2st"), *((name, Any, field(default=None)) for name in names)])
    parser.add_class_arguments(model, "model")
    return parser.parse_args(arguments)


def _add_run_and_data(parser: ArgumentParser) -> None:
    """Add the arguments of the run and its data, which do not depend on the model."""
    import argparse

    from hist2st_pyg.training import DataConfig, TrainConfig
    from hist2st_pyg.utils.named_code import TRUST

    class Said(argparse.Action):
        """An option of the command line that is not a key of the configuration."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "nargs": 0, "dest": argparse.SUPPRESS, "default": argparse.SUPPRESS})

        def __call__(self, *_: Any) -> None:
            pass

    text = "Run the module.Class that keys of model name."
    parser.add_argument(TRUST, action=Said, help=text)
    parser.add_argument("--config", action="config", help="A YAML file of these keys; the last of several wins.")
    parser.add_class_arguments(TrainConfig, skip={"data", "model", "training"})
    parser.set_defaults({"preset": DEFAULT_PRESET})
    parser.add_class_arguments(DataConfig, "data")
