"""Explain predictions from an image for some spots and genes, with pictures and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hist2st_pyg import figures
from hist2st_pyg.data.preprocessing import SectionData
from hist2st_pyg.data.spot_patches import SpotPatches, kept_open
from hist2st_pyg.explain.figure import explanation_figure
from hist2st_pyg.explain.receptive_field import vision_stages
from hist2st_pyg.explain.spot import Explanation, closest, explain_spot, gene_column
from hist2st_pyg.figures.canvas import try_drawing
from hist2st_pyg.image import HistologyImage
from hist2st_pyg.inference import predict_blocks, require_preprocessing
from hist2st_pyg.inference.image_input import read_image
from hist2st_pyg.inference.running import find_device
from hist2st_pyg.io.spots import Spots
from hist2st_pyg.models.base import ExpressionModel
from hist2st_pyg.utils.file_names import file_name
from hist2st_pyg.utils.progress import tqdm

OVERVIEW_PIXELS = 300
"""Longer side of the picture of the whole section, in pixels."""


@dataclass(frozen=True, eq=False)
class ImageExplanations:
    """The explanations of one image.

    Args:
        name: The image's name.
        image: The image.
        spots: Its spots.
        explanations: The explanations.
        um_per_pixel: The image's resolution, if known.
        sides: Side of each field of view in pixels of the image.
    """

    name: str
    image: HistologyImage
    spots: Spots
    explanations: list[Explanation]
    um_per_pixel: float | None = None
    sides: tuple[float, ...] = ()

    def draw(self, folder: str | Path) -> list[Path | None]:
        """Draw ``<image>_<gene>_<spot>.png`` (see ``file_name``) of each; None and a warning on an error."""
        thumbnail = self.image.thumbnail(OVERVIEW_PIXELS)
        paths = []
        for explanation in tqdm(self.explanations, desc="pictures", leave=False, disable=None):
            path = Path(folder) / f"{file_name(self.name, explanation.gene, explanation.name)}.png"
            paths.append(try_drawing(str(path), partial(self._draw, explanation, thumbnail, path)))
        return paths

    def _draw(self, explanation: Explanation, thumbnail: NDArray[np.uint8], path: Path) -> Path:
        figure = explanation_figure(
            explanation, self.spots.pos, self.image, thumbnail, um_per_pixel=self.um_per_pixel, sides=self.sides
        )
        return figures.save(figure, path)

    def numbers(self) -> list[dict[str, Any]]:
        """Convert the explanations without pixels to plain values with the spots' names."""
        return [numbers(explanation, self.spots) for explanation in self.explanations]


def explain_image(
    model: ExpressionModel,
    image: HistologyImage | NDArray[np.uint8] | str | Path,
    genes: Sequence[str],
    spots: Spots | str | Path | None = None,
    names: Sequence[str] | None = None,
    *,
    top: int = 3,
    pitch: float | None = None,
    um_per_pixel: float | None = None,
    device: str = "auto",
    **options: Any,
) -> ImageExplanations:
    """Explain predictions from an image.

    Args:
        model: A trained model with its preprocessing.
        image: The H&E image: an array or a file.
        genes: Genes of the panel.
        spots: Spots or a spot file; None lays a hexagonal grid over the tissue, as
            :func:`~hist2st_pyg.predict` does.
        names: The spots to explain; None uses those with the gene's highest prediction.
        top: Number of spots if ``names`` is None.
        pitch: Distance of the grid's spots in pixels.
        um_per_pixel: Resolution of the image in µm per pixel; None reads it from the file.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ...; the model is moved there.
        options: Further arguments of :func:`explain_spot`: ``pixels``, ``steps``.

    Raises:
        TypeError: If the model cannot be explained.
        ValueError: If a gene or spot is unknown, or the input does not fit the model.
    """
    vision_stages(model)
    preprocessing = require_preprocessing(model)
    columns = {gene: gene_column(preprocessing.genes, gene) for gene in genes}
    if top < 1:
        raise ValueError(f"top must be 1 spot per gene or more, got {top}.")
    device = find_device(device)
    given = read_image(model, image, spots, pitch=pitch, um_per_pixel=um_per_pixel)
    graph, patches, where = given.graph, given.patches, given.layout.spots
    model.to(device)
    if names is None:
        highest = _highest(model, graph, patches, columns, top, device, given.name)
    else:
        highest = dict.fromkeys(columns, find_spots(where.names, names))
    chosen = [(gene, place) for gene, places in highest.items() for place in places]
    with kept_open(patches) as cut:
        explanations = [
            explain_spot(model, graph, place, gene, patches=cut, name=where.names[place], **options)
            for gene, place in tqdm(chosen, desc="explanations", leave=False, disable=None)
        ]
    return ImageExplanations(given.name, given.image, where, explanations, given.um_per_pixel, patches.sides)


def find_spots(names: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Find the indices of spots by name.

    Args:
        names: The names of the section's spots.
        wanted: The names to find.

    Raises:
        ValueError: If a name is unknown; the message suggests similar names.
    """
    places = {name: place for place, name in enumerate(names)}
    for name in wanted:
        if name not in places:
            raise ValueError(f"There is no spot {name!r} among {len(names)}.{closest(name, list(names))}")
    return [places[name] for name in dict.fromkeys(wanted)]


def numbers(explanation: Explanation, spots: Spots) -> dict[str, Any]:
    """Convert an explanation, without its pixels, to plain values.

    Args:
        explanation: The explanation.
        spots: The section's spots.
    """
    weight = explanation.edge_importance
    return {
        "gene": explanation.gene,
        "spot": explanation.name,
        "predicted": explanation.predicted,
        "measured": explanation.measured,
        "reference": explanation.reference,
        "neighbors": [
            {"spot": spots.names[place], "x": spots.pos[place, 0], "y": spots.pos[place, 1], "importance": value}
            for place, value in zip(explanation.neighbors, explanation.importance, strict=True)
        ],
        "edges": [
            {"source": spots.names[source], "target": spots.names[target], "importance": value}
            for (source, target), value in zip(
                explanation.edges.T, [None] * explanation.edges.shape[1] if weight is None else weight, strict=True
            )
        ],
        "pixels": [
            {
                "spot": spots.names[pixels.spot],
                "reference": pixels.reference,
                "fields_of_view": [
                    {"adds": field.sum(), "raises": field.clip(min=0).sum(), "lowers": field.clip(max=0).sum()}
                    for field in pixels.attribution.astype(np.float64)
                ],
            }
            for pixels in explanation.pixels
        ],
    }


def _highest(
    model: ExpressionModel,
    graph: SectionData,
    patches: SpotPatches,
    columns: dict[str, int],
    top: int,
    device: str,
    name: str,
) -> dict[str, list[int]]:
    """Find the spots with each gene's highest prediction."""
    expression = predict_blocks(model, graph, patches, device=device, name=name).values["expression"]
    return {gene: np.argsort(-expression[:, column], kind="stable")[:top].tolist() for gene, column in columns.items()}
