"""References to names of the package that are documented elsewhere, or not at all.

An object is documented once, under the name by which users import it; docstrings name it where it is defined, or by its
bare name in the file that it is in.
"""

from __future__ import annotations

import inspect
from importlib import import_module
from pkgutil import walk_packages
from typing import Any

PACKAGE = "hist2st_pyg"


def find(name: str) -> Any:
    """The object of a dotted name.

    Raises:
        LookupError: If there is none.
    """
    parts = name.split(".")
    for i in range(len(parts), 0, -1):
        try:
            found = import_module(".".join(parts[:i]))
        except ImportError:
            continue
        try:
            for part in parts[i:]:
                found = getattr(found, part)
        except AttributeError:
            break
        return found
    raise LookupError(name)


def defined(name: str) -> list[str]:
    """The full names of what the package's files define or import under a bare name, or a name with one dot."""
    package = import_module(PACKAGE)
    modules = [PACKAGE, *(module.name for module in walk_packages(package.__path__, f"{PACKAGE}."))]
    found = []
    for module in modules:
        if module.endswith("__main__"):
            continue
        try:
            find(f"{module}.{name}")
        except LookupError:
            continue
        found.append(f"{module}.{name}")
    return found


def documented(full: str, names: Any) -> str | None:
    """The documented name of the object that a full name means."""
    meant = find(full)
    if inspect.ismodule(meant):
        return None
    last = full.rpartition(".")[2]
    return next((name for name in names if name.rpartition(".")[2] == last and find(name) is meant), None)


def resolve(app: Any, env: Any, node: Any, contnode: Any) -> Any:
    """Answer to Sphinx's ``missing-reference`` for names of the package."""
    if node.get("refdomain") != "py":
        return None
    domain, target = env.domains.python_domain, node["reftarget"].removeprefix(f"{PACKAGE}.").lstrip(".")
    context = [node.get("py:module"), node.get("py:class") and f"{node.get('py:module')}.{node['py:class']}"]
    tried = [f"{PACKAGE}.{target}", *(f"{place}.{target}" for place in context if place)]
    full = [name for name in tried if _there(name)] or defined(target)
    if not full:
        return None
    names = [name for name in domain.objects if name.startswith(f"{PACKAGE}.")]
    for name in full:
        link = name if name in domain.objects else documented(name, names)
        if link is not None:
            found = domain.objects[link]
            return domain.resolve_xref(env, node["refdoc"], app.builder, found.objtype, link, node, contnode)
    return contnode  # it is there, and has no page: plain text


def _there(name: str) -> bool:
    try:
        find(name)
    except LookupError:
        return False
    return True


def setup(app: Any) -> dict[str, bool]:
    """Tell Sphinx of it."""
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True}
