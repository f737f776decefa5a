"""The interface of :class:`~hist2st_pyg.models.base.ExpressionModel` that saving and loading use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, Protocol, Self

from torch import Tensor, nn

from hist2st_pyg.data.preprocessing import Preprocessing
from hist2st_pyg.section import SectionRecord

Task = Literal["prediction", "interpolation", "diagnostic"]
GeneTrust = dict[str, list[float | bool | None]]
"""One value per gene in each column (``val_pcc``, ``val_ceiling``, ``detected``); empty if none were recorded."""


class SavedModel(Protocol):
    """The interface of a model for saving, loading, the card and the hub."""

    config: dict[str, Any]
    preprocessing: Preprocessing | None
    training_sections: dict[str, list[SectionRecord]]
    gene_trust: GeneTrust
    target_mean: Tensor

    @property
    def task(self) -> Task: ...

    @property
    def uses_counts(self) -> bool: ...

    @property
    def num_hops(self) -> int | None: ...

    @property
    def vision_stages(self) -> list[nn.Module]: ...

    @classmethod
    def upgrade_state(cls, state: Mapping[str, Tensor], version: int) -> dict[str, Tensor]: ...

    def state_dict(self) -> dict[str, Tensor]: ...

    def load_state_dict(self, state_dict: Mapping[str, Tensor], strict: bool = True) -> Any: ...

    def parameters(self) -> Iterator[nn.Parameter]: ...

    def eval(self) -> Self: ...
