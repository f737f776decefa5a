"""What a section brings to its pictures."""

from __future__ import annotations

from dataclasses import replace

from hist2st_pyg import Section
from hist2st_pyg.figures import section_background


def test_a_section_brings_its_image_and_what_is_known_of_it(cohort: list[Section]) -> None:
    section = cohort[0]
    found = section_background(section)
    width, height = section.require_image().size
    assert found["image"].shape == (round(height * found["image_scale"]), round(width * found["image_scale"]), 3)
    assert (found["um_per_pixel"], found["spot_diameter"]) == (section.um_per_pixel, section.spot_diameter)
    without = replace(section, image=None, um_per_pixel=None)
    assert section_background(without) == {"um_per_pixel": None, "spot_diameter": section.spot_diameter}
