"""Packed files are resumed, checked by what there is, and replaced only where that is wanted."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
from _helpers.geo_server import COUNTS, GSM, IMAGE, NAME, SPOT_FILE, SPOTS, TABLE, Server, blob_id, geo_server, picture

from hist2st_pyg.datasets import cscc, load_sections


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with geo_server(monkeypatch) as state:
        yield state


def test_download_goes_on(server: Server, tmp_path: Path) -> None:
    part = tmp_path / f"{GSM}_{NAME}.jpg.gz.part"
    part.write_bytes(server.files[IMAGE][:100])
    cscc.download(tmp_path, [NAME], ["images"], base_url=server.url, progress=False)
    assert server.asked == [("GET", IMAGE, "bytes=100-")]
    assert (tmp_path / f"{GSM}_{NAME}.jpg").read_bytes() == picture()
    assert not part.exists()
    # A part of something else is noticed by gzip's checksum.
    part = tmp_path / f"{GSM}_{NAME}_stdata.tsv.gz.part"
    part.write_bytes(server.files[SPOT_FILE][:60])
    cscc.download(tmp_path, [NAME], ["counts"], base_url=server.url, progress=False)
    assert (tmp_path / f"{GSM}_{NAME}_stdata.tsv.gz").read_bytes() == server.files[TABLE]
    assert server.asked[1:] == [("GET", TABLE, "bytes=60-"), ("GET", TABLE, None)]


def test_download_of_what_is_there_unpacked(server: Server, tmp_path: Path) -> None:
    packed = tmp_path / f"{GSM}_{NAME}.jpg.gz"
    packed.write_bytes(server.files[IMAGE])
    (tmp_path / f"{GSM}_{NAME}_stdata.tsv").write_text(COUNTS)
    cscc.download(tmp_path, [NAME], base_url=server.url, progress=False)
    assert server.names() == [SPOT_FILE.rsplit("/", 1)[1]]
    assert packed.is_file()  # the user's own
    assert load_sections("cscc", tmp_path)[0].require_image().size == (50, 40)


@pytest.mark.parametrize(
    "content", [b"<html>", gzip.compress(COUNTS.encode())[:-9], b""], ids=["a page", "cut short", "empty"]
)
def test_damaged_on_the_server(server: Server, tmp_path: Path, content: bytes) -> None:
    server.files[TABLE] = content
    with pytest.raises(ValueError, match=r"_stdata\.tsv\.gz: .* it is not a complete gzip file .*Nothing was kept"):
        cscc.download(tmp_path, [NAME], base_url=server.url, progress=False)
    assert list(tmp_path.iterdir()) == []
    del server.files[TABLE]
    with pytest.raises(FileNotFoundError, match=r"_stdata\.tsv\.gz returned 404"):
        cscc.download(tmp_path, [NAME], base_url=server.url, progress=False)


@pytest.mark.parametrize("lengths", [True, False])
def test_what_is_there_differs(server: Server, tmp_path: Path, lengths: bool) -> None:
    server.lengths = lengths
    path = tmp_path / f"{GSM}_{NAME}_stdata.tsv.gz"
    path.write_bytes(server.files[TABLE][:-4])
    size = len(server.files[TABLE])
    problem = rf"{size - 4} bytes, the server's {size}" if lengths else "not a complete gzip file"
    with pytest.raises(ValueError, match=rf"{path.name} differs from .*{problem}.*move it, or overwrite"):
        cscc.download(tmp_path, [NAME], ["counts"], base_url=server.url, progress=False)
    cscc.download(tmp_path, [NAME], ["counts"], base_url=server.url, progress=False, overwrite=True)
    assert path.read_bytes() == server.files[TABLE]


def test_manifest(server: Server, tmp_path: Path) -> None:
    """What a manifest lists, packed or unpacked, is checked by its hash, also where it is there already."""
    rows = {f"{GSM}_{NAME}.jpg": picture(), f"data/{GSM}_{NAME}_stdata.tsv.gz": server.files[TABLE]}
    manifest = tmp_path / "MANIFEST.tsv"
    text = "path\tgit_blob_sha1\n" + "".join(f"{path}\t{blob_id(content)}\n" for path, content in rows.items())
    manifest.write_text(text)
    cscc.download(tmp_path, [NAME], base_url=server.url, progress=False)
    server.asked.clear()
    cscc.download(tmp_path, [NAME], ["counts", "images"], base_url=server.url, progress=False)
    assert server.asked == []

    image, table = tmp_path / f"{GSM}_{NAME}.jpg", tmp_path / f"{GSM}_{NAME}_stdata.tsv.gz"
    image.write_bytes(b"mine")
    with pytest.raises(ValueError, match=rf"{image.name} differs .*expected git blob {blob_id(picture())}, got"):
        cscc.download(tmp_path, [NAME], base_url=server.url, progress=False)
    cscc.download(tmp_path, [NAME], base_url=server.url, progress=False, overwrite=True)
    assert image.read_bytes() == picture()
    table.unlink()
    server.files[TABLE] = gzip.compress(SPOTS.encode())
    with pytest.raises(ValueError, match=r"_stdata\.tsv\.gz is not the expected file: expected git blob"):
        cscc.download(tmp_path, [NAME], base_url=server.url, progress=False)
    image.unlink()
    server.files[IMAGE] = gzip.compress(b"another")
    with pytest.raises(ValueError, match=r"jpg\.gz holds another file than the manifest's .*\.jpg: expected git blob"):
        cscc.download(tmp_path, [NAME], ["images"], base_url=server.url, progress=False)
    assert not image.exists()
    with pytest.raises(FileNotFoundError, match="no manifest"):
        cscc.download(tmp_path, manifest=tmp_path / "absent", base_url=server.url)


def test_an_unpacked_table_is_replaced(server: Server, tmp_path: Path) -> None:
    plain = tmp_path / f"{GSM}_{NAME}_stdata.tsv"
    plain.write_text("mine")
    (tmp_path / "MANIFEST.tsv").write_text(f"path\tgit_blob_sha1\n{plain.name}\t{blob_id(COUNTS.encode())}\n")
    with pytest.raises(ValueError, match=rf"{plain.name} differs from the server's file or the manifest"):
        cscc.download(tmp_path, [NAME], ["counts"], base_url=server.url, progress=False)
    cscc.download(tmp_path, [NAME], ["counts"], base_url=server.url, progress=False, overwrite=True)
    assert [path.name for path in tmp_path.glob("GSM*")] == [f"{plain.name}.gz"]
