"""Predict expression from a model and an image or a section."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hist2st_pyg.data.preprocessing import SectionData, spot_pitch
from hist2st_pyg.image import HistologyImage
from hist2st_pyg.inference.blocks import BLOCK_SPOTS, Prediction, predict_blocks, with_moments
from hist2st_pyg.inference.domain_shift import check_positions, log_notes, pitch_notes, resolution_notes
from hist2st_pyg.inference.image_input import read_image
from hist2st_pyg.inference.layout import GIVEN_SPOTS
from hist2st_pyg.inference.prediction_adata import prediction_adata
from hist2st_pyg.inference.running import find_device
from hist2st_pyg.inference.stages import Keep
from hist2st_pyg.io.spots import Spots
from hist2st_pyg.models.base import ExpressionModel, require_preprocessing
from hist2st_pyg.section import Section

if TYPE_CHECKING:
    from anndata import AnnData


def predict(
    model: ExpressionModel,
    image: HistologyImage | NDArray[np.uint8] | str | Path,
    spots: Spots | AnnData | str | Path | None = None,
    *,
    genes: Sequence[str] | None = None,
    pitch: float | None = None,
    pitch_um: float | None = None,
    um_per_pixel: float | None = None,
    device: str = "auto",
    name: str | None = None,
    block: int = BLOCK_SPOTS,
) -> AnnData:
    """Predict expression from an image or a whole slide, reading its patches block by block.

    Args:
        model: A trained model with its preprocessing, as :func:`~hist2st_pyg.load_model` returns it.
        image: The H&E image: an array or a file.
        spots: The positions to predict: an AnnData with ``obsm["spatial"]`` (x, y in pixels), a spot file, or
            :class:`~hist2st_pyg.io.spots.Spots`; None lays a hexagonal grid over the tissue.
        genes: The genes to keep, of the model's panel (``model.genes``) and in this order; None keeps all.
        pitch: Distance of the grid's spots in pixels; None uses that of the training sections (in µm if both
            resolutions are known). A smaller pitch gives a dense map, see
            :func:`~hist2st_pyg.inference.layout.grid_layout`.
        pitch_um: The same in µm; needs the resolution.
        um_per_pixel: Resolution of the image in µm per pixel; None reads it from the file.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...
        name: Name of the section; None uses the file's name.
        block: Largest number of spots predicted at a time, see
            :func:`~hist2st_pyg.inference.blocks.predict_blocks`.

    Returns:
        ``X`` predicted log10 expression [N, G], ``var_names`` the panel, ``obs_names`` the spots,
        ``var`` the training's record of each gene, if any (``val_pcc``, ``val_ceiling``, ``detected``, see
        :func:`~hist2st_pyg.training.trust.gene_trust`),
        ``obsm["spatial"]`` x, y in pixels, layers ``mean``, ``sd`` and ``zero_probability`` of the counts at size
        factor 1 if the model has a likelihood, and ``uns["spatial"]`` for drawing with scanpy and squidpy.
        ``uns["hist2st"]`` records model and input, with a ``note`` if the input does not match the training, and
        ``color_distance``, the distance of the colors from training (see
        :attr:`~hist2st_pyg.inference.domain_shift.Colors.distance`).

    Raises:
        ValueError: If the model has no preprocessing or reads counts, a gene is not in its panel, the device does not
            exist, no tissue is found, or the input does not fit the model.

    >>> import hist2st_pyg as h
    >>> (section,) = h.load_sections("synthetic", names=["A1"], spots=48, genes=20, noise_genes=4)
    >>> model = h.HisToGene(20, patch_size=8, channels=16, heads=2)
    >>> model.preprocessing = h.Preprocessing(tuple(section.adata.var_names), patch_size=8)
    >>> h.predict(model, section.image, pitch=64, name="A1").n_vars
    20
    >>> h.predict(model, section.image, section.adata, genes=["GENE3", "GENE1"]).to_df().shape
    (48, 2)
    """
    kept = _kept(model, genes)
    if model.uses_counts:
        raise ValueError(
            f"{type(model).__name__} reads measured counts ({model.task}), which an image does not have; predict a "
            "section instead."
        )
    device = find_device(device)
    given = read_image(model, image, spots, pitch=pitch, pitch_um=pitch_um, um_per_pixel=um_per_pixel, name=name)
    keep = partial(with_moments, genes=kept)
    predicted = predict_blocks(
        model, given.graph, given.patches, block=block, device=device, name=given.name, keep=keep
    )
    layout = given.layout
    facts = {"um_per_pixel": given.um_per_pixel, "positions": layout.positions}
    return prediction_adata(
        model, predicted, kept, layout.spots, given.image, layout.thumbnail, given.name, given.notes, facts
    )


def predict_section(
    model: ExpressionModel,
    section: Section,
    device: str = "auto",
    *,
    genes: Sequence[str] | None = None,
    block: int = BLOCK_SPOTS,
) -> AnnData:
    """Predict expression for a section's own spots.

    Its counts are read only if the model's ``task`` is not ``"prediction"``.

    Args:
        model: A trained model with its preprocessing, as :func:`~hist2st_pyg.load_model` returns it.
        section: The section; with an image, unless the model reads precomputed embeddings (``obsm``).
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...
        genes: The genes to keep, of the model's panel (``model.genes``) and in this order; None keeps all.
        block: Largest number of spots predicted at a time, see
            :func:`~hist2st_pyg.inference.blocks.predict_blocks`.

    Returns:
        The same as :func:`~hist2st_pyg.predict`: ``X`` predicted log10 expression [N, G], rows as in
        ``section.adata``. Measured and predicted values of a spot thus have the same name.

    Raises:
        ValueError: If the model has no preprocessing, a gene is not in its panel, the section lacks the image or the
            embeddings, an array position is outside the model's position table, or the device does not exist.

    >>> import hist2st_pyg as h
    >>> (section,) = h.load_sections("synthetic", names=["A1"], spots=48, genes=20, noise_genes=4)
    >>> model = h.HisToGene(20, patch_size=8, channels=16, heads=2)
    >>> model.preprocessing = h.Preprocessing(tuple(section.adata.var_names), patch_size=8)
    >>> h.predict_section(model, section).shape
    (48, 20)
    >>> h.predict_section(model, section, genes=["GENE2"]).var_names.tolist()
    ['GENE2']
    """
    kept = _kept(model, genes)
    preprocessing = require_preprocessing(model)
    check_positions(model, section.grid)
    notes = resolution_notes(preprocessing, section.um_per_pixel)
    if len(section) > 1:
        notes += pitch_notes(spot_pitch(section.pos), preprocessing.pitch_in(section.um_per_pixel))
    log_notes(notes, section.name)
    predicted = predict_spots(model, section, device, block=block, keep=partial(with_moments, genes=kept))
    spots = Spots([str(spot) for spot in section.adata.obs_names], section.pos, section.grid)
    image = section.require_image() if section.image is not None else None
    facts = {"um_per_pixel": section.um_per_pixel, "positions": GIVEN_SPOTS}
    return prediction_adata(
        model, predicted, kept, spots, image, None, section.name, notes, facts, section.spot_diameter
    )


def predict_spots(
    model: ExpressionModel,
    section: Section,
    device: str = "auto",
    *,
    block: int = BLOCK_SPOTS,
    cache: str | Path | None = None,
    keep: Keep = with_moments,
) -> Prediction:
    """Predict a section's own spots, see :func:`~hist2st_pyg.inference.blocks.predict_blocks`.

    The model receives the counts only if its ``task`` needs them.
    """
    preprocessing = require_preprocessing(model)
    graph = preprocessing.build_graph(section.pos, section.grid)
    if model.uses_counts:
        preprocessing.add_measured(graph, section)
    patches = preprocessing.section_patches(section, cache)
    return predict_blocks(model, graph, patches, block=block, device=device, name=section.name, keep=keep)


def model_data(model: ExpressionModel, section: Section, cache: str | Path | None = None) -> SectionData:
    """Build a model's input from a section: patches, graph, and the counts only if its ``task`` needs them.

    Args:
        model: A model with its preprocessing.
        section: The section.
        cache: Folder of the patch cache, or None.
    """
    preprocessing = require_preprocessing(model)
    return preprocessing.to_data(section, cache) if model.uses_counts else preprocessing.input_data(section, cache)


def _kept(model: ExpressionModel, genes: Sequence[str] | None) -> list[int]:
    """Return the panel indices of the genes to keep.

    Raises:
        TypeError: If ``genes`` is a string.
        ValueError: If ``genes`` is empty, has duplicates, or a gene is not in the panel.
    """
    panel = model.genes
    if genes is None:
        return list(range(len(panel)))
    if isinstance(genes, str):
        raise TypeError(f"genes must be a list of names, got the string {genes!r}; pass [{genes!r}].")
    place = {gene: index for index, gene in enumerate(panel)}
    if unknown := [gene for gene in genes if gene not in place]:
        raise ValueError(f"The gene {unknown[0]!r} is not in the model's panel of {len(panel)} genes (model.genes).")
    kept = [place[gene] for gene in genes]
    if not kept or len(set(kept)) < len(kept):
        raise ValueError(f"genes must have at least one gene and no duplicates, got {list(genes)!r:.100}.")
    return kept
