"""What a study is made of: points, what became of them, and the strategy that is asked and told.

A strategy decides nothing but which point comes next. It is a pure function of its seed and of what it was told, in
order: a study that is resumed tells a fresh strategy everything that is finished and goes on as if nothing happened.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Point = Mapping[str, Any]
"""Address -> plain value; an address whose `when` does not hold is not in it, nor one that the file leaves out."""

Outcome = Literal["measured", "pruned", "infeasible", "failed"]
"""measured: in full · pruned: a short probe was enough · infeasible: excluded, never run · failed: no numbers."""


@dataclass(frozen=True)
class Proposal:
    """A point to try."""

    number: int
    """The smallest that was neither asked nor told; identifies it for `tell`."""
    point: Point
    """Number 0 is the file's own; then those of `tune.strategy.start`."""


@dataclass(frozen=True)
class Observation:
    """What became of a proposal."""

    number: int
    point: Point
    outcome: Outcome
    values: tuple[float, ...] | None = None
    """Objectives in their declared order, as measured; None where nothing was measured."""
    violations: Mapping[str, float] = field(default_factory=dict)
    """Constraint -> relative amount by which it is missed, > 0; satisfied ones are not in it."""
    reason: str = ""
    """Why it is not `measured`."""

    @property
    def acceptable(self) -> bool:
        """Measured in full, and no constraint is missed."""
        return self.outcome == "measured" and self.values is not None and not self.violations


class Strategy(Protocol):
    """Which points are tried. Contract suite: `tests/contracts/strategy.py`."""

    def ask(self, count: int = 1) -> Sequence[Proposal]:
        """The next points, up to `count`; none when the space is exhausted. Never a point twice."""
        ...

    def tell(self, observation: Observation) -> None:
        """Take note of what became of a proposal, in whatever order they finish; also of points it never proposed."""
        ...
