"""A column of a table of points."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from runner.results.metric import Cell
from runner.results.run import Point


@dataclass(frozen=True)
class Column:
    """A column that identifies or explains a point rather than measures it."""

    key: str
    unit: str
    meaning: str
    cell: Callable[[Point], Cell]
