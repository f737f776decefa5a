"""Read the sections of a run and assign them to training, validation and test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hist2st_pyg.data.splits import cut_stripes
from hist2st_pyg.datasets import load_sections, section_names
from hist2st_pyg.io.embeddings import read_embeddings
from hist2st_pyg.patients import given_patients, refuse_unknown_patients, with_patients
from hist2st_pyg.section import Section
from hist2st_pyg.training.config import DataConfig
from hist2st_pyg.training.resume import CONFIG
from hist2st_pyg.utils.files import read_yaml
from hist2st_pyg.utils.named_code import refuse_code


def read_sections(data: DataConfig, names: Sequence[str] | None = None) -> list[Section]:
    """Read the sections of a configuration, with their embeddings if it uses them.

    Args:
        data: The configuration.
        names: The sections to read, or the stripes if sections are cut; None reads all.

    Raises:
        ValueError: If a named section, also of ``data.patients``, does not exist.
    """
    whole = names
    if data.stripes is not None and names is not None:
        whole = list(dict.fromkeys(_whole(name) for name in names))
    sections = load_sections(data.name, data.root, whole, **data.options)
    sections = _with_patients(sections, data)
    if data.embedding is not None and Path(data.embedding).is_dir():
        read_embeddings(sections, data.embedding)
    if data.stripes is None:
        return sections
    stripes = [part for section in sections for part in cut_stripes(section, data.stripes)]
    if names is None:
        return stripes
    by_name = _by_name(stripes, names)
    return [by_name[name] for name in names]


def _whole(stripe: str) -> str:
    """Return the name of the section that a stripe is cut from."""
    return stripe.rpartition("_")[0] or stripe


def _with_patients(sections: Sequence[Section], data: DataConfig, handed_over: bool = False) -> list[Section]:
    """Set the patients of the configuration; sections passed by the caller may be stripes already."""
    striped = handed_over and data.stripes is not None
    whole = {section.name: _whole(section.name) if striped else section.name for section in sections}
    known = set(whole.values())
    named = given_patients(data.patients)
    if not known.issuperset(named) and (data.root is not None or not handed_over):
        known.update(
            section_names(data.name, data.root, **data.options)
        )  # data.patients may name sections outside this run
    refuse_unknown_patients(named, sorted(known))
    return with_patients(sections, data.patients, whole)


def _by_name(sections: Sequence[Section], named: Sequence[str]) -> dict[str, Section]:
    """Map names to sections, and check that the named sections exist."""
    found = {section.name: section for section in sections}
    for name in named:
        if name not in found:
            raise ValueError(f"There is no section {name!r}; there are {', '.join(found)}.")
    return found


def run_data(folder: str | Path) -> DataConfig:
    """Read the data configuration of a run from its folder's ``config.yaml``.

    Args:
        folder: The run folder.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not the configuration of a run.
    """
    path = Path(folder) / CONFIG
    if not path.is_file():
        raise FileNotFoundError(f"There is no {path}, the configuration of a run; name the data set instead.")
    try:
        values = read_yaml(path)
        refuse_code(values, str(path), option=None)
        return DataConfig(**values["data"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not the configuration of a run: {error}") from error


def split_sections(data: DataConfig, sections: Sequence[Section] | None = None) -> list[list[Section]]:
    """Return the training, validation and test sections; images of test sections are not opened.

    Args:
        data: The configuration.
        sections: The data set's sections if they are loaded.

    Raises:
        ValueError: If a named section does not exist, or no training section is left.
    """
    named = [*data.train, *data.val, *data.test] if data.train else None
    sections = read_sections(data, named) if sections is None else _with_patients(sections, data, handed_over=True)
    kept_out = [*data.val, *data.test]
    # A misspelled test section would otherwise be used for training.
    by_name = _by_name(sections, named or kept_out)
    train = [by_name[name] for name in data.train] or [
        section
        for section in sections
        if section.name not in kept_out and (section.image is not None or data.embedding is not None)
    ]
    if not train:
        raise ValueError(f"No section is left to train on: {_why_not(data, sections)}.")
    return [train, [by_name[name] for name in data.val], [by_name[name] for name in data.test]]


def _why_not(data: DataConfig, sections: Sequence[Section]) -> str:
    """Explain why there are no training sections."""
    names = [section.name for section in sections]
    test, val = ([name for name in names if name in part] for part in (data.test, data.val))
    blind = [name for name in names if name not in (*test, *val)]
    reasons = {"kept for test (data.test)": test, "kept for validation (data.val)": val, "without an image": blind}
    return "; ".join(f"{why}: {', '.join(of)}" for why, of in reasons.items() if of) or "the data set has none"
