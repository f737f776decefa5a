"""Names in Markdown, as CommonMark reads code."""

from __future__ import annotations

import re

import pytest

from hist2st_pyg.models.markdown import WIDTH, code, code_list, wrapped


@pytest.mark.parametrize("name", ["A1", "a`b", "``", "`", "a ``` b `` c", "<b>*x*</b>", "[a](b)", "GSE1/A"])
def test_a_reader_finds_the_name_as_it_is(name: str) -> None:
    text = code(name)
    fence = re.match("`+", text)[0]  # type: ignore[index]
    # The code ends at the next run of as many backticks, no more and no fewer.
    end = next(run for run in re.finditer("`+", text[len(fence) :]) if len(run[0]) == len(fence))
    content = text[len(fence) : len(fence) + end.start()]
    assert len(fence) + end.end() == len(text)
    # One space at each end is taken off.
    assert (content[1:-1] if content[0] == content[-1] == " " and content.strip() else content) == name


def test_line_breaks_do_not_end_a_paragraph() -> None:
    assert code("a\n\n# b\tc") == "`a # b c`"


def test_a_list_has_commas() -> None:
    assert code_list(["A1", "b`c"]) == "`A1`, `` b`c ``"
    assert code_list([]) == ""


def test_long_lines_of_text_are_broken_and_no_others() -> None:
    long = 30 * "[word](link) "
    text = f"# {long}\n\n{long}\n\n- {long}\n\n| {long} |\n\n![a]({long})\n\n```\n{long}\n```\n\n> {long}\n"
    found = wrapped(text)
    assert found.split() == text.split()
    for kept in (f"# {long}", f"| {long} |", f"![a]({long})", f"```\n{long}\n```"):
        assert kept in found
    lines = [line for line in found.splitlines() if len(line) > WIDTH]
    assert len(lines) == 4
    assert "\n- [word](link)" in found
    assert "\n  [word](link)" in found
    assert wrapped(f"**a** {long}").splitlines()[1].startswith("[word]")
    assert wrapped(f"10. {long}").splitlines()[1].startswith("    [word]")
    assert wrapped(found) == found
