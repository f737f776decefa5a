"""A section of the cSCC data set, and a web server that has it as GEO does."""

from __future__ import annotations

import gzip
import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

import pytest
from PIL import Image

from _helpers.local_server import Quiet, serving
from hist2st_pyg.datasets import cscc
from hist2st_pyg.io import download

COUNTS = "\tKRT1\tKRT2\tKRT5\n9x12\t1\t0\t0\n10x13\t0\t3\t1\n11x13\t2\t0\t0\n10x14\t5\t1\t0\n30x30\t0\t0\t1\n"
SPOTS = """x\ty\tnew_x\tnew_y\tpixel_x\tpixel_y
10\t14\t10.0\t14.0\t3701.0\t4200.0
10\t13\t10.1\t13.0\t3700.0\t3900.0
11\t13\t11.0\t12.9\t4000.5\t3901.0
"""
NAME, GSM = "P2_ST_rep1", "GSM4284316"


def picture() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (50, 40), "pink").save(file, "JPEG")
    return file.getvalue()


@dataclass
class Server:
    """A web server that knows HEAD and ranges, as GEO's does."""

    files: dict[str, bytes] = field(default_factory=dict)
    lengths: bool = True
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    url: str = ""

    def names(self, command: str = "GET") -> list[str]:
        return [path.rsplit("/", 1)[1] for asked, path, _ in self.asked if asked == command]


@contextmanager
def geo_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server of all sections' files."""
    state = Server()

    class Handler(Quiet, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            state.asked.append((self.command, self.path, wanted))
            if self.path not in state.files:
                self.send_error(404)
                return
            content = state.files[self.path]
            start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
            if wanted and start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if wanted else 200)
            if state.lengths:
                self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content[start:])

        def do_HEAD(self) -> None:
            self.do_GET()

    monkeypatch.setattr(download, "PAUSE_SECONDS", 0.0)
    with serving(Handler, monkeypatch) as url:
        state.url = f"{url}/geo/samples/"
        for name, gsm in cscc.SAMPLES.items():
            folder = f"/geo/samples/GSM4284nnn/{gsm}/suppl"
            state.files[f"{folder}/{gsm}_{name}_stdata.tsv.gz"] = gzip.compress(COUNTS.encode())
            state.files[f"{folder}/{gsm}_spot_data-selection-{name}.tsv.gz"] = gzip.compress(SPOTS.encode())
            state.files[f"{folder}/{gsm}_{name}.jpg.gz"] = gzip.compress(picture())
        yield state


TABLE, SPOT_FILE, IMAGE = (
    f"/geo/samples/GSM4284nnn/{GSM}/suppl/{name}"
    for name in (f"{GSM}_{NAME}_stdata.tsv.gz", f"{GSM}_spot_data-selection-{NAME}.tsv.gz", f"{GSM}_{NAME}.jpg.gz")
)


def blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
