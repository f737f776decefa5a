"""What attackers would put into files: each writes PROOF if it runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROOF = Path("PROOF")


class Evil:
    """Writes PROOF when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, (f"touch {PROOF.absolute()}",)


def call() -> dict[str, Any]:
    return {"class_path": "subprocess.getoutput", "init_args": {"cmd": f"touch {PROOF.absolute()}"}}


def module() -> dict[str, Any]:
    """A class of a module beside the configuration."""
    Path("evilmod.py").write_text(f"open({str(PROOF.absolute())!r}, 'w')\nclass L: pass\n")
    return {"class_path": "evilmod.L"}
