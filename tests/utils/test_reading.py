from __future__ import annotations

import errno
import gzip
from pathlib import Path

import h5py
import numpy as np
import pytest

from hist2st_pyg.utils import reading as module
from hist2st_pyg.utils.reading import check_gzip, check_hdf5, check_unpacked, reading


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("bad tile\nat 7"), "bad tile"),
        (KeyError("multiscales"), "'multiscales'"),
        (AttributeError("'int' object has no attribute 'name'"), "'int' object"),
        (OSError("file signature not found"), "file signature not found"),
        (OSError(errno.EINVAL, "Invalid argument"), "Invalid argument"),
        (ValueError("mmap length is greater than file size"), "mmap length"),
        (RecursionError(), "RecursionError"),
        (type("Jpeg8Error", (Exception,), {})("truncated"), "truncated"),
    ],
)
def test_whatever_a_reader_raises_names_the_file_in_one_line(error: Exception, said: str) -> None:
    with (
        pytest.raises(ValueError, match=rf"^a/b\.tif is damaged or not an image: .*{said}") as raised,
        reading("a/b.tif", "an image"),
    ):
        raise error
    assert "\n" not in str(raised.value)
    assert raised.value.__cause__ is error


def test_the_element_of_anndatas_note_is_named() -> None:
    error = TypeError("no reader")
    error.add_note("Error raised while reading key 'x' of <class 'h5py._hl.dataset.Dataset'> from /uns")
    with (
        pytest.raises(ValueError, match=r"a\.h5ad is damaged or not AnnData: /uns/x: no reader"),
        reading("a.h5ad", "AnnData"),
    ):
        raise error


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(errno.EACCES, "Permission denied", "a.tif"),
        ValueError("a.tif has CMYK colors"),
        ImportError("needs openslide"),
        KeyboardInterrupt(),
    ],
)
def test_what_names_the_file_or_is_not_the_files_passes(error: BaseException) -> None:
    with pytest.raises(type(error)) as raised, reading("a.tif", "an image"):
        raise error
    assert raised.value is error


def test_the_systems_answers_and_memory_name_the_file() -> None:
    with pytest.raises(BlockingIOError, match=r"a\.h5 cannot be read: .*locked"), reading("a.h5", "HDF5"):
        raise BlockingIOError(errno.EAGAIN, "locked")
    with pytest.raises(MemoryError, match=r"a\.h5 does not fit into memory"), reading("a.h5", "HDF5"):
        raise MemoryError("Unable to allocate 8 TiB")


def test_the_bound_of_what_a_file_unpacks_to(monkeypatch: pytest.MonkeyPatch) -> None:
    check_unpacked("a", 10, module.UNPACKED_BYTES)
    check_unpacked("a", module.UNPACKED_BYTES, module.UNPACKED_RATIO * module.UNPACKED_BYTES)
    with pytest.raises(ValueError, match=r"a has 10 bytes and unpacks to 3\.0 GiB .*set HIST2ST_UNPACKED_GIB"):
        check_unpacked("a", 10, 3 * 2**30)
    monkeypatch.setenv("HIST2ST_UNPACKED_GIB", "3")
    check_unpacked("a", 10, 3 * 2**30)
    for wrong in ("many", "inf"):
        monkeypatch.setenv("HIST2ST_UNPACKED_GIB", wrong)
        with pytest.raises(ValueError, match="environment variable HIST2ST_UNPACKED_GIB must be a number of GiB"):
            check_unpacked("a", 10, 10)


def test_gzip_of_zeros_is_refused_without_unpacking_it_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "zeros.tsv.gz"
    path.write_bytes(gzip.compress(bytes(2**23)))
    check_gzip(path)
    monkeypatch.setattr(module, "UNPACKED_BYTES", 2**20)
    with pytest.raises(ValueError, match=r"zeros\.tsv\.gz has .* bytes and unpacks to"):
        check_gzip(path)
    path.write_bytes(path.read_bytes()[:-20])
    monkeypatch.setattr(module, "UNPACKED_BYTES", 2**30)
    with pytest.raises(ValueError, match=r"zeros\.tsv\.gz is damaged or not a gzip file"):
        check_gzip(path)


def test_hdf5_that_claims_terabytes_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("X", shape=(10**6, 10**6), dtype=np.float32, chunks=(100, 100), compression="gzip")
    with pytest.raises(ValueError, match=r"a\.h5 has .* bytes and unpacks to 3,725\.3 GiB"):
        check_hdf5(tmp_path / "a.h5", "HDF5")
