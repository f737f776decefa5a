from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from hist2st_pyg.utils.files import (
    atomic_path,
    dotted,
    parse_yaml,
    read_text,
    read_yaml,
    write_json,
    write_text,
)


def test_the_file_takes_its_place_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "new" / "folder" / "file.txt"
    with atomic_path(target) as temporary:
        assert temporary.parent.parent == target.parent  # on the same file system
        assert temporary.name == target.name
        temporary.write_text("half")
        assert not target.exists()
        temporary.write_text("whole")
    assert target.read_text() == "whole"
    assert list(target.parent.iterdir()) == [target]


def test_a_crash_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    target.write_text("old")

    def crash() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("new, but not all of")
            raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        crash()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    write_text(tmp_path / "atomic", "")
    assert (tmp_path / "atomic").stat().st_mode == (tmp_path / "plain").stat().st_mode
    mask = os.umask(0o077)
    try:
        write_text(tmp_path / "private", "")
        assert (tmp_path / "private").stat().st_mode & 0o777 == 0o600
        assert os.umask(0o077) == 0o077  # the process's mask is as it was
    finally:
        os.umask(mask)


def test_text_is_utf8(tmp_path: Path) -> None:
    write_text(str(tmp_path / "file.txt"), "100 µm × 2\n")
    assert (tmp_path / "file.txt").read_bytes() == "100 µm × 2\n".encode()


def test_json_holds_plain_values(tmp_path: Path) -> None:
    value = {
        "nan": float("nan"),
        "numpy": [np.float32(0.5), np.int64(3), np.bool_(True), np.float64("inf"), np.array([[1.0, np.nan]])],
        "tuple": (1, None, "two"),
        "path": Path("a") / "b",
        4: {"deep": [-float("inf"), True]},
    }
    write_json(tmp_path / "file.json", value)
    text = (tmp_path / "file.json").read_text()
    assert text.endswith("}\n")
    assert json.loads(text, parse_constant=lambda name: pytest.fail(name)) == {
        "nan": None,
        "numpy": [0.5, 3, True, None, [[1.0, None]]],
        "tuple": [1, None, "two"],
        "path": "a/b",
        "4": {"deep": [None, True]},
    }


def test_what_json_cannot_hold_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_json(tmp_path / "file.json", {"what": object()})
    assert not list(tmp_path.iterdir())


def test_text_that_people_write(tmp_path: Path) -> None:
    path = tmp_path / "genes.txt"
    for encoding in ("utf-8", "utf-8-sig"):
        path.write_text("GENE\u03b1\n", encoding=encoding)
        assert read_text(path) == "GENE\u03b1\n"
    for encoding in ("utf-16", "latin-1"):
        path.write_text("GENE\u00e4\n", encoding=encoding)
        with pytest.raises(ValueError, match=r"genes\.txt is not a text file in UTF-8: .* Save it as UTF-8\."):
            read_text(path)
    with pytest.raises(FileNotFoundError, match=r"There is no file .*none\.txt"):
        read_text(tmp_path / "none.txt")


def test_yaml(tmp_path: Path) -> None:
    text = "a: {lr: 1e-5, n: 12, w: 2.5E+3, x: -1e3, v: 1e, s: '1e-5'}\nb: &b {k: 1}\nc: {<<: *b, k: 2}\n"
    values = {"lr": 1e-5, "n": 12, "w": 2500.0, "x": -1000.0, "v": "1e", "s": "1e-5"}
    (tmp_path / "a.yaml").write_text(text, encoding="utf-8-sig")
    assert read_yaml(tmp_path / "a.yaml") == {"a": values, "b": {"k": 1}, "c": {"k": 2}}
    assert isinstance(read_yaml(tmp_path / "a.yaml")["a"]["n"], int)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "here, line 3: duplicate key 'a', first in line 1."),
        ("a:\n  - {b: 1}\n  - {b: 1, c: {d: 1, 'd': 2}}\n", "here, line 3: duplicate key 'd'"),
        ("a: 1\n? [1]\n: 2\n", "here, line 2: found unhashable key."),
        ("a: b: c\n", "here, line 1: mapping values are not allowed here."),
        ("a: \x07\n", "here is not YAML: unacceptable character #x0007"),
        ("a: !!python/name:os.system\n", "here, line 1: could not determine a constructor"),
    ],
)
def test_yaml_that_is_wrong(text: str, message: str) -> None:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        parse_yaml(text, "here")
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_values_are_found_by_dotted_keys() -> None:
    values = {"data": {"k": 4, "options": {"a": None}}, "data.k": 5, "seed": [0], "empty": {}}
    assert list(dotted(values)) == [("data.k", 4), ("data.options.a", None), ("data.k", 5), ("seed", [0])]
