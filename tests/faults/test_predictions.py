"""Files that are no prediction, or a damaged one, given to the commands that read predictions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from _helpers.faults import Case, adata, case, check, cut, hdf5, put, rows

READ = {
    "regions": "regions p.h5ad --method kmeans --n_regions 3 -o out.h5ad",
    "genes": "genes p.h5ad -o out.csv",
    "pathways": "pathways p.h5ad --gene_sets sets.gmt --min_genes 3 -o out.csv",
    "confidence": "confidence p.h5ad -o out.csv",
}


def every(id: str, said: str, *changes: Callable[[], object], only: str = "") -> list[Case]:
    return [case(f"{name}: {id}", line, said, *changes) for name, line in READ.items() if name in (only or READ)]


def of(id: str, said: str, edit: Callable[[Any], object], only: str = "") -> list[Case]:
    return every(id, said, adata("p.h5ad", edit), only=only)


def measured(id: str, said: str, edit: Callable[[Any], object]) -> list[Case]:
    lines = ("confidence p.h5ad --measured m.h5ad", READ["pathways"] + " --measured m.h5ad")
    return [case(f"{line.split()[0]}: measured, {id}", line, said, adata("m.h5ad", edit)) for line in lines]


def x(value: Any) -> Callable[[Any], object]:
    return lambda a: a.X.__setitem__((0, 0), value)


CASES: list[Case] = [
    *every("text", r"p\.h5ad", put("p.h5ad", "text")),
    *every("empty", r"p\.h5ad", put("p.h5ad")),
    *every("cut", r"p\.h5ad", cut("p.h5ad")),
    *every("no X", r"p\.h5ad.*X", hdf5("p.h5ad", lambda file: file.pop("X"))),
    *every("no AnnData", r"p\.h5ad", hdf5("p.h5ad", lambda file: [file.pop(key) for key in list(file)])),
    *every("newer encoding", r"p\.h5ad", hdf5("p.h5ad", lambda file: file["X"].attrs.update({"encoding-type": "new"}))),
    *of("no positions", r"p\.h5ad.*positions", lambda a: a.obsm.pop("spatial")),
    *of("positions of three", r"p\.h5ad.*positions", lambda a: a.obsm.update(spatial=np.ones((64, 3)))),
    *of("positions not finite", r"p\.h5ad.*(finite|position)", lambda a: a.obsm.update(spatial=np.full((64, 2), np.nan))),
    *of("counts", r"p\.h5ad.*counts", lambda a: setattr(a, "X", np.full((64, 24), 3.0))),
    *of("not finite", r"p\.h5ad.*finite", x(np.nan)),
    *of("infinite", r"p\.h5ad.*finite", x(np.inf)),
    *of("genes twice", r"p\.h5ad.*GENE0", lambda a: setattr(a, "var_names", ["GENE0"] * 24), "genes pathways"),
    *of("spots twice", r"p\.h5ad.*0x0", lambda a: setattr(a, "obs_names", ["0x0"] * 64), "pathways confidence"),
    *(
        made
        for id, value in (
            ("a number", 7), ("text", "text"), ("an array", np.ones(3)), ("a library that is a number", {"a": 7}),
            ("images of text", {"a": {"images": "text"}}),
            ("an image of one axis", {"a": {"images": {"hires": np.ones(9, np.uint8)}, "scalefactors": {"tissue_hires_scalef": 1.0}}}),
            ("no scale", {"a": {"images": {"hires": np.ones((9, 9, 3), np.uint8)}, "scalefactors": {}}}),
            ("a scale of text", {"a": {"images": {"hires": np.ones((9, 9, 3), np.uint8)}, "scalefactors": {"tissue_hires_scalef": "w"}}}),
        )
        for made in [
            case(f"genes: uns, {id}", "genes p.h5ad --figures p.h5ad/f", r"p\.h5ad", adata("p.h5ad", lambda a, v=value: a.uns.update(spatial=v)))
        ]
    ),
    *of("no spread", r"p\.h5ad.*mean|sd|layer", lambda a: a.layers.pop("sd"), "confidence"),
    *of("no mean", r"layer.*mean", lambda a: a.layers.pop("mean"), "confidence"),
    *of("spread below 0", r"sd", lambda a: a.layers["sd"].__imul__(-1), "confidence"),
    *of("spread not finite", r"sd|finite", lambda a: a.layers["sd"].__setitem__((0, 0), np.nan), "confidence"),
    *measured("other spots", r"share 0 of 64 spots", lambda a: setattr(a, "obs_names", [f"a{i}" for i in range(64)])),
    *measured("other genes", r"0 of 24 genes|share", lambda a: setattr(a, "var_names", [f"a{i}" for i in range(24)])),
    *measured("spots twice", r"spots.*not unique.*0x0", lambda a: setattr(a, "obs_names", ["0x0"] * 64)),
    *measured("genes twice", r"genes.*not unique.*GENE0", lambda a: setattr(a, "var_names", ["GENE0"] * 24)),
    *measured("log counts", r"raw counts", lambda a: a.X.__iadd__(0.5)),
    *measured("below 0", r"raw counts", x(-1)),
    *measured("not finite", r"raw counts", x(np.nan)),
    *[
        case(f"{line.split()[0]}: measured, text", line, r"m\.h5ad", put("m.h5ad", "text"))
        for line in ("confidence p.h5ad --measured m.h5ad", READ["pathways"] + " --measured m.h5ad")
    ],
    case("regions of one spot", "regions p.h5ad --method kmeans --n_regions 2", r"p\.h5ad|spots|regions", lambda: _first(1)),
    case("leiden of one spot", "regions p.h5ad", r"p\.h5ad|spots", lambda: _first(1)),
    case("genes of one spot", "genes p.h5ad", r"p\.h5ad|spots", lambda: _first(1)),
    case("regions of nothing", "regions p.h5ad", r"p\.h5ad", lambda: _first(0)),
    case("genes of nothing", "genes p.h5ad", r"p\.h5ad", lambda: _first(0)),
    case("confidence of nothing", "confidence p.h5ad", r"p\.h5ad", lambda: _first(0)),
    case("markers of one region", "genes p.h5ad --regions tissue", r"tissue", adata("p.h5ad", lambda a: a.obs.__setitem__("tissue", "a"))),
    case("markers of numbers", "genes p.h5ad --regions n", r"'n'|regions", adata("p.h5ad", lambda a: a.obs.__setitem__("n", np.linspace(0, 1, 64)))),
]  # fmt: skip


def _first(spots: int) -> None:
    import anndata

    read = anndata.read_h5ad("p.h5ad")
    read[:spots].copy().write_h5ad("p.h5ad")


@pytest.mark.parametrize("case", rows(CASES, every=16))
def test_what_is_no_prediction_is_refused_in_one_line(
    case: Case, world: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    check(case, world, capfd)
