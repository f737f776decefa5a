"""Measure the time of `import hist2st_pyg` relative to `import torch_geometric`, in alternating processes.

python -m benchmarks.import_time
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from hist2st_pyg.utils.files import write_json

RESULT = Path(__file__).parent / "results" / "import_time.json"
MODULES = ("torch_geometric", "hist2st_pyg")


def seconds(module: str) -> float:
    """Measure the wall time of a process that imports a module."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
    return time.perf_counter() - started


def main(runs: int = 5) -> None:
    """Measure, and write the result with the ratio of the fastest runs."""
    times = [{module: seconds(module) for module in MODULES} for _ in range(runs)]
    fastest = {module: round(min(run[module] for run in times), 2) for module in MODULES}
    result = {"runs": runs, "seconds": fastest, "ratio": round(fastest[MODULES[1]] / fastest[MODULES[0]], 2)}
    write_json(RESULT, result)
    print(RESULT, result)


if __name__ == "__main__":
    main()
