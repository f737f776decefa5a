"""Reading wandb's offline runs back; wandb itself has no reader in Python."""

from __future__ import annotations

import json
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class OfflineRun:
    """What an offline run holds."""

    config: dict[str, Any]
    history: list[dict[str, Any]]
    summary: dict[str, Any]
    artifacts: set[str]
    group: str
    job_type: str
    id: str
    sweep: str
    name: str
    project: str
    entity: str
    tags: list[str]
    notes: str


def read_offline_run(folder: Path, part: int = 0, of: int = 1) -> OfflineRun:
    """Read a part of the offline run under ``folder/wandb``, which has several where it was gone on with."""
    parts = [_finished(file) for file in folder.glob("wandb/offline-run-*/run-*.wandb")]
    assert len(parts) == of
    # By the time in the file: those in the folders' names are of whole seconds.
    records = sorted(parts, key=lambda part: _run(part).start_time.ToNanoseconds())[part]
    run = _run(records)
    config = [update for r in records for update in (*r.run.config.update, *r.config.update)]
    return OfflineRun(
        config={update.key: json.loads(update.value_json) for update in config},
        history=[
            {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in r.history.item}
            for r in records
            if r.HasField("history")
        ],
        summary={
            "/".join(update.nested_key) or update.key: json.loads(update.value_json)
            for r in records
            for update in r.summary.update
        },
        artifacts={r.artifact.type for r in records if r.HasField("artifact")}
        | {r.request.log_artifact.artifact.type for r in records} - {""},
        group=run.run_group,
        job_type=run.job_type,
        id=run.run_id,
        sweep=run.sweep_id,
        name=run.display_name,
        project=run.project,
        entity=run.entity,
        tags=list(run.tags),
        notes=run.notes,
    )


def _run(records: list[Any]) -> Any:
    return next(record.run for record in records if record.HasField("run"))


def _finished(file: Path) -> list[Any]:
    """The records of a run; wandb's own process may close the file a moment after the run is finished."""
    for _ in range(100):
        records = _records(file)
        if any(record.HasField("exit") for record in records):
            break
        time.sleep(0.3)
    return records


def _records(file: Path) -> list[Any]:
    """The records: LevelDB's log format, 7 bytes of head, then blocks of 32 KiB."""
    from wandb.proto import wandb_internal_pb2

    data, at, parts, records = file.read_bytes(), 7, b"", []
    while at < len(data):
        left = 32768 - at % 32768
        if left < 7:  # a record's head does not span blocks
            at += left
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # full, last
            records.append(wandb_internal_pb2.Record.FromString(parts))
            parts = b""
    return records
