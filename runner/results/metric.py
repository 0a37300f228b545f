"""What a metric is: key with its unit, formula, direction and where it comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from runner.results.records import Estimate, Trial

Direction = Literal["max", "min"] | None
Value = bool | int | float | str | Estimate | None
Cell = bool | int | float | str | None


@dataclass(frozen=True)
class Metric:
    """One number of a trial."""

    key: str
    """Column name; ends in the unit where there is one."""
    unit: str
    formula: str
    direction: Direction
    """Which way is better; None where neither is."""
    extract: Callable[[Trial], Value]
    interval: bool = False
    """Has a confidence interval: two more columns, `_low` and `_high`."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The column names."""
        return (self.key, f"{self.key}_low", f"{self.key}_high") if self.interval else (self.key,)

    def cells(self, trial: Trial | None) -> dict[str, Cell]:
        """Column -> value; None where there is no such measurement."""
        value = None if trial is None else self.extract(trial)
        if isinstance(value, Estimate):
            return dict(zip(self.columns, (value.value, value.low, value.high), strict=True))
        return {column: value if column == self.key else None for column in self.columns}
