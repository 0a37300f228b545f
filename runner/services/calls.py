"""What every call of a model says beside its tensors: the version, and parameters of the request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.scenario.schema import Workload


@dataclass(frozen=True)
class Calls:
    """Of the called model; others, for example those behind an ensemble, are asked for without a version."""

    model: str = ""
    version: str = ""
    """Empty: the server chooses, by its version policy the newest."""
    parameters: Mapping[str, bool | int | str] = field(default_factory=dict)
    """Parameters of every inference request."""

    @classmethod
    def of(cls, workload: Workload) -> Calls:
        """As the workload says."""
        return cls(workload.model, workload.version or "", workload.parameters)

    def version_of(self, model: str) -> str:
        """Empty for every other model."""
        return self.version if model == self.model else ""
