from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from hist2st_pyg import figures


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """Watch a function of ``figures``, which still draws: the arguments of its last call, by name."""

    def watch(name: str) -> dict[str, Any]:
        draw, seen = getattr(figures, name), dict[str, Any]()

        def note(*given: Any, **options: Any) -> Any:
            seen.clear()
            seen.update(inspect.signature(draw).bind(*given, **options).arguments)
            return draw(*given, **options)

        monkeypatch.setattr(figures, name, note)
        return seen

    return watch
