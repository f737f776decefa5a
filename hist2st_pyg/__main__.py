"""``python -m hist2st_pyg`` is the command line ``hist2st``."""

from __future__ import annotations

import sys

from hist2st_pyg.cli import main

if __name__ == "__main__":
    sys.exit(main())
