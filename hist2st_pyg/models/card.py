"""The model card for the hub: a saved model's description, training data, input, and limits."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hist2st_pyg.data.preprocessing import Preprocessing
from hist2st_pyg.models.markdown import code, code_list, wrapped
from hist2st_pyg.models.saved import GeneTrust, SavedModel
from hist2st_pyg.models.training_sections import describe_sections, describe_split, read_training_sections
from hist2st_pyg.nn.vision import encoder_origin
from hist2st_pyg.utils.json_files import read_json

CARD = "README.md"
Kept = Literal["folder", "hub", "package"]
"""The kinds of place that a saved model is loaded from."""
TAGS = ("spatial-transcriptomics", "gene-expression", "histology", "digital-pathology", "pytorch")
_SEAL = "<!-- Written by hist2st_pyg, which writes it again only while its text is as written: "
VALIDATION = "PCC on the validation spots, mean over genes; it chose the epoch, so it is optimistic"
TASKS = {
    "prediction": "It reads only the image.",
    "interpolation": "It also reads the measured expression of the section's other spots, so it fills gaps of a "
    "measurement and cannot replace one.",
    "diagnostic": "It reads part of the spot's own counts: a diagnostic of data sets, not a predictor.",
}
LIMITS = """\
- For research only. It is not a medical device and not for diagnosis, prognosis or treatment.
- Predictions are estimates from the appearance of tissue, not measurements. Genes whose expression is hardly visible in
  H&E are predicted near their mean; check the results of each gene before you rely on it.
- Other stains, scanners, magnifications, organs, species or preparations than those of the training sections shift the
  result without a sign in the output. Check the model on your own measured sections first.
- The patients' characteristics are not recorded, and differences between groups of people were not examined.
"""


def model_card(
    model: SavedModel,
    description: Mapping[str, Any],
    source: str,
    *,
    kept: Kept = "folder",
    title: str | None = None,
    license: str | None = None,
    data: str | None = None,
    split: str | None = None,
    metrics: Mapping[str, float | str] | None = None,
    notes: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> str:
    """The text of a model's ``README.md``: YAML for the hub, and information for users.

    Args:
        model: The model.
        description: Its description by :func:`~hist2st_pyg.models.pretrained.describe`.
        source: The argument that loads it: a folder, an id on the hub, or the name of a packaged model.
        kept: The kind of ``source``.
        title: The heading.
        license: The license of the weights, by the hub's name (``"mit"``); None states none.
        data: The training data, in words; the sections are always listed.
        split: The split into training, validation and test, in words.
        metrics: Numbers by their name.
        notes: Further Markdown.
        metadata: Further fields of the YAML, such as ``datasets``, ``license_name``, ``license_link``.
    """
    preprocessing, sections = model.preprocessing, model.training_sections
    genes = f" of {len(preprocessing.genes)} genes" if preprocessing is not None else ""
    parts = {
        "": f"Spatial gene expression{genes} from H&E histology, with hist2st_pyg. {TASKS[model.task]}",
        "Notes": notes or "",
        "Use": _use(model, description, source, kept),
        "Training data": "\n\n".join(filter(None, [data, describe_sections(sections)])),
        "Split": split or describe_split(sections),
        "Results": _results(metrics),
        "Genes": "\n\n".join(filter(None, [_genes(preprocessing), _trust(preprocessing, model.gene_trust)])),
        "Input and output": _preprocessing(preprocessing, model.num_hops != 0),
        "Model": _model(model, description),
        "Intended use and limits": LIMITS,
    }
    lines = [f"# {title or f'{type(model).__name__}: gene expression from histology'}"]
    lines += [f"## {heading}\n\n{text.strip()}" if heading else text for heading, text in parts.items() if text]
    return seal(_front(description["model"], license, metadata) + wrapped("\n\n".join(lines)) + "\n")


def seal(text: str) -> str:
    """Append a comment that reveals later changes of the text."""
    return f"{text.rstrip()}\n\n{_SEAL}{_digest(text)} -->\n"


def edited(path: Path) -> bool:
    """Whether the card exists and was written or changed by hand."""
    if not path.is_file():
        return False
    # hist2st_pyg writes UTF-8; a file in another encoding was written by hand.
    text, _, end = path.read_text(encoding="utf-8", errors="replace").rpartition(_SEAL)
    return end.strip() != f"{_digest(text)} -->"


def run_facts(run: str | Path) -> dict[str, Any]:
    """Read the arguments of :func:`model_card` from a run folder; see :func:`summary_facts`.

    Raises:
        FileNotFoundError: If the folder has no ``summary.json``.
        ValueError: If the file is not a run's summary.
    """
    path = Path(run) / "summary.json"
    summary = read_json(path)
    try:
        return summary_facts(summary)
    except (AttributeError, LookupError, TypeError) as error:
        raise ValueError(f"{path} is not the summary of a run: {type(error).__name__}: {error}.") from error


def summary_facts(summary: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``data``, ``split`` and ``metrics`` for :func:`model_card` from a run's ``summary.json``."""
    data = summary["config"]["data"]
    sections = read_training_sections(summary["sections"], "summary.json")
    facts: dict[str, Any] = {"data": f"Sections of {code(data['name'])}.", "split": describe_split(sections)}
    validated = summary["val_pcc"] is not None and math.isfinite(summary["val_pcc"])
    if validated and not sections["val"]:
        facts["split"] = "Squares of the training sections were held out for validation."
    if data["test"]:
        facts["split"] += f" Kept out for testing: {code_list(data['test'])}."
    if validated:
        facts["metrics"] = {VALIDATION: summary["val_pcc"]}
    return facts


def _front(key: str, license: str | None, metadata: Mapping[str, Any] | None) -> str:
    """The YAML block, without a pipeline tag, because the hub has none for this task."""
    import yaml

    fields: dict[str, Any] = {"library_name": "hist2st_pyg", "tags": [*TAGS, key]}
    if license is not None:
        fields["license"] = license
    fields.update(metadata or {})
    return f"---\n{yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)}---\n\n"


def _use(model: SavedModel, description: Mapping[str, Any], source: str, kept: Kept) -> str:
    preprocessing, own = model.preprocessing, type(model).__name__
    missing = {
        name: value["custom"]
        for name, value in description["arguments"].items()
        if isinstance(value, dict) and set(value) == {"custom"}
    }
    where = json.dumps(source) + "".join(f", {name}={value.rpartition('.')[2]}" for name, value in missing.items())
    imports = ["from hist2st_pyg.models import ExpressionModel"] if kept == "hub" else []
    lines = ["import hist2st_pyg as h", *imports, ""]
    load = "ExpressionModel.from_pretrained" if kept == "hub" else "h.load_model"
    if description["model"] == own:  # a class that is not this package's
        missing[own], load = f"{type(model).__module__}.{own}", f"{own}.from_pretrained"
    lines.append(f"model = {load}({where})" + ("  # the folder that this card is in" if kept == "folder" else ""))
    if preprocessing is not None and preprocessing.embedding is None and not model.uses_counts:
        lines.append('adata = h.predict(model, "IMAGE.png", "SPOTS.csv")  # X: log10 expression, spots x genes')
    elif preprocessing is not None:
        lines.append("adata = h.predict_section(model, section)  # one of h.load_sections(...); X: log10 expression")
    notes = [f"`{name}` is `{value}`, which the folder lacks: import it first." for name, value in missing.items()]
    return "\n\n".join(["```python\n" + "\n".join(lines) + "\n```", *notes])


def _results(metrics: Mapping[str, float | str] | None) -> str:
    if not metrics:
        return "No results were recorded with the model. `hist2st evaluate` measures it on unseen sections."
    rows = [f"| {name} | {value if isinstance(value, str) else f'{value:.4g}'} |" for name, value in metrics.items()]
    return "\n".join(["| what | value |", "|---|---:|", *rows])


def _genes(preprocessing: Preprocessing | None) -> str:
    if preprocessing is None:
        return "The model has no preprocessing, so its genes are unknown and it cannot read images."
    digest = hashlib.sha256("\n".join(preprocessing.genes).encode()).hexdigest()
    more = ", ..." if len(preprocessing.genes) > 10 else ""
    return (
        f"{_count(len(preprocessing.genes), 'gene')}, in this order: {code_list(preprocessing.genes[:10])}{more} (all "
        f"in `config.json`). SHA-256 of the names, one a line: `{digest}`."
    )


def _trust(preprocessing: Preprocessing | None, trust: GeneTrust) -> str:
    """The genes' validation PCC: quartiles, and the best."""
    if preprocessing is None or not trust:
        return ""
    text = f"{sum(map(bool, trust['detected']))} of them have counts in at least a tenth of the training spots."
    known = sorted(
        ((v, gene) for v, gene in zip(trust["val_pcc"], preprocessing.genes, strict=True) if v is not None),
        key=lambda pair: (-pair[0], pair[1]),
    )
    if not known:
        return f"{text} The training had no validation, so no gene has a validation PCC."
    low, middle, high = np.quantile([v for v, _ in known], [0.25, 0.5, 0.75])
    best = ", ".join(f"{code(gene)} {v:.2f}" for v, gene in known[:10])
    return (
        f"{text} Validation PCC: quartiles {low:.2f}, {middle:.2f}, {high:.2f}; best: {best}. A prediction's `var` has "
        "it for each gene (`val_pcc`), with the noise ceiling of the same spots (`val_ceiling`)."
    )


def _preprocessing(preprocessing: Preprocessing | None, has_graph: bool) -> str:
    if preprocessing is None:
        return "Not recorded."
    width = f"{preprocessing.patch_size} image pixels at any resolution"
    if preprocessing.patch_um is not None:
        width = f"{preprocessing.patch_um:g} µm, so the µm per pixel of an image must be known"
    elif preprocessing.patch_pitch is not None:
        width = f"{preprocessing.patch_pitch:g} × the distance of neighboring spots"
    scales = (
        "" if preprocessing.scales == (1.0,) else f"; times {', '.join(f'{scale:g}' for scale in preprocessing.scales)}"
    )
    swapped = ", the axes swapped as in the original programs" if preprocessing.transpose_patches else ""
    side = preprocessing.patch_size
    rows = {
        "patches": f"{side} × {side} pixels around each spot, RGB, 0 to 255{swapped}",
        "field of view": f"{width}{scales}",
        "stains": "unchanged" if preprocessing.stain == "none" else f"normalized: `{preprocessing.stain}`",
    }
    if preprocessing.embedding is not None:
        rows = {"embeddings": f"`obsm[{preprocessing.embedding!r}]` of a section, instead of an image"}
    steps = "array steps" if preprocessing.coord_type == "array" else "spot distances"
    near = "" if preprocessing.max_distance is None else f", at most {preprocessing.max_distance:g} {steps} away"
    pruned = "" if preprocessing.prune == "none" else f", pruned: `{preprocessing.prune}`"
    if has_graph:
        kind = _count(preprocessing.k, "nearest spot")
        if preprocessing.graph != "knn":
            kind = f"`{preprocessing.graph}` " + ", ".join(
                f"{name}={value}" for name, value in preprocessing.graph_kwargs.items()
            )
        rows["graph"] = f"{kind.strip()} by {preprocessing.coord_type} position{near}{pruned}"
    if preprocessing.um_per_pixel is not None:
        rows["training images"] = f"{preprocessing.um_per_pixel:.3g} µm per pixel"
    if preprocessing.pitch is not None:
        rows["training spots"] = f"{preprocessing.pitch:.4g} pixels apart"
    whose = "the panel's" if preprocessing.normalize_by == "panel" else "all genes'"
    rows["output"] = f"log10(1 + 10,000 · counts / {whose} counts of the spot)"
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])


def _model(model: SavedModel, description: Mapping[str, Any]) -> str:
    """The class and arguments of the model; long arguments refer to the configuration."""
    rows = [f"`{description['model']}`, {sum(p.numel() for p in model.parameters()):,} parameters."]
    origin = encoder_origin(model.vision_stages)
    if origin not in (None, "random"):
        rows[0] += f" The vision stage started from pretrained weights ({origin}), whose license also applies."
    if (kept := model.state_dict().get("reference")) is not None:
        rows[0] += f" It holds the measured expression of {_count(len(kept), 'training spot')}, which anyone can read."
    for name, value in description["arguments"].items():
        text = json.dumps(value)
        rows.append(f"- `{name}`: {code(text)}" if len(text) <= 100 else f"- `{name}`: see `config.json`")
    return rows[0] + "\n\n" + "\n".join(rows[1:])


def _count(n: int, what: str) -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.strip().encode()).hexdigest()
