from __future__ import annotations

import builtins
import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from _helpers.saved_models import same, small
from huggingface_hub import HfApi, constants
from huggingface_hub.utils import close_session

from hist2st_pyg import Hist2ST, load_model
from hist2st_pyg.cli import main
from hist2st_pyg.models import ExpressionModel
from hist2st_pyg.models.card import edited
from hist2st_pyg.models.simple import Mean

SHA = "0123456789abcdef0123456789abcdef01234567"
REPO = "lab/breast"


class Hub:
    """What of the hub a download needs: repositories of one commit each, served on this machine."""

    def __init__(self) -> None:
        self.repos: dict[str, dict[str, bytes]] = {}
        self.asked: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.answer(body=False)

            def do_GET(self) -> None:
                self.answer(body=True)

            def answer(self, body: bool) -> None:
                path = self.path.partition("?")[0]
                status, headers, content = hub.answer(path)
                if body:
                    hub.asked.append(path)
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                if body:
                    self.wfile.write(content)

            def log_message(self, *arguments: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            repo, kind, revision = "/".join(parts[2:4]), parts[4], parts[5]
        elif len(parts) > 3 and parts[2] == "resolve":
            repo, kind, revision = "/".join(parts[:2]), "resolve", parts[3]
        else:
            return 404, {}, b""
        if repo not in self.repos:
            return 404, {"X-Error-Code": "RepoNotFound"}, b""
        if revision not in (SHA, "main", "v1"):
            return 404, {"X-Error-Code": "RevisionNotFound"}, b""
        files = self.repos[repo]
        if kind == "revision":
            siblings = [{"rfilename": name} for name in files]
            return 200, {}, json.dumps({"id": repo, "sha": SHA, "siblings": siblings, "tags": []}).encode()
        if kind == "tree":
            entries = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in files.items()
            ]
            return 200, {"Content-Type": "application/json"}, json.dumps(entries).encode()
        name = "/".join(parts[4:])
        if name not in files:
            return 404, {"X-Error-Code": "EntryNotFound"}, b""
        etag = f'"{hashlib.sha1(files[name]).hexdigest()}"'
        return 200, {"X-Repo-Commit": SHA, "ETag": etag}, files[name]

    def hold(self, repo: str, folder: Path) -> None:
        self.repos[repo] = {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def server() -> Iterator[Hub]:
    hub = Hub()
    yield hub
    hub.server.shutdown()
    hub.server.server_close()


@pytest.fixture
def hub(server: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    server.repos.clear()
    server.asked.clear()
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    close_session()
    yield server
    close_session()


# Folders, for which huggingface_hub is not asked.


def test_a_folder_has_no_revision(tmp_path: Path) -> None:
    folder = small().save_pretrained(tmp_path / "model")
    with pytest.raises(ValueError, match="model is on this machine, so revision='v1' has no effect"):
        Hist2ST.from_pretrained(folder, revision="v1")


@pytest.mark.parametrize("name", ["nowhere", "/no/where", "./no/where", "a/b/c", "../x/y"])
def test_what_is_neither_here_nor_an_id(name: str) -> None:
    with pytest.raises(FileNotFoundError, match=r"There is no model at .*, and it is not an id owner/name on the hub"):
        ExpressionModel.from_pretrained(name)


def test_load_model_fetches_nothing(hub: Hub) -> None:
    hub.hold(REPO, small().save_pretrained("model"))
    message = r"There is no model at lab/breast\. Load a model from the hub by ExpressionModel\.from_pretrained\."
    with pytest.raises(FileNotFoundError, match=message):
        load_model(REPO)
    assert hub.asked == []


# The hub.


def test_a_model_is_fetched_by_its_id(hub: Hub, tmp_path: Path) -> None:
    model = small()
    folder = model.save_pretrained("model")
    (folder / "large.bin").write_bytes(b"no part of the model")
    hub.hold(REPO, folder)
    loaded = Hist2ST.from_pretrained(REPO)
    assert same(model, loaded)
    fetched = {path.rpartition("/")[2] for path in hub.asked if "/resolve/" in path}
    assert fetched == {"config.json", "model.safetensors"}
    # From the cache, with nothing fetched again; then fetched again.
    before = len(hub.asked)
    assert same(model, ExpressionModel.from_pretrained(REPO, local_files_only=True))
    assert len(hub.asked) == before
    assert same(model, ExpressionModel.from_pretrained(REPO, force_download=True))
    assert sum("/resolve/" in path for path in hub.asked) == 4
    assert same(model, ExpressionModel.from_pretrained(REPO, revision="v1", cache_dir=tmp_path / "own", token=False))
    assert (tmp_path / "own").is_dir()


def test_commands_take_an_id(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    hub.hold(REPO, Mean(3).save_pretrained("model"))
    assert main(["info", REPO]) == 0
    assert json.loads(capsys.readouterr().out)["model"] == "mean"
    assert main(["info", "lab/nothing"]) == 2
    assert "There is no model at lab/nothing, and this id could not be downloaded" in capsys.readouterr().err


def test_the_hub_s_model_is_checked_like_a_folder_s(hub: Hub) -> None:
    hub.hold(REPO, Mean(3).save_pretrained("model"))
    with pytest.raises(ValueError, match=r"lab/breast \(Hugging Face hub\) holds a Mean, not a Hist2ST"):
        Hist2ST.from_pretrained(REPO)
    hub.repos["lab/other"] = {"config.json": b"{}", "model.bin": b""}
    with pytest.raises(FileNotFoundError, match=r"lab/other \(Hugging Face hub\) is not a saved model: it has no"):
        Hist2ST.from_pretrained("lab/other")
    hub.repos["lab/damaged"] = {"config.json": b"{", "model.safetensors": b""}
    with pytest.raises(ValueError, match=r"lab/damaged \(Hugging Face hub\): the saved model is damaged"):
        Hist2ST.from_pretrained("lab/damaged")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("lab/none", {}, "There is no model at lab/none, and this id could not be downloaded from the hub: .*404"),
        (REPO, {"revision": "v9"}, "There is no model at lab/breast, and this id .* hub: .*404"),
        ("lab/cached", {"local_files_only": True}, "There is no model at lab/cached.*cached snapshot"),
        ("lab/no--double", {}, "There is no model at lab/no--double.*Cannot have -- or"),
    ],
)
def test_what_the_hub_has_not(hub: Hub, name: str, options: dict[str, Any], message: str) -> None:
    hub.hold(REPO, small().save_pretrained("model"))
    with pytest.raises(FileNotFoundError, match=f"(?s){message}"):
        ExpressionModel.from_pretrained(name, **options)


def test_without_huggingface_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = builtins.__import__

    def missing(name: str, *arguments: Any, **options: Any) -> Any:
        if name.partition(".")[0] == "huggingface_hub":
            raise ModuleNotFoundError("No module named 'huggingface_hub'", name="huggingface_hub")
        return real(name, *arguments, **options)

    model = small()
    folder = model.save_pretrained(tmp_path / "model")
    monkeypatch.setattr(builtins, "__import__", missing)
    assert same(model, Hist2ST.from_pretrained(folder))
    for call in (lambda: Hist2ST.from_pretrained(REPO), lambda: model.push_to_hub(REPO)):
        with pytest.raises(ImportError, match=r"pip install 'hist2st_pyg\[hub\]'"):
            call()


# Sending.


@pytest.fixture
def sent(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Calls that would change the hub, recorded; what is uploaded is then in the hub."""
    calls: list[dict[str, Any]] = []

    class Created:
        def __init__(self, repo_id: str) -> None:
            self.repo_id = repo_id

    def create_repo(api: HfApi, repo_id: str, **options: Any) -> Created:
        calls.append({"what": "create", "token": api.token, "repo_id": repo_id, **options})
        hub.repos.setdefault(repo_id, {})
        return Created(repo_id)

    def upload_folder(api: HfApi, *, folder_path: Path, allow_patterns: list[str], **options: Any) -> str:
        calls.append({"what": "upload", "files": sorted(allow_patterns), **options})
        hub.repos[options["repo_id"]] |= {name: (folder_path / name).read_bytes() for name in allow_patterns}
        return f"{hub.url}/{options['repo_id']}/commit/{SHA}"

    monkeypatch.setattr(HfApi, "create_repo", create_repo)
    monkeypatch.setattr(HfApi, "upload_folder", upload_folder)
    return calls


def test_what_is_sent_comes_back(hub: Hub, sent: list[dict[str, Any]]) -> None:
    model = small()
    url = model.push_to_hub(REPO, commit_message="First.", private=True, token="secret", create_pr=True)
    assert url == f"{hub.url}/{REPO}/commit/{SHA}"
    assert sent == [
        {"what": "create", "token": "secret", "repo_id": REPO, "private": True, "exist_ok": True},
        {
            "what": "upload",
            "files": ["README.md", "config.json", "model.safetensors"],
            "repo_id": REPO,
            "commit_message": "First.",
            "revision": None,
            "create_pr": True,
        },
    ]
    assert f'ExpressionModel.from_pretrained("{REPO}")' in hub.repos[REPO]["README.md"].decode()
    assert same(model, Hist2ST.from_pretrained(REPO))


def test_the_hub_s_card_stays_where_it_was_edited(
    hub: Hub, sent: list[dict[str, Any]], caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    small().push_to_hub(REPO)
    small(1).push_to_hub(REPO, model_card_kwargs={"license": "mit"})  # as it was written: written again
    card = hub.repos[REPO]["README.md"]
    assert b"license: mit" in card
    hub.repos[REPO]["README.md"] = card.replace(b"For research only.", b"For our research.")
    assert not caplog.records
    small(2).push_to_hub(REPO)
    assert sent[-1]["files"] == ["config.json", "model.safetensors"]
    assert "lab/breast: its card was edited and is kept; overwrite_card=True overwrites it" in caplog.text
    assert b"For our research." in hub.repos[REPO]["README.md"]
    assert same(small(2), Hist2ST.from_pretrained(REPO, force_download=True))
    small(2).push_to_hub(REPO, overwrite_card=True)
    assert b"For our research." not in hub.repos[REPO]["README.md"]
    (tmp_path / "README.md").write_bytes(hub.repos[REPO]["README.md"])
    assert not edited(tmp_path / "README.md")


def test_a_model_that_cannot_be_saved_is_not_announced(hub: Hub, sent: list[dict[str, Any]]) -> None:
    model = small()
    with torch.no_grad():
        model.streams[0].expression[1].weight[0, 0] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        model.push_to_hub(REPO)
    assert sent == []
    assert hub.repos == {}
