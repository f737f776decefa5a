"""The README as a package index shows it: its links and pictures lead to the repository at this version's tag.

Everything else is in setup.cfg.
"""

from __future__ import annotations

import configparser
import re
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent


def long_description() -> str:
    """README.md with absolute links, for it is shown where its files are not."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    repository, version = config["metadata"]["url"], config["metadata"]["version"]
    raw = repository.replace("github.com", "raw.githubusercontent.com")

    def absolute(link: re.Match[str]) -> str:
        before, path = link.groups()
        picture = path.endswith((".png", ".svg", ".jpg"))
        return f"{before}{raw}/v{version}/{path}" if picture else f"{before}{repository}/blob/v{version}/{path}"

    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return re.sub(r"""(\]\(|(?:src|href)=")(?!https?:|#|mailto:)([^)\s"]+)""", absolute, text)


if __name__ == "__main__":
    setup(long_description=long_description())
