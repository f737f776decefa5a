"""Images that are damaged, odd or too large: refused by the file, before their pixels are asked for."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from _helpers.faults import Case, Change, case, check, cut, drop, put, rows
from _helpers.image_files import tissue
from PIL import Image

PIXELS = tissue(260, 200)


def image(name: str, said: str, *changes: Change, spots: bool = True, id: str = "") -> Case:
    where = " --spots s.csv" if spots else " --um_per_pixel 3"
    return case(id or name, f"predict model {name} -o out.h5ad{where}", said, *changes)


def tiff(name: str, pixels: Any = PIXELS, **options: Any) -> Change:
    return lambda: tifffile.imwrite(name, **{"data": pixels, "photometric": "rgb", **options})


def pillow(name: str, mode: str = "RGB", **options: Any) -> Change:
    return lambda: Image.fromarray(PIXELS).convert(mode).save(name, **options)


def tag(name: str, code: int, value: int) -> Change:
    """A TIFF's tag of the first page, overwritten."""

    def change() -> None:
        with tifffile.TiffFile(name) as tif:
            found = tif.pages[0].tags[code]
            offset, kind, order = found.valueoffset, found.dtype, tif.byteorder
        with Path(name).open("r+b") as file:
            file.seek(offset)
            file.write(struct.pack(order + ("H" if kind == 3 else "I"), value))

    return change


def noise(name: str, start: float = 0.3, stop: float = 0.9) -> Change:
    def change() -> None:
        raw = bytearray(Path(name).read_bytes())
        a, b = int(start * len(raw)), int(stop * len(raw))
        raw[a:b] = np.random.default_rng(0).bytes(b - a)
        Path(name).write_bytes(raw)

    return change


def png_of(width: int, height: int) -> bytes:
    """A small PNG that claims to be this large."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    )


def jpeg_of(width: int, height: int) -> Change:
    def change() -> None:
        pillow("big.jpg")()
        raw = bytearray(Path("big.jpg").read_bytes())
        at = raw.index(b"\xff\xc0") + 5
        raw[at : at + 4] = struct.pack(">HH", height, width)
        Path("big.jpg").write_bytes(raw)

    return change


GREY = PIXELS[..., 0]
CASES: list[Case] = [
    *(
        image(name, said, put(name, content), id=f"{name}, {id}")
        for name in ("t.png", "t.jpg", "t.jpeg", "t.tif", "t.tiff", "t.svs", "t.ndpi")
        for id, content, said in (
            ("empty", b"", name.replace(".", r"\.")),
            ("text", b"no image\n" * 50, name.replace(".", r"\.")),
            ("zeros", bytes(5000), name.replace(".", r"\.")),
        )
    ),
    *(
        image(name, name.replace(".", r"\."), put(name, "text"), id=f"suffix {name}")
        for name in ("t.gif", "t.webp", "t.pdf", "t", "t.", "t.npy", "t.dcm", "t.mrxs")
    ),
    image("t.png", r"t\.png.*(damaged|read)", pillow("t.png"), cut("t.png"), id="PNG cut"),
    image("t.png", r"t\.png", pillow("t.png"), noise("t.png"), id="PNG of noise"),
    image("t.png", r"t\.png", pillow("t.png"), cut("t.png", 0.01), id="PNG cut in its head"),
    image("t.png", r"t\.png.*16-bit", lambda: Image.fromarray(GREY.astype(np.uint16) * 256).save("t.png"), id="PNG, 16 bits"),
    image("t.png", r"t\.png", put("t.png", png_of(0, 10)), id="PNG of no width"),
    image("t.png", r"t\.png", put("t.png", png_of(200_000, 200_000)), id="PNG that claims 200,000 pixels a side"),
    image("t.png", r"t\.png", put("t.png", png_of(2**31 - 1, 2**31 - 1)), id="PNG that claims 2**31 pixels a side"),
    image("t.png", r"t\.png", put("t.png", png_of(400, 400)), id="PNG of fewer pixels than it claims"),
    image("t.jpg", r"t\.jpg.*(damaged|read)", pillow("t.jpg"), cut("t.jpg"), id="JPEG cut"),
    image("t.jpg", r"t\.jpg", pillow("t.jpg"), cut("t.jpg", 0.02), id="JPEG cut in its head"),
    image("t.jpg", r"t\.jpg", pillow("x.png"), lambda: Path("x.png").rename("t.jpg"), id="PNG called JPEG"),
    image("big.jpg", r"big\.jpg", jpeg_of(65_000, 65_000), id="JPEG that claims 65,000 pixels a side"),
    *(
        image("t.tif", r"t\.tif.*(damaged|read|cut|truncated)", tiff("t.tif", **options), cut("t.tif"), id=f"TIFF cut, {id}")
        for id, options in (
            ("plain", {}),
            ("deflate", {"compression": "deflate", "tile": (64, 64)}),
            ("deflate strips", {"compression": "deflate", "rowsperstrip": 9}),
            ("JPEG", {"compression": "jpeg", "tile": (64, 64)}),
            ("LZW", {"compression": "lzw", "tile": (64, 64)}),
            ("JPEG 2000", {"compression": "jpeg2000", "tile": (64, 64)}),
            ("BigTIFF", {"bigtiff": True, "tile": (64, 64)}),
            ("OME", {"ome": True, "tile": (64, 64)}),
            ("planar", {"planarconfig": "separate", "data": PIXELS.transpose(2, 0, 1)}),
        )
    ),
    *(
        image("t.tif", r"t\.tif", tiff("t.tif", compression=code, tile=(64, 64)), noise("t.tif"), id=f"TIFF of noise, {code}")
        for code in ("deflate", "jpeg", "lzw", "jpeg2000", "zstd", "packbits")
    ),
    image("t.tif", r"t\.tif.*uint16", tiff("t.tif", PIXELS.astype(np.uint16)), id="TIFF, 16 bits"),
    image("t.tif", r"t\.tif.*float32", tiff("t.tif", PIXELS.astype(np.float32)), id="TIFF of floats"),
    image("t.tif", r"t\.tif.*(bool|1 bit)", tiff("t.tif", GREY > 150, photometric="minisblack"), id="TIFF, one bit"),
    image("t.tif", r"t\.tif", tiff("t.tif", np.zeros((5, 9, 9), np.uint8), photometric="minisblack"), id="TIFF of planes"),
    image("t.tif", r"t\.tif.*(CIELAB|color)", tiff("t.tif", photometric="cielab"), id="TIFF, CIELAB"),
    image("t.tif", r"t\.tif.*(SEPARATED|CMYK|color)", tiff("t.tif", np.zeros((50, 50, 4), np.uint8), photometric="separated"), id="TIFF, CMYK"),
    image("t.tif", r"t\.tif.*(PALETTE|color)", lambda: Image.fromarray(PIXELS).convert("P").save("t.tif"), id="TIFF, palette"),
    image("t.tif", r"t\.tif.*uint32", tiff("t.tif", PIXELS.astype(np.uint32)), id="TIFF, 32 bits"),
    image("t.tif", r"t\.tif", tiff("t.tif", np.zeros((50, 50, 2), np.uint8), photometric="minisblack", planarconfig="contig"), id="TIFF, two samples"),
    image("t.tif", r"t\.tif", tiff("t.tif"), tag("t.tif", 256, 0), id="TIFF of no width"),
    image("t.tif", r"t\.tif", tiff("t.tif", rowsperstrip=9), tag("t.tif", 273, 2**31), id="TIFF, strips elsewhere"),
    image("t.tif", r"t\.tif", tiff("t.tif", tile=(64, 64)), tag("t.tif", 322, 0), id="TIFF, tiles of no width"),
    image("t.tif", r"t\.tif", tiff("t.tif", tile=(64, 64)), tag("t.tif", 259, 60_000), id="TIFF, unknown compression"),
    *(
        image("t.tif", r"t\.tif", tiff("t.tif", tile=(64, 64), compression="deflate"), tag("t.tif", 256, side),
              tag("t.tif", 257, side), spots=spots, id=f"TIFF that claims {side:,} pixels a side, {id}")
        for side in (100_000, 1_000_000)
        for id, spots in (("spots", True), ("grid", False))
    ),
    image("t.tif", r"t\.tif", put("t.tif", b"II*\0\x08\0\0\0" + b"\0" * 8), id="TIFF without a page"),
    image("t.tif", r"t\.tif", put("t.tif", b"II*\0\x08\0\0\0\x01\0\0\x01\3\0\1\0\0\0\5\0\0\0\x08\0\0\0"), id="TIFF that is its own next page"),
    image("t.ome.tif", r"t\.ome\.tif", tiff("t.ome.tif", description="<OME><Image>", metadata=None), cut("t.ome.tif", 0.5), id="OME-TIFF of broken XML"),
    image("t.ome.tif", r"t\.ome\.tif", tiff("t.ome.tif", np.zeros((3, 40, 40), np.uint16), photometric="minisblack", ome=True), id="OME-TIFF, 16 bits"),
    image("t.jp2", r"t\.jp2", put("t.jp2", b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(99)), id="JPEG 2000 cut"),
    image("t.jp2", r"t\.jp2", put("t.jp2", "text"), id="JPEG 2000 of text"),
    image("t.zarr", r"t\.zarr", put("t.zarr/zarr.json", "text"), id="store of text"),
    image("t.zarr", r"t\.zarr", put("t.zarr/zarr.json", "{}"), id="store without an image"),
    image("t.zarr", r"t\.zarr", put("t.zarr/.zgroup", '{"zarr_format": 2}'), id="empty store"),
    image("nowhere.png", r"nowhere\.png", id="no file"),
    image("model", r"model", id="folder"),
    image("t.png", r"image|1 x 1", lambda: Image.new("RGB", (1, 1)).save("t.png"), id="one pixel"),
    image("white.png", r"tissue", lambda: Image.new("RGB", (300, 300), "white").save("white.png"), spots=False, id="glass alone"),
    image("t.png", r"t\.png", lambda: Path("t.png").symlink_to("nowhere.png"), id="link to nothing"),
    image("t.png", r"t\.png", lambda: Path("t.png").symlink_to("t.png"), id="link to itself"),
    case("evaluate: image cut", "evaluate model --data.name anndata --data.root ann", r"S\.png.*(damaged|read)", cut("ann/S.png")),
    case("evaluate: no image", "evaluate model --data.name anndata --data.root ann", r"S\b.*image", drop("ann/S.png")),
    case("evaluate: image too small", "evaluate model --data.name anndata --data.root ann", r"'S'.*not on the image",
         lambda: Image.new("RGB", (90, 90)).save("ann/S.png")),
    case("train: image cut", "train --data.name anndata --data.root ann --data.patients each_section --output out --data.n_genes 3 "
         "--wandb disabled --data.patch_size 16", r"S\.png.*(damaged|read)", cut("ann/S.png")),
    case("explain: image cut", "explain model t.jpg --gene GENE1 --figures f --spots s.csv", r"t\.jpg.*(damaged|read)",
         pillow("t.jpg"), cut("t.jpg")),
]  # fmt: skip


@pytest.mark.parametrize("case", rows(CASES, every=15))
def test_an_image_that_cannot_be_read_is_refused_in_one_line(
    case: Case, world: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    check(case, world, capfd)
