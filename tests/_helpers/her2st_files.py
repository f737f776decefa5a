"""A made-up section A1 in the layout of almaan/her2st."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

COUNTS = """\tGENE1\tGENE2\tNA
10x13\t0\t3\t1
11x13\t2\t0\t0
10x14\t5\t1\t0
12x14\t1\t1\t7
"""
SPOTS = """x\ty\tnew_x\tnew_y\tpixel_x\tpixel_y\tselected
12\t14\t11.9\t14.1\t4300.5\t4200.25\t1
10\t13\t10.1\t13.0\t3700.0\t3900.0\t1
11\t13\t11.0\t12.9\t4000.0\t3901.0\t1
10\t14\t10.0\t14.0\t3701.0\t4200.0\t1
"""
LABELS = """Row.names\tx\ty\tpixel_x\tpixel_y\tlabel
1x2\t10.02\t13.21\t1.0\t2.0\tinvasive cancer
3x4\t10.9\t12.8\t3.0\t4.0\tconnective tissue
5x6\tNA\tNA\tNA\tNA\tadipose tissue
"""


def write_section(root: Path) -> Path:
    """The section's files in a clone of the repository."""
    data = root / "data"
    for folder in ("ST-cnts", "ST-spotfiles", "ST-imgs/A/A1", "ST-pat/lbl"):
        (data / folder).mkdir(parents=True)
    (data / "ST-cnts" / "A1.tsv").write_text(COUNTS)
    (data / "ST-spotfiles" / "A1_selection.tsv").write_text(SPOTS)
    (data / "ST-pat" / "lbl" / "A1_labeled_coordinates.tsv").write_text(LABELS)
    Image.new("RGB", (50, 40)).save(data / "ST-imgs" / "A" / "A1" / "HE.jpg")
    return root
