"""Evaluate a model on measured sections: numbers and pictures."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hist2st_pyg import figures
from hist2st_pyg.evaluation.section_scores import SectionResult, mean_of, measure_section
from hist2st_pyg.figures.canvas import try_drawing
from hist2st_pyg.inference import require_preprocessing
from hist2st_pyg.inference.running import find_device
from hist2st_pyg.metrics.expression import pearson_per_gene
from hist2st_pyg.models.base import ExpressionModel
from hist2st_pyg.patients import patient_sources
from hist2st_pyg.section import Section
from hist2st_pyg.utils.file_names import file_name
from hist2st_pyg.utils.files import write_json
from hist2st_pyg.utils.progress import tqdm
from hist2st_pyg.utils.rows import column_blocks
from hist2st_pyg.utils.writable import check_file, check_folder

logger = logging.getLogger(__name__)


def evaluate(
    model: ExpressionModel,
    sections: Sequence[Section],
    *,
    output: str | Path | None = None,
    figures: str | Path | None = None,
    device: str = "auto",
    gene_sets: Mapping[str, Sequence[str]] | None = None,
    seed: int = 0,
    cache: str | Path | None = None,
) -> dict[str, Any]:
    """Predict each section and compare with its counts; a model that predicts from images does not receive the counts.

    Args:
        model: A trained model with its preprocessing.
        sections: Measured sections; the result lists those that the model has seen in training.
        output: The ``.json`` file of the result, written before pictures are drawn; None writes none.
        figures: Folder for pictures of each section (true and predicted maps of the best genes, histogram of PCC).
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...
        gene_sets: Genes of the panel, by the name of the set; each adds a mean PCC.
        seed: Seed of the noise ceiling and the clustering.
        cache: Folder of the patch cache, or None.

    Returns:
        - ``held_out``: whether no section was seen in training; otherwise a warning is logged before any work.
        - each metric of the sections, averaged over them, and ``pcc_pooled``, the PCC over the spots of all sections
          together, averaged over genes. It also rewards differences between sections, so do not compare it with
          ``pcc_mean``.
        - ``per_gene`` and ``ceiling``: each gene's mean PCC and mean noise ceiling over the sections.
        - ``seen_in_training``: the sections on which, or on a stripe of which (``<section>_<letter>``, see
          :func:`~hist2st_pyg.data.splits.cut_stripes`), or on the whole of which, the model was trained or selected.
        - ``patients_seen_in_training``: the patients of the other sections, if the model was trained or selected on
          sections of them; a warning names them.
        - ``patient_sources``: the sections by the source of their patients: ``"dataset"``, ``"given"`` by the user,
          ``"each_section"`` (declared a separate patient) or ``"unknown"``.
        - ``sections``: for each its metrics, ``per_gene``, ``ceiling``, and a ``map`` of the three genes with the
          highest ceiling: ``pos`` [N, 2] in pixels, ``genes`` with the ``true`` and ``predicted`` expression [N].

        The metrics of a section are those of :func:`~hist2st_pyg.metrics.expression.summarize`, and

        - ``ceiling_pcc_mean``, the mean noise ceiling over the scored genes, and ``share_of_ceiling``, ``pcc_mean``
          divided by it (:func:`~hist2st_pyg.metrics.ceiling.noise_ceiling`);
        - ``ssim_mean``, ``moran_true`` and ``moran_predicted``, means over the scored genes
          (:mod:`hist2st_pyg.metrics.spatial`), the last over those whose prediction varies; counting noise lowers
          ``moran_true``, so that a perfect prediction exceeds it;
        - ``gsc`` and ``ssc``, whether the same genes correlate with each other and follow the tissue as in the counts,
          and ``gsc_halves`` and ``ssc_halves``, the same between two halves of the counts
          (:mod:`hist2st_pyg.metrics.structure`);
        - ``ari`` and ``nmi`` of the prediction's regions by Leiden, ``ari_paper`` and ``nmi_paper`` of those by the
          published procedure, if the section has labels
          (:func:`~hist2st_pyg.analysis.regions.region_agreement`);
        - ``coverage_50`` and ``coverage_90``, if the model has a likelihood
          (:func:`~hist2st_pyg.metrics.calibration.coverage`);
        - ``pcc_mean_<name>`` of each gene set, over its scored genes.

        Metrics that cannot be computed are None.

    Raises:
        OSError: If the result or the pictures cannot be written; checked before any work.
        ValueError: If ``sections`` is empty, two have the same name, a gene set has a gene outside the panel, or the
            device does not exist.

    >>> import hist2st_pyg as h
    >>> (section,) = h.load_sections("synthetic", names=["A1"], spots=48, genes=20, noise_genes=4)
    >>> model = h.MODELS["mean"](20)
    >>> model.preprocessing = h.Preprocessing(tuple(section.adata.var_names), patch_size=8)
    >>> h.evaluate(model, [section])["pcc_mean"]
    0.0
    """
    check_file(output, "output")
    check_folder(figures, "figures")
    device = find_device(device)
    if not sections:
        raise ValueError("sections is empty; pass at least one section.")
    names = [section.name for section in sections]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"Section names must be unique, got {twice!r} more than once.")
    panel = require_preprocessing(model).genes
    for name, genes in (gene_sets or {}).items():
        if outside := [gene for gene in genes if gene not in panel]:
            raise ValueError(
                f"gene_sets[{name!r}] must hold genes of the model's panel of {len(panel)}, got {outside[0]!r}."
            )
    seen = _seen_in_training(model, names)
    if seen:
        logger.warning(
            "%d of the %d sections were seen in training (%s): the scores measure the fit to them, not the prediction "
            "of unseen sections.",
            len(seen), len(names), ", ".join(seen),
        )  # fmt: skip
    known = _patients_seen_in_training(model, sections, seen)
    if known:
        logger.warning(
            "The model was trained on other sections of %s: the scores do not measure the prediction of a new patient.",
            ", ".join(f"patient {patient}" for patient in known),
        )
    results: dict[str, SectionResult] = {}
    for section in tqdm(sections, desc="sections", leave=False, disable=None):
        result = measure_section(model, section, device=device, gene_sets=gene_sets, seed=seed, cache=cache)
        results[section.name] = result
    parts = [result.numbers for result in results.values()]
    evaluation = {
        "held_out": not seen,
        **_average(parts, "metrics"),
        "pcc_pooled": pcc_pooled(list(results.values())),
        "per_gene": _average(parts, "per_gene"),
        "ceiling": _average(parts, "ceiling"),
        "seen_in_training": seen,
        "patients_seen_in_training": known,
        "patient_sources": patient_sources(section.record for section in sections),
        "sections": {
            name: {**result.numbers["metrics"], **{key: result.numbers[key] for key in ("per_gene", "ceiling", "map")}}
            for name, result in results.items()
        },
    }
    if output is not None:
        write_json(output, evaluation)
    if figures is not None:
        for section in sections:
            draw = partial(_draw, section, results[section.name], panel, Path(figures))
            try_drawing(f"{section.name} in {figures}", draw)
    return evaluation


def scalars(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics of a result of :func:`evaluate` or of one section, without genes, maps and ``held_out``."""
    return {name: value for name, value in result.items() if not isinstance(value, dict | list | bool)}


def pcc_pooled(results: Sequence[SectionResult]) -> float | None:
    """Compute the PCC over the spots of all sections that measured a gene, averaged over genes."""
    measured = np.stack([result.mask for result in results])
    scores = np.full(measured.shape[1], np.nan)
    for pattern in np.unique(measured, axis=1).T:
        if not pattern.any():
            continue
        used = [result for result, has in zip(results, pattern, strict=True) if has]
        of_pattern = np.flatnonzero((measured == pattern[:, None]).all(axis=0))
        for block in column_blocks(sum(len(result.target) for result in used), len(of_pattern)):
            genes = of_pattern[block]
            target, predicted = (
                np.concatenate([getattr(result, name)[:, genes] for result in used]) for name in ("target", "predicted")
            )
            scores[genes] = pearson_per_gene(target, predicted)
    return mean_of(scores)


def _seen_in_training(model: ExpressionModel, names: Sequence[str]) -> list[str]:
    """Return the sections on which, on a stripe of which, or on the whole of which, the model was trained or selected.

    Two stripes of one section are different sections.
    """
    trained = {section.name for part in model.training_sections.values() for section in part}
    seen = {*trained, *map(_whole, trained)}
    return sorted(name for name in set(names) if name in seen or _whole(name) in trained)


def _whole(name: str) -> str:
    """Return the name of the section of a stripe, ``<section>_<letter>``."""
    return re.sub(r"_[a-zA-Z]$", "", name)


def _patients_seen_in_training(model: ExpressionModel, sections: Sequence[Section], seen: Sequence[str]) -> list[str]:
    """Return the patients of unseen sections on which the model was trained or selected."""
    trained = {section.patient for part in model.training_sections.values() for section in part}
    return sorted({s.patient for s in sections if s.patient is not None and s.name not in seen} & trained)


def _average(parts: Sequence[dict[str, Any]], of: str) -> dict[str, float | int | None]:
    return {key: _average_of(key, [part[of][key] for part in parts]) for key in parts[0][of]}


def _average_of(name: str, values: Sequence[float | None]) -> float | int | None:
    mean = mean_of(values)
    # Keep numbers of genes integers if possible.
    return int(mean) if mean is not None and name.startswith("n_") and mean.is_integer() else mean


def _draw(section: Section, result: SectionResult, genes: Sequence[str], folder: Path) -> None:
    pcc = np.array([result.numbers["per_gene"][gene] for gene in genes], dtype=float)
    maps = figures.true_and_predicted(
        section.pos,
        result.target,
        result.predicted,
        genes,
        pcc,
        name=section.name,
        **figures.section_background(section),
    )
    name = file_name(section.name)
    figures.save(maps, folder / f"{name}_maps.png")
    figures.save(figures.pcc_histogram(pcc, section.name), folder / f"{name}_pcc.png")
