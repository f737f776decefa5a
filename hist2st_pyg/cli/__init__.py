"""The command line: each module of this folder is one command of ``hist2st``, with its docstring as ``--help``.

A module defines ``EXAMPLES``, command lines that end the help, and ``build(parser, arguments)``, which adds the
command's arguments and returns the function that runs it; that function returns None or an exit status. It may define
``arrange(arguments)``, which reorders them for its parser. A module whose name begins with ``_`` is not a command.
"""

from __future__ import annotations

import logging
import os
import re
import select
import signal
import sys
import threading
import traceback
from argparse import Action, ArgumentError
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pkgutil import iter_modules
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, get_loader, set_loader, set_parsing_settings

from hist2st_pyg.cli._help import Help
from hist2st_pyg.utils.files import parse_yaml
from hist2st_pyg.utils.named_code import TRUST, refuse_code
from hist2st_pyg.utils.optional import installed_version

Run = Callable[[Any], int | None]

COMMANDS: tuple[str, ...] = tuple(sorted(module.name for module in iter_modules(__path__) if module.name[0] != "_"))
DEBUG = "--debug"
LEVELS = {"-q": logging.WARNING, "--quiet": logging.WARNING, "-v": logging.DEBUG, "--verbose": logging.DEBUG}
"""The log level of each option; the default is INFO for hist2st_pyg and WARNING for other libraries."""
EVERYWHERE = {
    ("-q", "--quiet"): "Print only results, warnings and errors",
    ("-v", "--verbose"): "Print debug messages, also of other libraries",
    (DEBUG,): "Show the traceback of an error",
}
"""The options of every command, at any position in the command line."""
EXAMPLES = ("hist2st demo", "hist2st train --help", "hist2st list models")
OURS = (ValueError, TypeError, OSError, ImportError)
"""The errors that this package raises for users; their messages are printed without the type."""
_REQUIRED = "the following arguments are required: "
_DENIED = re.compile(r"Importing ('.*?') is not allowed, .*?set_parsing_settings to allow it\.")


class OneLine:
    """Parser mixin that prints an error as one line, without the usage."""

    prog: str
    exit_on_error: bool
    command = ""
    """The chosen command, also for errors of the main parser."""
    options: Mapping[str, str] = {}
    """The names for errors of the chosen command's arguments, by the parser's names."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the error and exit with status 2; a parser of a part of the configuration raises it instead."""
        if not self.exit_on_error:
            raise ArgumentError(None, message) from ex
        parser = getattr(ex, "subcommand_parser", None) or self
        prog = " ".join([parser.prog.replace(" [options]", ""), *([self.command] if parser is self else [])]).strip()
        # jsonargparse's message is for programmers: it explains how to allow importing a name.
        text = _DENIED.sub(r"\1 is neither a mapping of keys nor the path of a file (FOLDER/FILE).", one_line(message))
        if text.startswith(_REQUIRED):
            names = text.removeprefix(_REQUIRED).split(", ")
            text = f"{_REQUIRED}{', '.join(self.options.get(name, name) for name in names)} ({prog} --help)"
        print(f"{prog}: {text}", file=sys.stderr)
        raise SystemExit(2)


class Parser(OneLine, ArgumentParser):
    """The parser of a command.

    Args:
        examples: The command lines that end its help.
    """

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, formatter_class=Help, **kwargs)
        self.examples = examples
        self.parts: list[Parser] = []

    def actions(self) -> Iterator[Action]:
        """Iterate over the arguments of the commands."""
        yield from (action for part in self.parts for action in part._actions)

    def format_help(self, *args: Any) -> str:
        """Format the help, with the options of every command and the examples."""
        everywhere = ", ".join("/".join(words) for words in EVERYWHERE)
        lines = ["", f"with every command: {everywhere}", "examples:", *(f"  {line}" for line in self.examples), ""]
        return super().format_help(*args) + "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: The arguments; None uses ``sys.argv``.

    Returns:
        The command's exit status, by default 0; 2 after an error, which is one line; 130 after Ctrl-C.
    """
    given = [*(sys.argv[1:] if argv is None else argv)]
    arguments = [word for word in given if word not in (DEBUG, *LEVELS)]
    chosen = next(iter(arguments), "")
    logging.basicConfig(format="%(message)s")
    level = next((LEVELS[word] for word in reversed(given) if word in LEVELS), logging.INFO)
    try:
        with _logging_from(level), _sigterm_ends_the_process():
            status = _command(chosen, arguments)
            sys.stdout.flush()
            return status
    except KeyboardInterrupt as stop:
        print(f"hist2st {chosen}: {str(stop) or 'interrupted'}", file=sys.stderr)
        return 128 + signal.SIGINT
    except Exception as error:  # noqa: BLE001 - whatever it is, a user reads one line
        if isinstance(error, BrokenPipeError) and _output_is_closed():
            return 128 + signal.SIGPIPE
        if DEBUG in given:
            traceback.print_exc()
        print(f"hist2st {chosen}: {_error_line(error)}", file=sys.stderr)
        return 2


def _command(chosen: str, arguments: list[str]) -> int:
    if chosen in COMMANDS:
        arrange = getattr(import_module(f"{__name__}.{chosen}"), "arrange", None)
        arguments[1:] = arguments[1:] if arrange is None else arrange(arguments[1:])
    # Only the chosen command's parser is built, because that of training imports Lightning.
    parser, run = command_line({chosen: arguments[1:]}, yaml_mode(trusted=TRUST in arguments))
    return run(parser.parse_args(arguments)[chosen]) or 0


def command_line(built: Mapping[str, list[str]], mode: str) -> tuple[Parser, Run]:
    """Build the parser of ``hist2st``, with the arguments of some commands.

    Args:
        built: The command line of each of these commands, on which its arguments may depend.
        mode: The parsers' mode.

    Returns:
        The parser, and the function that runs the last of the commands.
    """
    version = installed_version("hist2st_pyg") or "(not installed)"
    parser = Parser(
        "hist2st",
        description="Spatial gene expression from histology.",
        examples=EXAMPLES,
        version=version,
        allow_abbrev=False,
        parser_mode=mode,
    )
    for words, text in EVERYWHERE.items():
        parser.add_argument(*words, action="store_true", help=f"{text}; with every command.")
    commands = parser.add_subcommands(required=True, dest="command")
    run: Run = print
    for name in COMMANDS:
        command = import_module(f"{__name__}.{name}")
        subparser = Parser(description=command.__doc__, examples=command.EXAMPLES)
        if name in built:
            run = command.build(subparser, built[name])
            parser.command = name
            parser.options = {f"{name}.{action.dest}": _called(action) for action in subparser._actions}
        commands.add_subcommand(name, subparser, help=command.__doc__)
        parser.parts.append(subparser)
    return parser, run


def _called(action: Action) -> str:
    """Return the name of an argument as the user writes it."""
    words = sorted(action.option_strings, key=len, reverse=True)
    return " or ".join(words) or action.dest.upper()


def one_line(text: object) -> str:
    """Remove the line breaks of a message."""
    return " ".join(str(text).split())


def _error_line(error: Exception) -> str:
    """Format an error in one line: the message, with the type if the error is not one of :data:`OURS`."""
    if isinstance(error, OURS) and str(error).strip():
        return one_line(error)
    first = next((one_line(line) for line in str(error).splitlines() if line.strip()), "")
    words = [type(error).__name__, "not enough memory" if isinstance(error, MemoryError) else "", first]
    return f"{': '.join(filter(None, words))} ({DEBUG} shows the traceback)"


@contextmanager
def _logging_from(level: int) -> Iterator[None]:
    """Print the package's log messages from a level on, and warnings of libraries; with DEBUG, all their messages."""
    package, root = logging.getLogger(__name__.partition(".")[0]), logging.getLogger()
    before = package.level, root.level
    package.setLevel(level)
    if level == logging.DEBUG:
        root.setLevel(logging.INFO)
    try:
        yield
    finally:
        package.setLevel(before[0])
        root.setLevel(before[1])


@contextmanager
def _sigterm_ends_the_process() -> Iterator[None]:
    """Raise SystemExit with status 143 on SIGTERM, so that temporary files are removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _output_is_closed() -> bool:
    """Whether the reader of standard output, such as ``head``, has exited; if so, stop writing to it."""
    stdout, poll = sys.stdout.fileno(), select.poll()
    poll.register(stdout, select.POLLOUT)
    if not any(event & select.POLLERR for _, event in poll.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), stdout)
    return True


class _NotYamlError(ValueError):
    """The text is not YAML; jsonargparse then reads it as a string."""


def yaml_mode(trusted: bool = False) -> str:
    """Return the parsers' mode: jsonargparse's YAML, with errors for duplicate keys and, unless trusted, for code.

    It also prevents jsonargparse from importing classes that values name, as it does for dataclasses.
    """
    set_parsing_settings(import_path_denylist=["*"], import_path_allowlist=[__name__.partition(".")[0]])

    def load(text: str, path: str = "the command line") -> Any:
        try:
            values = parse_yaml(text, str(path))
        except ValueError as error:
            raise _NotYamlError(str(error)) from error
        if not trusted:
            refuse_code(values, str(path))
        return get_loader("yaml")(text)

    mode = "hist2st_trusted_yaml" if trusted else "hist2st_yaml"
    set_loader(mode, load, (_NotYamlError,))
    return mode
