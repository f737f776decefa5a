"""Print the script that completes commands, options and their values in a shell; needs the extra completion."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from hist2st_pyg.cli import Run

SHELLS = ("bash", "tcsh", "zsh")
EXAMPLES = (
    "pip install 'hist2st_pyg[completion]'",
    "hist2st completion bash > ~/.local/share/bash-completion/completions/hist2st",
    "hist2st completion zsh > ~/.zfunc/_hist2st",
)


def build(parser: ArgumentParser, arguments: list[str]) -> Run:
    parser.add_argument("shell", choices=SHELLS, help="The shell.")
    return run


def run(parsed: Namespace) -> None:
    """Print the script for a shell.

    Raises:
        ImportError: If shtab is not installed.
    """
    print(script(parsed.shell))


def script(shell: str) -> str:
    """Generate the script that completes every command's options and their choices."""
    from hist2st_pyg.cli import COMMANDS, command_line, yaml_mode
    from hist2st_pyg.cli._choices import choices_of
    from hist2st_pyg.utils.optional import require_extra

    with require_extra("Shell completion", "shtab", "completion"):
        import_module("shtab")  # jsonargparse's completion imports it
    parser, _ = command_line({name: [] for name in COMMANDS}, yaml_mode())
    for action in parser.actions():
        action.choices = choices_of(action) or action.choices
    return parser.get_completion_script(f"shtab-{shell}")
