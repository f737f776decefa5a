"""Use a trained model in LazySlide, to predict a slide's tiles from their embeddings or pixels."""

from __future__ import annotations

import logging
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from torch import Tensor

from hist2st_pyg.data.preprocessing import Preprocessing, SectionData
from hist2st_pyg.data.spot_patches import rows_of
from hist2st_pyg.datasets import grid_from_positions
from hist2st_pyg.inference.blocks import predict_blocks
from hist2st_pyg.inference.domain_shift import check_positions
from hist2st_pyg.inference.running import run_model
from hist2st_pyg.models.base import ExpressionModel, require_preprocessing
from hist2st_pyg.nn import PrecomputedEncoder
from hist2st_pyg.nn.transformer import FourierPosition, TablePosition

logger = logging.getLogger(__name__)


class _Predictor:
    """The interface that LazySlide needs of any model.

    Args:
        model: A trained model with its preprocessing.
        name: Its name; None uses the class's name.

    Raises:
        ValueError: If the model has no preprocessing, or reads counts.
    """

    def __init__(self, model: ExpressionModel, name: str | None = None) -> None:
        self.preprocessing = require_preprocessing(model)
        if model.uses_counts:
            raise ValueError(f"{type(model).__name__} reads measured counts ({model.task}), which tiles do not have.")
        self.model = model
        self.name = name or type(model).__name__
        self.device = "auto"

    def to(self, device: str | torch.device) -> Self:
        """Set the device of the prediction."""
        self.device = str(device)
        self.model.to(device)
        return self

    def try_compile(self, **options: Any) -> None:
        """Do not compile the model: not every graph layer can be compiled, and LazySlide does not need it."""
        logger.info("%s is not compiled.", self.name)


class FeaturePredictor(_Predictor):
    """A model with the interface of lazyslide-models' ``FeaturePredictionModelProtocol``, which is not imported.

    LazySlide calls :meth:`predict` once with all tiles of a slide (``whole_slide``) and their positions
    (``needs_coords``), because a tile's prediction reads its neighbors, and stores a table of tiles x genes. The
    distance of the tiles should be that of the training spots::

        zs.tl.feature_extraction(wsi, "uni")
        zs.tl.feature_prediction(wsi, FeaturePredictor(load_model(RUN)))

    Args:
        model: A trained model of precomputed embeddings, with its preprocessing.
        features_model_name: LazySlide's key of the features that the model reads; None uses the name of the embeddings
            in training (``preprocessing.embedding``).
        name: The model's name, from which LazySlide derives the key of the result; None uses the class's name.

    Raises:
        ValueError: If the model has no preprocessing, or reads patches or counts.
    """

    needs_coords = True
    whole_slide = True

    def __init__(self, model: ExpressionModel, features_model_name: str | None = None, name: str | None = None) -> None:
        super().__init__(model, name)
        if self.preprocessing.embedding is None:
            raise ValueError(
                "The model reads patches of an image, but LazySlide passes features of tiles; train a model of "
                "embeddings (data.embedding), predict the slide with hist2st_pyg.predict, or use TilePredictor."
            )
        self.features_model_name = features_model_name or self.preprocessing.embedding

    def get_transform(self) -> None:
        """Return None: the model reads no images."""
        return

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
                "The model needs the tiles' positions, coords [N, 2]; this version of LazySlide does not pass them "
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
                "use the encoder that the model was trained on."
            )
        if pos.shape != (len(x), 2):
            raise ValueError(f"coords must be [{len(x)}, 2] for {len(x)} tiles, got {list(pos.shape)}.")
        for field, values in (("Features", x), ("Positions", pos)):
            if len(tiles := np.flatnonzero(~np.isfinite(values).all(1))):
                raise ValueError(f"{field} must be finite, but tile {tiles[0]} has nan or infinity.")


class TilePredictor(_Predictor):
    """A model with the interface of lazyslide-models' ``TilePredictionModelProtocol``, which is not imported.

    LazySlide passes the tiles of a slide in batches, without their positions, and stores a column per gene. The model
    must therefore predict each spot independently (``receptive_field`` 0, no position), such as ``stnet``, without
    stain normalization by section. A tile must cover the largest field of view of a training spot, which is
    :attr:`tile_um` in µm if the training resolution is known::

        predictor = TilePredictor(load_model(RUN))
        zs.pp.tile_tissues(wsi, tile_px=256, mpp=predictor.tile_um / 256)
        zs.tl.tile_prediction(wsi, predictor)

    Args:
        model: A trained model of patches, with its preprocessing.
        name: The model's name; None uses the class's name.

    Raises:
        ValueError: If the model has no preprocessing, or reads embeddings, counts, other spots or a section's stain.
    """

    def __init__(self, model: ExpressionModel, name: str | None = None) -> None:
        super().__init__(model, name)
        instead = "predict the slide with hist2st_pyg.predict"
        if self.preprocessing.embedding is not None:
            raise ValueError("The model reads embeddings of tiles, not their pixels; use FeaturePredictor.")
        placed = any(isinstance(part, TablePosition | FourierPosition) for part in model.modules())
        if model.receptive_field != 0 or placed:
            reads = "the array position of a spot" if model.receptive_field == 0 else "the surroundings of a spot"
            raise ValueError(f"{type(model).__name__} reads {reads}, but LazySlide passes single tiles; {instead}.")
        if self.preprocessing.stain != "none":
            raise ValueError(
                f"The model needs stain normalization by section (stain={self.preprocessing.stain!r}), but LazySlide "
                f"passes single tiles; {instead}."
            )

    @property
    def tile_um(self) -> float | None:
        """The side of a tile in µm; None if the resolution of the training images was unknown."""
        made, largest = self.preprocessing, max(self.preprocessing.scales)
        if made.patch_um is not None:
            return largest * made.patch_um
        if made.um_per_pixel is None:
            return None
        if made.patch_pitch is None:
            return largest * made.patch_size * made.um_per_pixel
        return None if made.pitch is None else largest * made.patch_pitch * made.pitch * made.um_per_pixel

    def get_transform(self) -> _Patch:
        """Return the function that converts a tile [H, W, 3] to a patch [3·S, P, P]."""
        return _Patch(self.preprocessing)

    def predict(self, image: Tensor) -> dict[str, NDArray[np.float32]]:
        """Predict the expression of tiles.

        Args:
            image: Patches [N, 3·S, P, P], 0 to 255, converted by :meth:`get_transform`.

        Returns:
            The log10 expression of each gene [N], in the order of the model's panel.

        Raises:
            ValueError: If the shapes do not fit, or a prediction is not finite.
        """
        made = self.preprocessing
        shape = [3 * len(made.scales), made.patch_size, made.patch_size]
        if image.dim() != 4 or list(image.shape[1:]) != shape or not len(image):
            raise ValueError(
                f"The model reads patches [N, {', '.join(map(str, shape))}], got {list(image.shape)}; omit "
                "transform=, so that LazySlide uses the model's own."
            )
        n = len(image)
        alone = np.zeros((n, 2))
        graph = SectionData(
            x=image,
            pos=torch.from_numpy(alone),
            grid=torch.zeros(n, 2, dtype=torch.long),
            edge_index=torch.empty(2, 0, dtype=torch.long),
            edge_attr=torch.empty(0, 1),
        )
        # LazySlide runs models in half precision if the device supports it.
        with torch.autocast(image.device.type, enabled=False):
            expression = run_model(self.model, graph, self.device)["expression"].cpu().numpy()
        if not np.isfinite(expression).all():
            raise ValueError("The prediction is not finite: the model's weights are damaged, or its training diverged.")
        return dict(zip(made.genes, expression.T, strict=True))


class _Patch:
    """Converts a tile uint8 [H, H, 3] to a patch [3·S, P, P]; crops smaller fields of view from its center."""

    def __init__(self, preprocessing: Preprocessing) -> None:
        self.size, self.transpose = preprocessing.patch_size, preprocessing.transpose_patches
        self.shares = [scale / max(preprocessing.scales) for scale in preprocessing.scales]

    def __call__(self, tile: ArrayLike) -> Tensor:
        pixels = np.asarray(tile)
        if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.shape[0] != pixels.shape[1] or pixels.dtype != np.uint8:
            raise ValueError(f"A tile must be square, uint8 [H, H, 3], got {pixels.dtype} {list(pixels.shape)}.")
        fields = [self._field(pixels, share) for share in self.shares]
        return torch.from_numpy(np.concatenate(fields))

    def _field(self, pixels: NDArray[np.uint8], share: float) -> NDArray[np.uint8]:
        side = max(1, round(len(pixels) * share))
        start = (len(pixels) - side) // 2
        field = Image.fromarray(np.ascontiguousarray(pixels[start : start + side, start : start + side]))
        if side != self.size:
            field = field.resize(
                (self.size, self.size), Image.Resampling.BILINEAR
            )  # the same resampling as for patches
        return np.asarray(field).transpose((2, 1, 0) if self.transpose else (2, 0, 1))
