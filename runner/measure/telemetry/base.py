"""The seam between measurement and whatever describes the machine while a load runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

Kind = Literal["gauge", "counter"]
"""gauge: a state, averaged · counter: grows, only differences mean something."""


@dataclass(frozen=True, slots=True)
class Value:
    """One number at one moment; always finite, because what cannot be read is absent."""

    value: float
    unit: str = ""
    kind: Kind = "gauge"
    detail: bool = False
    """Only for the file of samples: one CPU of many, one process."""


class Source(Protocol):
    """Something that can be read again and again. Contract suite: `tests/contracts/telemetry.py`.

    Reading must be cheap, must end in about a second whatever happens, and never raises for what the machine lacks.
    """

    @property
    def name(self) -> str:
        """`host`, `prometheus`, `gpu`."""
        ...

    def read(self) -> Mapping[str, Value]:
        """Series -> value now; empty when nothing can be read."""
        ...

    def absent(self) -> Mapping[str, str]:
        """Series -> why it was not in the last reading; under the source's own name when nothing was."""
        ...

    def close(self) -> None: ...
