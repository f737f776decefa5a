from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from hist2st_pyg.utils import json_files
from hist2st_pyg.utils.json_files import check_kinds, kinds_of, read_json, read_json_object


def test_json_is_read_with_or_without_a_mark(tmp_path: Path) -> None:
    for content in (
        b'{"a": [1, 2.5, null, true, "\xc2\xb5m"]}',
        b'\xef\xbb\xbf{"a": [1, 2.5, null, true, "\xc2\xb5m"]}',
    ):
        (tmp_path / "a.json").write_bytes(content)
        assert read_json(tmp_path / "a.json") == {"a": [1, 2.5, None, True, "µm"]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not JSON: Expecting value"),
        (b'{"a": 1', "is not JSON: Expecting"),
        (b"{'a': 1}", "is not JSON: Expecting property name"),
        (b"\xff", "is not JSON: 'utf-8' codec"),
        (b'{"a": {"b": 1, "c": 2, "b": 3}}', "the key 'b' is duplicated"),
        (b"[NaN]", "it holds NaN, which is not a number"),
        (b"[-Infinity]", "it holds -Infinity, which is not a number"),
        (b"[1e999]", "it holds 1e999, which is too large"),
        (b"1" * 5000, "is not JSON: Exceeds the limit"),
        (b"[" * 5000 + b"]" * 5000, "is nested too deep"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "is nested too deep"),
    ],
)
def test_what_is_no_json_is_refused_in_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"\A[^\n]*a\.json[^\n]*\Z") as caught:
        read_json(tmp_path / "a.json")
    assert message in str(caught.value)


def test_files_of_other_programs_hold_what_python_writes(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": NaN, "b": 1, "b": Infinity}')
    found = read_json_object(path)
    assert math.isnan(found["a"])
    assert found["b"] == math.inf
    path.write_text("[1]")
    with pytest.raises(ValueError, match=r"a\.json must hold a JSON object, got list"):
        read_json_object(path)
    path.write_text("[" * 5000)
    with pytest.raises(ValueError, match=r"a\.json is nested too deep"):
        read_json_object(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "a.json", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"There is no file {path}"):
            read_json(path)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_files, "LARGEST_BYTES", 2**20)
    (tmp_path / "a.json").write_bytes(b" " * 2**20 + b"1")
    with pytest.raises(ValueError, match=r"a\.json has 1 MiB; the limit for a JSON file is 1 MiB"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_bytes(b" " * (2**20 - 1) + b"1")
    assert read_json(tmp_path / "a.json") == 1


def options(
    count: int = 1,
    share: float | None = None,
    name: str | Callable[[], Any] = "",
    flag: bool = False,
    kind: Literal["a", "b"] = "a",
    scales: tuple[float, ...] = (),
    names: Sequence[str] = (),
    table: dict[str, int] | None = None,
    anything: Any = None,
) -> None: ...


def test_values_of_the_annotated_kinds_pass() -> None:
    kinds = kinds_of(options)
    check_kinds({}, kinds, "f")
    check_kinds({"count": 3, "share": 1, "name": "x", "flag": True, "kind": "b", "scales": [1, 2.5]}, kinds, "f")
    check_kinds({"share": None, "names": ["a"], "table": {"a": 1}, "anything": [object()]}, kinds, "f")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": True}, "f: count must be a whole number, got True."),
        ({"count": 1.0}, "f: count must be a whole number, got 1.0."),
        ({"share": "1"}, "f: share must be a number or null, got '1'."),
        ({"share": True}, "f: share must be a number or null, got True."),
        ({"name": print}, "f: name must be text, got <built-in function print>."),
        ({"name": {"class_path": "x"}}, "f: name must be text, got {'class_path': 'x'}."),
        ({"flag": 1}, "f: flag must be true or false, got 1."),
        ({"kind": "c"}, "f: kind must be 'a' or 'b', got 'c'."),
        ({"scales": 1}, "f: scales must be a list of values that are each a number, got 1."),
        ({"scales": [1, "x"]}, "f: scales must be a list of values that are each a number, got [1, 'x']."),
        ({"names": "abc"}, "f: names must be a list of values that are each text, got 'abc'."),
        ({"table": {"a": "b"}}, "f: table must be a mapping or null, got {'a': 'b'}."),
        ({"other": 1}, "f has the unknown key 'other'; known keys are anything, count, "),
        ([1], "f must be a mapping, got [1]."),
    ],
)
def test_values_of_other_kinds_are_refused(values: Any, message: str) -> None:
    with pytest.raises(ValueError, match=r"\Af") as caught:
        check_kinds(values, kinds_of(options), "f")
    assert str(caught.value).startswith(message)
