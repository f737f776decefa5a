"""Format ``--help``: each option with its default, its meaning and its choices."""

from __future__ import annotations

import json
import re
import textwrap
from argparse import SUPPRESS, Action
from collections.abc import Iterable
from typing import Any

from jsonargparse import DefaultHelpFormatter, Namespace

from hist2st_pyg.cli._choices import choices_of, first_sentence, plain

COLUMN = 28
"""Column of the descriptions."""
DENSE = 6
"""Column of their continuation lines in the help of a configuration, which has many keys."""
MODEL = (
    "A run folder, a saved model's folder, a checkpoint, a packaged model (hist2st list models), or a model's id on "
    "the hub (owner/name)."
)
"""Description of the model argument."""
NOT_ARGUMENTS = ("ActionSubCommands", "_ChoicesPseudoAction")


class Help(DefaultHelpFormatter):
    """The help of a command: ``--key=default  Description: choices.``

    For the many keys of a configuration, the description is only the first clause of the docstring.
    """

    configures = False

    def add_usage(self, usage: str | None, actions: Iterable[Action], *args: Any, **kwargs: Any) -> None:
        """Add the usage, without jsonargparse's ``[options]`` between the program and its command."""
        self._prog = self._prog.replace(" [options]", "")
        super().add_usage(usage, actions, *args, **kwargs)

    def add_arguments(self, actions: Iterable[Action]) -> None:
        """Add the arguments of a group."""
        actions = list(actions)
        self.configures = self.configures or any(_is_file(action) for action in actions)
        super().add_arguments(actions)

    def _format_action(self, action: Action) -> str:
        if type(action).__name__ in NOT_ARGUMENTS:
            return super()._format_action(action)
        indent = " " * self._current_indent
        lines = textwrap.wrap(
            f"{self._head(action) + '  ':{COLUMN - self._current_indent}}\0{self._text(action)}",
            self._width + 2,
            initial_indent=indent,
            subsequent_indent=" " * (DENSE if self.configures else COLUMN),
            break_long_words=False,
            break_on_hyphens=False,
        )
        return "\n".join(lines).replace("\0", "") + "\n"

    def _head(self, action: Action) -> str:
        """Format the option with its default, or the argument's name."""
        name = action.dest.rpartition(".")[2].upper()
        words = sorted((word for word in action.option_strings if not word.endswith("+")), key=len)
        if not words:
            return name
        head = ", ".join(words)
        if action.nargs == 0:
            return head
        if _is_file(action):
            return f"{head} FILE.yaml"
        if action.default == SUPPRESS or action.required or (action.default is None and not self.configures):
            return f"{head} {name if action.metavar is None else action.metavar}".rstrip()
        return f"{head}={_written(action.default)}"

    def _text(self, action: Action) -> str:
        said = " ".join((action.help or "").split())
        if action.dest == "help":
            return "Show this help."
        said = (_first_clause(said) if self.configures else plain(said)).removesuffix(".")
        choices = [choice for choice in choices_of(action) if choice not in ("true", "false", "null")]
        mentioned = set(re.findall(r"[\w-]+", said))
        listed = said if mentioned.issuperset(choices) else f"{said}: {', '.join(choices)}"
        return f"{listed}{' (required)' if action.required and action.option_strings else ''}."


def _is_file(action: Action) -> bool:
    """Whether an option takes a configuration file, like ``--config``."""
    return type(action).__name__ == "ActionConfigFile"


def _first_clause(text: str) -> str:
    """Return the first clause of a text, without references to the dictionary of its choices."""
    text = re.sub(r",? (?:see :\w+:`[^`]+`|a key of (?::\w+:)?`+[^`]*[A-Z_]+`+(?:, or None)?)", "", text)
    return re.split(r";\s|\s\(see\b", first_sentence(text))[0]


def _written(default: Any) -> str:
    """Format a default as it is written on the command line."""
    if isinstance(default, Namespace):
        default = default.as_dict()
        default = default.get("init_args", default)
    if isinstance(default, dict):
        return "{" + ", ".join(f"{key}: {_written(value)}" for key, value in default.items()) + "}"
    if isinstance(default, list | tuple):
        return f"[{', '.join(map(_written, default))}]"
    return default if isinstance(default, str) else json.dumps(default)
