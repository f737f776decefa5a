"""The command line: each module of this folder is one command of ``hist2st``, with its docstring as ``--help``.

A module defines ``build(parser, arguments)``, which adds the command's arguments and returns the function that runs it;
that function returns None or an exit status. It may define ``arrange(arguments)``, which reorders them for its parser.
"""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

Run = Callable[[Any], int | None]

COMMANDS: tuple[str, ...] = tuple(sorted(module.name for module in iter_modules(__path__)))


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: The arguments; None takes the process's.

    Returns:
        The command's exit status, by default 0; 2 for wrong input, with a message; 130 after Ctrl-C.
    """
    from jsonargparse import ArgumentParser

    arguments = list(sys.argv[1:] if argv is None else argv)
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    description = "Spatial gene expression from histology."
    parser = ArgumentParser("hist2st", description=description, allow_abbrev=False, parser_mode=yaml_mode())
    commands = parser.add_subcommands(required=True, dest="command")
    # Only the chosen command's parser is built: training's needs Lightning.
    chosen = next(iter(arguments), "")
    run: Run = print
    try:
        for name in COMMANDS:
            command = import_module(f"{__name__}.{name}")
            subparser = ArgumentParser(description=command.__doc__)
            if name == chosen:
                arguments[1:] = getattr(command, "arrange", list)(arguments[1:])
                run = command.build(subparser, arguments[1:])
            commands.add_subcommand(name, subparser, help=command.__doc__)
        return run(parser.parse_args(arguments)[chosen]) or 0
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f"hist2st {chosen}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(f"hist2st {chosen}: {str(stop) or 'interrupted'}", file=sys.stderr)
        return 128 + signal.SIGINT


def yaml_mode() -> str:
    """The mode of the parsers: jsonargparse's YAML, with an error on duplicate keys."""
    from jsonargparse import set_loader

    mode = "hist2st_yaml"
    set_loader(mode, _load, (ValueError,))
    return mode


def _load(text: str, path: str = "the value") -> Any:
    """Load values as jsonargparse does."""
    from jsonargparse import get_loader

    from hist2st_pyg.utils.files import parse_yaml

    parse_yaml(text, str(path))
    return get_loader("yaml")(text)
