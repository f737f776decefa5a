from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hist2st_pyg.utils.safe_load import read_lightning, read_tensors


@pytest.mark.parametrize("zipped", [True, False], ids=["new format", "old format"])
def test_both_of_torch_s_formats_are_read(tmp_path: Path, zipped: bool) -> None:
    torch.save({"a": torch.arange(3)}, tmp_path / "a.pth", _use_new_zipfile_serialization=zipped)
    assert torch.equal(read_tensors(tmp_path / "a.pth")["a"], torch.arange(3))


def test_what_holds_code_or_nothing_is_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "layer.pth")
    (tmp_path / "empty.pth").touch()
    for name in ("layer.pth", "empty.pth"):
        with pytest.raises(ValueError, match=f"{name} cannot be read as a checkpoint without executing code"):
            read_tensors(tmp_path / name)


def test_nobody_is_told_to_execute_a_file_s_code(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "layer.pth")
    (tmp_path / "text.pth").write_text("hello\n" * 9)
    (tmp_path / "half.pth").write_bytes((tmp_path / "layer.pth").read_bytes()[:200])
    for name in ("layer.pth", "text.pth", "half.pth"):
        for reader in (read_tensors, read_lightning):
            with pytest.raises(ValueError, match=name) as refused:
                reader(tmp_path / name)
            assert "weights_only" not in str(refused.value)
            assert "\n" not in str(refused.value)
