"""The command line: one module of this folder is one command of ``hist2st``, and its docstring what ``--help`` says.

A module has ``build(parser, arguments)``, which adds the command's arguments and returns the function that runs it; it
gives None, or an exit status.
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
        The command's exit status, 0 where it has none of its own, 2 where the input was wrong (the message then says
        what), or 130 after Ctrl-C.
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
        for name in COMMANDS:
            command = import_module(f"{__name__}.{name}")
            subparser = ArgumentParser(description=command.__doc__)
            if name == chosen:
                run = command.build(subparser, arguments[1:])
            commands.add_subcommand(name, subparser, help=command.__doc__)
        if chosen == "train" and len(arguments) > 1 and not arguments[1].startswith("-"):
            arguments.insert(1, "--config")
        return run(parser.parse_args(arguments)[str(chosen)]) or 0
    except (ValueError, TypeError, OSError, ImportError) as error:
        print(f"hist2st {chosen}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(f"hist2st {chosen}: {stop or 'interrupted'}", file=sys.stderr)
        return 128 + signal.SIGINT
