"""The image, resolution and spot size of a measured section, for its pictures."""

from __future__ import annotations

from typing import Any

from hist2st_pyg.section import Section


def section_background(section: Section) -> dict[str, Any]:
    """The arguments of the maps of a section: ``um_per_pixel``, ``spot_diameter``, ``image`` and ``image_scale``.

    With precomputed embeddings a section needs no image; the last two are then left out.
    """
    known: dict[str, Any] = {"um_per_pixel": section.um_per_pixel, "spot_diameter": section.spot_diameter}
    if section.image is None:
        return known
    image = section.require_image()
    thumbnail = image.thumbnail()
    return {**known, "image": thumbnail, "image_scale": thumbnail.shape[1] / image.size[0]}
