"""What a user gives beside a data set's own files goes to the section that it is of, or is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from hist2st_pyg.io.sidecars import check_patients, given_files

ENDINGS = (".jpg", ".png")


def test_a_folder_holds_a_file_of_each_section(tmp_path: Path) -> None:
    for name in ("A1.jpg", "A10.PNG", "A1.txt"):
        (tmp_path / name).touch()
    found = given_files(tmp_path, ["A10", "A1"], "image", ENDINGS)
    assert found == {"A10": tmp_path / "A10.PNG", "A1": tmp_path / "A1.jpg"}


def test_an_ending_of_two_parts_belongs_to_no_name(tmp_path: Path) -> None:
    (tmp_path / "A1.ome.tif").touch()
    assert given_files(tmp_path, ["A1"], "image", [".tif"]) == {"A1": tmp_path / "A1.ome.tif"}


def test_one_path_is_of_one_section_and_need_not_exist() -> None:
    assert given_files("some.png", ["A1"], "image", ENDINGS) == {"A1": Path("some.png")}
    with pytest.raises(ValueError, match=r"image='some\.png' is for a single section, got 2 sections: A1, B1\. Give a"):
        given_files("some.png", ["A1", "B1"], "image", ENDINGS)


def test_a_mapping_is_asked_for_the_sections_that_are_read(tmp_path: Path) -> None:
    given = {"A1": "a.png", "B1": tmp_path / "b.png"}
    assert given_files(given, ["B1"], "image", ENDINGS) == {"B1": tmp_path / "b.png"}
    with pytest.raises(ValueError, match="image has no entry for section 'C1', 'D1'"):
        given_files(given, ["A1", "C1", "D1"], "image", ENDINGS)


def test_a_folder_without_a_file_or_with_two_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"has no file for section 'A1' \(A1 with \.jpg, \.png"):
        given_files(tmp_path, ["A1"], "image", ENDINGS)
    for name in ("A1.jpg", "A1.png"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"has 2 files for section 'A1' \(A1\.jpg, A1\.png\); keep one"):
        given_files(tmp_path, ["A1"], "image", ENDINGS)


def test_patients_by_name_are_given_of_each_section_and_of_no_other() -> None:
    for given in (None, "each_section", {"A1": "P", "B1": "Q"}):
        check_patients(given, ["A1"], ["A1", "B1"])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="patients has no entry for section 'B1'"):
        check_patients({"A1": "P"}, ["A1", "B1"], ["A1", "B1"])
    with pytest.raises(ValueError, match="patients names an unknown section 'Z9'"):
        check_patients({"A1": "P", "Z9": "Q"}, ["A1"], ["A1", "B1"])
