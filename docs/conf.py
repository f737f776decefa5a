"""The documentation site: ``make docs`` builds it into ``docs/_build``."""

from __future__ import annotations

import configparser
import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT), str(HERE / "_ext")]
# The notebooks' kernels read the benchmark harness, which is not part of the package, and have no wandb key.
os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
os.environ.setdefault("WANDB_MODE", "offline")

project = "hist2st_pyg"
author = "hist2st_pyg authors"
copyright = author
METADATA = configparser.ConfigParser()
METADATA.read(ROOT / "setup.cfg", encoding="utf-8")
version = release = METADATA["metadata"]["version"]

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "myst_nb",
    "sphinx_copybutton",
    "sphinx_design",
    "command_line",
    "constant_docs",
    "same_object",
]
exclude_patterns = ["_build", "**/.ipynb_checkpoints"]
templates_path = ["_templates"]

# Pages in Markdown, with equations; the benchmarks' pages are included from where they lie.
myst_enable_extensions = ["amsmath", "attrs_inline", "colon_fence", "dollarmath"]
myst_heading_anchors = 4
math_number_all = False
math_eqref_format = "({number})"
numfig = True

# Each notebook is executed in a folder of its own, once, until it or its environment changes; an error ends the build.
nb_execution_mode = "cache"
nb_execution_in_temp = True
nb_execution_timeout = 1800
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_execution_excludepatterns = os.environ.get("DOCS_SKIP_NOTEBOOKS", "").split()
nb_output_stderr = "remove"  # progress bars and log lines

# Docstrings: Google's style, with shapes as a section of their own.
autosummary_generate = True
autosummary_imported_members = False
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_inherit_docstrings = False
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = ["Shapes"]
napoleon_use_rtype = False
python_use_unqualified_type_names = True

# Names of other projects are links where their inventories can be read.
INVENTORIES = {
    "python": "https://docs.python.org/3",
    "numpy": "https://numpy.org/doc/stable",
    "pandas": "https://pandas.pydata.org/docs",
    "torch": "https://docs.pytorch.org/docs/stable",
    "torch_geometric": "https://pytorch-geometric.readthedocs.io/en/latest",
    "anndata": "https://anndata.readthedocs.io/en/stable",
}
intersphinx_mapping = {} if os.environ.get("DOCS_OFFLINE") else {name: (url, None) for name, url in INVENTORIES.items()}
# A name of this package that is referred to and not there is a warning, and so an error; others' are not looked for.
nitpick_ignore_regex = [(r"py:.*", r"(?!hist2st_pyg\b).*")]

html_theme = "sphinx_book_theme"
html_title = project
html_static_path: list[str] = []
html_theme_options = {
    "repository_url": METADATA["metadata"]["url"],
    "repository_branch": "main",
    "path_to_docs": "docs",
    "use_repository_button": True,
    "use_issues_button": True,
    "show_navbar_depth": 1,
    "navbar_persistent": [],  # the side bar has the search
}
