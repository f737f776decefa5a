"""Print the lowest versions that setup.cfg allows, as pip's constraints: ``python .ci/lowest.py > lowest.txt``."""

from __future__ import annotations

import configparser
from pathlib import Path

SETUP = Path(__file__).parents[1] / "setup.cfg"


def lowest() -> list[str]:
    """One pin ``name==version`` for each lower bound."""
    config = configparser.ConfigParser()
    config.read(SETUP, encoding="utf-8")
    groups = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    bounds = {tuple(line.split(">=")) for group in groups for line in group.splitlines() if ">=" in line}
    return sorted(f"{name.partition('[')[0]}=={version}" for name, version in bounds)


if __name__ == "__main__":
    print("\n".join(lowest()))
