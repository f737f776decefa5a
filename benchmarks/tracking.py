"""Log a cell's result to its wandb run: per-gene table, maps, the result file."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger

from hist2st_pyg.training import wandb_runs

log = logging.getLogger(__name__)


def log_result(loggers: Sequence[Logger], result: dict[str, Any], path: Path, figures: Path) -> None:
    """Add a result to the open wandb run, if any; errors of wandb are logged and do not fail the cell.

    Args:
        loggers: The cell's loggers.
        result: The content of the result's JSON.
        path: The JSON.
        figures: The folder of pictures of the test sections.
    """
    for logger in wandb_runs(loggers):
        import wandb

        run = logger.experiment
        try:
            run.summary.update({f"test/{name}": value for name, value in result["metrics"].items()})
            rows = [
                [section, gene, pcc, numbers["ceiling"].get(gene)]
                for section, numbers in result["test"].items()
                for gene, pcc in numbers["per_gene"].items()
            ]
            run.log({"test/per_gene": wandb.Table(["section", "gene", "pcc", "ceiling"], rows)})
            for picture in sorted(figures.glob("*_maps.png")):
                run.log({f"test/{picture.stem}": wandb.Image(str(picture))})
            artifact = wandb.Artifact(f"result-{run.id}", type="result")
            artifact.add_file(str(path))
            run.log_artifact(artifact)
        except (wandb.Error, OSError) as error:
            log.warning("wandb could not log the result of %s: %s", path, error)
