"""The directive ``command-line``: the arguments of every command of ``hist2st``, read from the commands' parsers."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any, get_args, get_origin

HIDDEN = "==SUPPRESS=="
"""The default of arguments that do something themselves: help, configuration files, print_config."""


def sections() -> Iterator[tuple[str, list[str]]]:
    """Each command's heading and its description in reStructuredText, in lines."""
    from hist2st_pyg.cli import COMMANDS
    from hist2st_pyg.datasets import DATASETS, downloader

    for name in COMMANDS:
        if name != "download":
            yield f"hist2st {name}", command_lines(name, [])
            continue
        for dataset in DATASETS:  # the arguments are the data set's own
            try:
                downloader(dataset)
            except ValueError:
                continue
            yield f"hist2st {name} {dataset}", command_lines(name, [dataset])


def command_lines(name: str, arguments: list[str]) -> list[str]:
    """A command's description and its arguments by group, in lines.

    Args:
        name: The command.
        arguments: What stands behind it, where its arguments depend on that.
    """
    from jsonargparse import ArgumentParser

    from hist2st_pyg.cli import yaml_mode

    command = import_module(f"hist2st_pyg.cli.{name}")
    parser = ArgumentParser(prog=f"hist2st {name}", description=command.__doc__, parser_mode=yaml_mode())
    command.build(parser, arguments)
    lines = [*(command.__doc__ or "").strip().splitlines(), ""]
    for group in parser._action_groups:
        shown = [action for action in group._group_actions if action.default != HIDDEN and action.help != HIDDEN]
        if shown:
            lines += [f"**{_title(group)}**", ""]
            for action in shown:
                lines += _argument(action)
    return lines


def _title(group: Any) -> str:
    """A group's title; arguments of one part of the configuration are named by it."""
    parts = {action.dest.rpartition(".")[0] for action in group._group_actions if action.default != HIDDEN}
    return f"--{part}.*" if len(parts) == 1 and (part := parts.pop()) else _sentence(group.title)


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _argument(action: Any) -> list[str]:
    """One argument as an item of a definition list."""
    words = [word for word in action.option_strings if not word.endswith("+")] or [action.dest]
    term = ", ".join(f"``{word}``" for word in words)
    facts = [_type(action)]
    if action.required:
        facts.append("required")
    elif action.default is not None:
        facts.append(f"default ``{action.default}``")
    text = _plain_stars(" ".join((action.help or "").split()))
    return [f"{term} ({', '.join(fact for fact in facts if fact)})", f"    {text or '–'}", ""]


def _plain_stars(text: str) -> str:
    """Stars outside literals are those of file names."""
    return "``".join(part if i % 2 else part.replace("*", "\\*") for i, part in enumerate(text.split("``")))


def _type(action: Any) -> str:
    """What an argument takes, in words."""
    if action.choices:
        return "one of " + ", ".join(f"``{choice}``" for choice in action.choices)
    if action.nargs == 0:
        return "flag"
    return _name(getattr(action, "_typehint", None) or action.type or str)


def _name(hint: Any) -> str:
    if hint is type(None):
        return "null"
    arguments = get_args(hint)
    if not arguments:
        return getattr(hint, "__name__", str(hint))
    if str(hint).startswith("typing.Literal"):
        return "one of " + ", ".join(f"``{argument}``" for argument in arguments)
    origin = get_origin(hint)
    if origin in (list, tuple, dict):
        return str(origin.__name__)
    if getattr(origin, "__name__", "") == "Callable":
        return "class path"
    return " or ".join(dict.fromkeys(_name(argument) for argument in arguments))


def setup(app: Any) -> dict[str, bool]:
    """Tell Sphinx of the directive."""
    from docutils import nodes
    from sphinx.util.docutils import SphinxDirective

    class CommandLine(SphinxDirective):
        """One section for each command; for pages in reStructuredText, as docstrings are."""

        def run(self) -> list[nodes.Node]:
            found: list[nodes.Node] = []
            for heading, lines in sections():
                section = nodes.section(ids=[nodes.make_id(heading)], names=[heading.lower()])
                section += nodes.title(text=heading)
                section += self.parse_text_to_nodes("\n".join(lines))
                found.append(section)
            return found

    app.add_directive("command-line", CommandLine)
    return {"parallel_read_safe": True}
