"""Convert a checkpoint of an original program, without executing code from it.

Hist2ST's checkpoints are state dicts, HisToGene's are Lightning's; neither stores the model's arguments or genes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from hist2st_pyg.compat.arguments import ORIGINALS, original_arguments
from hist2st_pyg.io.tables import read_genes
from hist2st_pyg.models.base import ExpressionModel
from hist2st_pyg.models.saved_values import UNUSABLE_ERRORS, check_finite
from hist2st_pyg.nn.weight_limit import as_large_as, weight_limit
from hist2st_pyg.section import SectionRecord
from hist2st_pyg.utils.json_files import read_json
from hist2st_pyg.utils.resolver import resolve
from hist2st_pyg.utils.safe_load import read_lightning


@dataclass(frozen=True)
class Converted:
    """A converted checkpoint.

    Args:
        model: The converted model in eval mode, with a preprocessing that cuts patches as the program does.
        name: The program, a key of :data:`ORIGINALS`.
        arguments: The program's arguments.
        assumed: Those arguments that neither the file nor the caller determined, with their published values.
    """

    model: ExpressionModel
    name: str
    arguments: dict[str, Any]
    assumed: dict[str, Any]


def convert(
    path: str | Path,
    *,
    name: str | None = None,
    config: Mapping[str, Any] | None = None,
    genes: str | Path | Sequence[str] | None = None,
    training_sections: Sequence[str] = (),
) -> Converted:
    """Convert a checkpoint of the original Hist2ST or HisToGene to one of our models, without executing code from it.

    Args:
        path: The ``.ckpt`` or ``.pth``: a state dict, or a checkpoint of Lightning with one.
        name: The program, a key of :data:`ORIGINALS`; None detects it by the weights.
        config: Arguments that the weights do not determine and that differ from the publication, by the names of
            :class:`hist2st_pyg.compat.original.Hist2ST`; for the data ``neighbors`` and ``prune``.
        genes: The gene panel in the order of the weights, or its file, one gene per line. None numbers the genes.
        training_sections: The training sections as ``"patient/section"``, so that evaluation can detect them.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is not such a checkpoint, or an argument does not fit the weights.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no checkpoint {path}.")
    records = []
    for text in training_sections:
        patient, _, section = text.rpartition("/")
        if not patient or not section:
            raise ValueError(f"A training section must be written as patient/section, got {text!r}.")
        records.append(SectionRecord(section, patient, "given"))
    state, saved = _read(path)
    name = _recognize(state, path) if name is None else name
    original = resolve(ORIGINALS, name, "name")
    # Lightning may have saved arguments that the model does not have.
    given = {key: value for key, value in saved.items() if key in original.known} | dict(config or {})
    try:
        arguments = original_arguments(original, state, given)
        with weight_limit("the checkpoint holds fewer", **as_large_as(state)):
            model = original.load(state, arguments, None if genes is None else _panel(genes, arguments["n_genes"]))
    except UNUSABLE_ERRORS as error:
        raise ValueError(f"{path}, as a checkpoint of {name}: {' '.join(str(error).split())}") from error
    check_finite(model.state_dict(), str(path))
    if records:
        model.training_sections = {"train": records}
    assumed = {key: arguments[key] for key in original.published if key not in given}
    return Converted(model, name, arguments, assumed)


def read_config(path: str | Path) -> dict[str, Any]:
    """Read arguments from a JSON file.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is not JSON or not a mapping.
    """
    config = read_json(path)
    if not isinstance(config, dict):
        raise ValueError(f'{path} must hold arguments by name, such as {{"policy": "mean"}}.')
    return config


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read the weights and the arguments that Lightning saved."""
    content = read_lightning(path)
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} must hold weights by name, got {type(content).__name__}.")
    if {"description", "state_dict"} <= set(content):
        raise ValueError(f"{path} is a checkpoint of hist2st_pyg, which load_model reads without conversion.")
    state, saved = content, {}
    if isinstance(content.get("state_dict"), Mapping):
        state, saved = content["state_dict"], content.get("hyper_parameters", {})
    if not isinstance(saved, Mapping):
        raise ValueError(f"{path}: hyper_parameters must hold arguments by name, got {type(saved).__name__}.")
    if names := [key for key in state if not isinstance(key, str)]:
        raise ValueError(f"{path} must hold weights by name, got the name {names[0]!r:.100}.")
    if wrong := [key for key, value in state.items() if not isinstance(value, Tensor)]:
        raise ValueError(f"{path} holds {wrong[0]!r}, which is not a weight but {type(state[wrong[0]]).__name__}.")
    return dict(state), dict(saved)


def _recognize(state: Mapping[str, Tensor], path: Path) -> str:
    for name, original in ORIGINALS.items():
        if any(re.match(original.mark, weight) for weight in state):
            return name
    first = ", ".join(list(state)[:3]) or "none"
    raise ValueError(f"{path} does not hold the weights of {' or '.join(ORIGINALS)}; its first weights are {first}.")


def _panel(genes: str | Path | Sequence[str], n_genes: int) -> list[str]:
    """Read the gene panel and check its length against the weights."""
    if not isinstance(genes, str | Path):
        source, panel = "genes", list(genes)
    elif Path(genes).suffix == ".npy":
        raise ValueError(
            f"{genes} is a numpy file; those of the original programs are pickles, which are not loaded. If you trust "
            "it, convert it to text: numpy.savetxt('genes.txt', numpy.load(FILE, allow_pickle=True), fmt='%s')."
        )
    else:
        source, panel = str(genes), read_genes(genes)
    if len(panel) != n_genes:
        raise ValueError(f"{source}: the panel has {len(panel)} genes, but the weights have {n_genes}.")
    return panel
