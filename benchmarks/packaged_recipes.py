"""The recipes of the packaged models: sections, data source, license and limits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """The recipe of a packaged model.

    Args:
        dataset: The data set's name in the grid.
        sections: All its training sections.
        folds: The splits of the grid for its accuracy, the hardest first.
        species: The species.
        tissue: The tissue.
        subject: A patient or an animal.
        source: Authors and location of the data, as Markdown.
        license: The license of the data, which also applies to the weights, by the hub's name; None if none is stated.
        terms: The statement of the license.
        limits: The model's limits, in addition to those of every card.
    """

    dataset: str
    sections: tuple[str, ...]
    folds: tuple[str, ...]
    species: str
    tissue: str
    subject: str
    source: str
    license: str | None
    terms: str
    limits: str


RECIPES: dict[str, Recipe] = {
    "her2st-small": Recipe(
        dataset="accuracy_her2st",
        sections=("B4", "C2", "C3", "C4"),
        folds=("b", "a"),
        species="human",
        tissue="HER2-positive breast cancer",
        subject="patient",
        source="Andersson et al., *Nature Communications* 12, 6012 (2021), doi:10.1038/s41467-021-26271-2; "
        "[almaan/her2st](https://github.com/almaan/her2st), doi:10.5281/zenodo.4751624",
        license="cc-by-4.0",
        terms="The data's record at Zenodo is under CC BY 4.0, so the weights are too: name the authors above. The "
        "repository itself states no license.",
        limits="Two patients are not a cohort: other subtypes of breast cancer, healthy breast, other organs and "
        "formalin-fixed tissue were not seen (the sections are fresh frozen, their spots 200 µm apart). It is not for "
        "telling a patient's HER2 status.",
    ),
    "mob-small": Recipe(
        dataset="accuracy_mob",
        sections=("stutility_mob1", "stutility_mob2", "stutility_mob3"),
        folds=("c3", "c2"),
        species="mouse",
        tissue="olfactory bulb",
        subject="animal",
        source="The olfactory bulb sections that come with STUtility, Bergenstråhle et al., *BMC Genomics* 21, 482 "
        "(2020), doi:10.1186/s12864-020-06832-3; "
        "[jbergenstrahle/STUtility](https://github.com/jbergenstrahle/STUtility)",
        license="mit",
        terms="The repository, with the sections in it, is under the MIT license, copyright 2019 Joseph Bergenstråhle.",
        limits="Other parts of the brain, other species and other resolutions were not seen. The µm per pixel of the "
        "training images is not known, so give spots, or their distance in pixels. Genes are Ensembl ids, of the 1,000 "
        "that the repository has.",
    ),
    "colon-small": Recipe(
        dataset="accuracy_colon",
        sections=("murine_colon_d0",),
        folds=("d",),
        species="mouse",
        tissue="colon",
        subject="animal",
        source="Parigi, Larsson, Das et al., *Nature Communications* 13, 828 (2022), doi:10.1038/s41467-022-28497-0; "
        "[ludvigla/murine_colon_explorer](https://github.com/ludvigla/murine_colon_explorer)",
        license=None,
        terms="The repository states no license.",
        limits="One section of one animal: the accuracy on another animal was never measured, and the inflamed colon "
        "of the same study was not seen.",
    ),
}
"""The packaged models by name."""
