"""Folders of a user or of another program are neither replaced nor written to."""

from __future__ import annotations

import contextlib
import hashlib
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import yaml
from _helpers.faults import content, put, run, take
from _helpers.local_server import Quiet, serving


@pytest.mark.parametrize("command", ["demo --output work"])
def test_a_folder_of_the_user_s_survives(command: str, world: Path) -> None:
    take(world, ["run"])
    Path("run").rename("work")
    put("work/summary.json", "{}")()
    put("work/notes.txt", "a year's notes")()
    before = content(Path("work"))
    assert run(command) == 2
    assert content(Path("work")) == before


def test_a_download_stays_below_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    class Server(Quiet, BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "4")
            self.end_headers()
            self.wfile.write(b"evil")

    Path("victim").mkdir()
    Path("root/data").mkdir(parents=True)
    Path("root/data/ST-imgs").symlink_to(Path("victim").absolute())
    sha = hashlib.sha1(b"blob 4\0evil").hexdigest()
    paths = ("data/ST-imgs/A/A1/a.jpg", "../out.jpg", "/tmp/out.jpg", "data/ST-imgs/A/A1/../../../../../out.jpg")
    for path in paths:
        Path("m.tsv").write_text(f"path\tgit_blob_sha1\n{path}\t{sha}\n")
        with serving(Server, monkeypatch) as url:
            run(f"download her2st --root root --manifest m.tsv --base_url {url}/ --parts [images]")
    assert not list(Path("victim").rglob("*"))
    assert not Path("out.jpg").exists()


def test_a_grid_removes_no_folder_of_another_s(tmp_path: Path) -> None:
    from benchmarks.cell import main as bench

    victim = tmp_path / "victim" / "0"
    victim.mkdir(parents=True)
    (victim / "precious.txt").write_text("precious")
    for label in (str(tmp_path / "victim"), "../../../../../victim"):
        Path("g.yaml").write_text(
            yaml.safe_dump(
                {
                    "datasets": {"synthetic": {"options": {"spots": 16, "genes": 12, "pitch": 32}}},
                    "models": {label: {"model": {"name": "ridge"}}},
                    "data": {"n_genes": 4, "patch_size": 16},
                }
            )
        )
        with contextlib.suppress(SystemExit):
            bench(["g.yaml", "--index", "0", "--results", "results", "--work", "a/b/work", "--wandb", "disabled"])
    assert (victim / "precious.txt").read_text() == "precious"
