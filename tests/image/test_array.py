from __future__ import annotations

import numpy as np
import pytest
from _helpers.image_files import HEIGHT, WIDTH, picture
from PIL import Image

from hist2st_pyg.image import ArrayImage


def test_a_thumbnail_is_pillows() -> None:
    expected = Image.fromarray(picture())
    expected.thumbnail((100, 100), Image.Resampling.BOX)
    np.testing.assert_array_equal(ArrayImage(picture()).thumbnail(100), np.asarray(expected))


def test_the_fingerprint_of_an_array_knows_its_shape() -> None:
    pixels = picture()
    assert ArrayImage(pixels).fingerprint() != ArrayImage(pixels.reshape(WIDTH, HEIGHT, 3)).fingerprint()
    assert ArrayImage(pixels[:, ::-1]).fingerprint() == ArrayImage(pixels[:, ::-1].copy()).fingerprint()


def test_what_is_no_image_is_refused() -> None:
    with pytest.raises(TypeError, match=r"uint8 \(0 to 255\), got float64"):
        ArrayImage(picture() / 255)
    for shape in ((5, 5), (5, 5, 4), (3, 5, 5)):
        with pytest.raises(ValueError, match=r"shape \[height, width, 3\], got"):
            ArrayImage(np.zeros(shape, np.uint8))
