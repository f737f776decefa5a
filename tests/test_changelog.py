"""The changelog has a place for the next lines, and each release its section."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+)\n((?:(?!## ).*\n?)*)", TEXT, flags=re.MULTILINE))


def test_the_next_lines_come_first_and_the_version_has_a_section_with_its_day() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    first, second, *_ = SECTIONS
    assert first == "[Unreleased]"
    assert re.fullmatch(rf"\[{re.escape(config['metadata']['version'])}\] - \d{{4}}-\d\d-\d\d", second)


def test_the_first_release_adds_and_changes_nothing_that_was_released() -> None:
    (first,) = [text for name, text in SECTIONS.items() if name.startswith("[0.1.0]")]
    assert re.findall(r"^### (.+)$", first, flags=re.MULTILINE) == ["Added"]


def test_sections_have_only_the_kinds_of_keep_a_changelog() -> None:
    kinds = {kind for text in SECTIONS.values() for kind in re.findall(r"^### (.+)$", text, flags=re.MULTILINE)}
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
