"""What every call of a model says beside its tensors: the version, and parameters of the request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.scenario.schema import Workload


@dataclass(frozen=True)
class Calls:
    """Of the called model; those that its code calls may be asked about by version, all others are not."""

    model: str = ""
    version: str = ""
    """Empty: the server chooses, by its version policy the newest."""
    parameters: Mapping[str, bool | int | str] = field(default_factory=dict)
    """Parameters of every inference request."""
    bls_versions: Mapping[str, str] = field(default_factory=dict)
    """Model that its code calls -> version whose description and statistics are meant."""

    @classmethod
    def of(cls, workload: Workload) -> Calls:
        """As the workload says."""
        return cls(workload.model, workload.version or "", workload.parameters, workload.bls_versions)

    def version_of(self, model: str) -> str:
        """Empty: as the server chooses, and in statistics all versions together."""
        return self.version if model == self.model else self.bls_versions.get(model, "")
