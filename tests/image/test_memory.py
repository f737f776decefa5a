"""What would take too much of the machine's memory to decode is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from _helpers.image_files import HEIGHT, WIDTH, WRITERS, read

from hist2st_pyg.image import memory, open_image
from hist2st_pyg.image import raster as module


@pytest.mark.parametrize("name", ["image.png", "image.jpg"])
def test_an_image_too_large_for_the_machine_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    WRITERS[name](tmp_path / name)
    needed = module.DECODED_BYTES * WIDTH * HEIGHT
    monkeypatch.setattr(memory, "memory_bytes", lambda: int((needed - 1) / memory.MEMORY_SHARE))
    image = open_image(tmp_path / name)
    assert image.size == (WIDTH, HEIGHT)
    with pytest.raises(ValueError, match=rf"{name} is 300 x 130 px .*Convert it to a tiled TIFF"), image.open():
        pass
    monkeypatch.setattr(memory, "memory_bytes", lambda: int(needed / memory.MEMORY_SHARE) + 1)
    assert read(image).shape == (HEIGHT, WIDTH, 3)


def test_a_tile_too_large_for_the_machine_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    WRITERS["tiles.tif"](tmp_path / "tiles.tif")
    monkeypatch.setattr(memory, "memory_bytes", lambda: 4000)
    with pytest.raises(ValueError, match=r"tiles\.tif is of tiles or strips of 32 x 32 px and would take"):
        _ = open_image(tmp_path / "tiles.tif").size


def test_the_limit_is_a_share_of_the_machine_s_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_bytes", lambda: 16 * 2**30)
    memory.check_memory(Path("a.png"), 4 * 2**30, "of 9 x 9 px")
    with pytest.raises(
        ValueError, match=r"a\.png is of 9 x 9 px and would take 4\.5 GiB decoded; .* is 4\.0 GiB\. Con"
    ):
        memory.check_memory(Path("a.png"), 9 * 2**29, "of 9 x 9 px")


def test_the_memory_is_what_the_system_says() -> None:
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    assert memory.memory_bytes() == pytest.approx(1024 * int(lines["MemTotal"].split()[0]), rel=0.01)
