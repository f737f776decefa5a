from __future__ import annotations

from pathlib import Path

import pytest

from hist2st_pyg.utils.executors import Failed
from hist2st_pyg.utils.jobs import failure, keep_failure, same_configuration


def test_another_configuration_is_refused_and_may_be_replaced() -> None:
    before, now = {"a": 1, "b": [0] * 100}, {"a": 1, "b": None}
    assert same_configuration(Path("out"), before, dict(before), overwrite=False)
    with pytest.raises(ValueError, match=r"^out was made with another configuration \(b was \[0, .* \.\.\., is None\)"):
        same_configuration(Path("out"), before, now, overwrite=False)
    with pytest.raises(ValueError, match=r"\(c was None, is 2\); remove it, choose another folder, or replace it"):
        same_configuration(Path("out"), before, {**before, "c": 2}, overwrite=False)
    assert not same_configuration(Path("out"), before, now, overwrite=True)


def test_a_failure_that_cannot_be_kept_is_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").touch()
    assert not keep_failure(tmp_path / "file" / "slide.json", Failed("ended", "Traceback\nended\n"))
    assert "Cannot write the traceback of a failed job: " in caplog.text
    assert "slide.failed.txt cannot be written" in caplog.text


def test_a_failure_is_kept_until_the_job_succeeds(tmp_path: Path) -> None:
    record = tmp_path / "slide.1.json"
    assert not keep_failure(record, Failed("ended", "Traceback\nended\n"))
    assert failure(record) == tmp_path / "slide.1.failed.txt"
    assert failure(record).read_text() == "Traceback\nended\n"
    assert keep_failure(record, {"result": 1})
    assert keep_failure(record, None)
    assert not list(tmp_path.iterdir())
