from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hist2st_pyg.utils.file_names import file_name

ODD = [
    "", ".", "..", "../x", "/etc/passwd", "a/b", "a\\b", "a\0b", "a\nb", "a\tb", ".hidden", "x.", " x", "x ", "con",
    "NUL.txt",
    "<script>", "a:b", 'a"b', "a|b", "a?b", "a*b", "$x$", "~x", "a~b", "\ud800", "\u202egnp", "x" * 181, "\u00b5" * 100,
]  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["A1", "10x13", "AAACAAGTATCTCCCA-1", "HLA-A", "slide (2)", "a_b.c", "sample 1", "\u00b5m", "x" * 180, "1.0"],
)
def test_an_ordinary_name_stays(name: str) -> None:
    assert file_name(name) == name


@pytest.mark.parametrize("name", ODD)
def test_another_becomes_one_component_in_its_folder(name: str, tmp_path: Path) -> None:
    made = file_name(name)
    assert made != name
    path = tmp_path / f"{made}_predicted.png.failed.txt"
    path.write_text("")
    assert path.resolve().parent == tmp_path.resolve()
    assert not made.startswith(".")
    assert made.isprintable()
    assert not set(made) & set('<>:"/\\|?*$')


def test_two_names_never_give_one_file() -> None:
    made = [file_name(name) for name in ODD]
    assert len(set(made)) == len(ODD)
    assert not {file_name(name) for name in made} & set(made)  # names that look as if they were made
    assert file_name("a_b", "c") == "a_b_c" != file_name("a", "b_c")


@given(st.text(), st.text())
def test_any_two_names(one: str, other: str) -> None:
    assert (file_name(one) == file_name(other)) == (one == other)
    assert 0 < len(file_name(one).encode()) <= 255 - 60
