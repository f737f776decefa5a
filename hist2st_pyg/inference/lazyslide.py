"""A trained model in LazySlide, which predicts a slide's tiles from their embeddings (``zs.tl.feature_prediction``)."""

from __future__ import annotations

import logging
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from hist2st_pyg.data.source import rows_of
from hist2st_pyg.datasets import grid_from_positions
from hist2st_pyg.inference.blocks import predict_blocks
from hist2st_pyg.inference.domain_shift import check_positions
from hist2st_pyg.models.base import ExpressionModel, require_preprocessing
from hist2st_pyg.nn import PrecomputedEncoder

logger = logging.getLogger(__name__)


class FeaturePredictor:
    """A model with the interface of lazyslide-models' ``FeaturePredictionModelProtocol``, which is not imported.

    LazySlide calls :meth:`predict` once with all tiles of a slide (``whole_slide``) and their positions
    (``needs_coords``), because a tile's prediction reads its neighbors, and stores a table of tiles x genes. The
    distance of the tiles should be that of the training spots::

        zs.tl.feature_extraction(wsi, "uni")
        zs.tl.feature_prediction(wsi, FeaturePredictor(load_model(RUN)))

    Args:
        model: A trained model of precomputed embeddings, with its preprocessing.
        features_model_name: LazySlide's key of the features that the model reads; None takes the name of the embeddings
            in training (``preprocessing.embedding``).
        name: The model's name, from which LazySlide makes the key of the result; None takes the class's name.

    Raises:
        ValueError: If the model has no preprocessing, or reads patches or counts.
    """

    needs_coords = True
    whole_slide = True

    def __init__(self, model: ExpressionModel, features_model_name: str | None = None, name: str | None = None) -> None:
        self.preprocessing = require_preprocessing(model)
        if model.uses_counts:
            raise ValueError(f"{type(model).__name__} reads measured counts ({model.task}), which tiles do not have.")
        if self.preprocessing.embedding is None:
            raise ValueError(
                "The model reads patches of an image, but LazySlide passes features of tiles; train a model of "
                "embeddings (data.embedding), or predict the slide with hist2st_pyg.predict."
            )
        self.model = model
        self.features_model_name = features_model_name or self.preprocessing.embedding
        self.name = name or type(model).__name__
        self.device = "auto"

    def get_transform(self) -> None:
        """Return None: the model reads no images."""
        return

    def to(self, device: str | torch.device) -> Self:
        """Set the device of the prediction."""
        self.device = str(device)
        self.model.to(device)
        return self

    def try_compile(self, **options: Any) -> None:
        """Do not compile the model: not every graph layer can be compiled, and LazySlide does not need it."""
        logger.info("%s is not compiled.", self.name)

    def predict(self, features: ArrayLike, coords: ArrayLike | None = None) -> dict[str, NDArray[np.float32]]:
        """Predict the expression of all tiles of a slide.

        Args:
            features: Embeddings of the tiles [N, D], dense or sparse.
            coords: Positions of the tiles, x, y in slide pixels [N, 2]. LazySlide passes upper left corners. Tiles have
                one size, so distances equal those of the centers, and the model reads only distances.

        Returns:
            The log10 expression of each gene [N], in the order of the model's panel.

        Raises:
            ValueError: If ``coords`` is missing, the shapes do not fit, or a value is not finite.
        """
        if coords is None:
            raise ValueError(
                "The model needs the tiles' positions, coords [N, 2]; this LazySlide is too old to give them "
                "(needs_coords)."
            )
        dense = features.toarray() if hasattr(features, "toarray") else features
        x, pos = np.array(dense, dtype=np.float32), np.array(coords, dtype=np.float64)
        self._check(x, pos)
        grid = grid_from_positions(pos)
        check_positions(self.model, grid)
        graph = self.preprocessing.build_graph(pos, grid)
        predicted = predict_blocks(self.model, graph, rows_of(torch.from_numpy(x)), device=self.device, name="slide")
        return dict(zip(self.preprocessing.genes, predicted.values["expression"].T, strict=True))

    def _check(self, x: NDArray[np.float32], pos: NDArray[np.float64]) -> None:
        encoders = (module for module in self.model.modules() if isinstance(module, PrecomputedEncoder))
        width = next((encoder.embedding_channels for encoder in encoders), None)
        if x.ndim != 2 or len(x) == 0 or (width is not None and x.shape[1] != width):
            raise ValueError(
                f"The model reads features [N, {width or 'D'}] of {self.features_model_name!r}, got {list(x.shape)}; "
                "use the encoder of its training."
            )
        if pos.shape != (len(x), 2):
            raise ValueError(f"coords must be [{len(x)}, 2] for {len(x)} tiles, got {list(pos.shape)}.")
        for field, values in (("Features", x), ("Positions", pos)):
            if not np.isfinite(values).all():
                raise ValueError(f"{field} must be finite; those of tile {_first_not_finite(values)} are not.")


def _first_not_finite(values: NDArray[np.floating]) -> int:
    return int(np.flatnonzero(~np.isfinite(values).all(1))[0])
