"""Two runs of the disk against each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from runner.errors import UsageError

if TYPE_CHECKING:
    from runner.results.comparison import Comparison


def compare_runs(a: Path, b: Path, metrics: Sequence[str] = (), margin: float | None = None) -> Comparison:
    """Compare the run in `a` with that in `b`, the baseline.

    Raises:
        UsageError: a folder is no run, or a metric is none.
    """
    from runner.measure.compared_metrics import MARGIN, Rules
    from runner.measure.comparing import compare
    from runner.results.directory import RunDirectory

    first, second = RunDirectory.open(a), RunDirectory.open(b)
    if first.path.resolve() == second.path.resolve():
        raise UsageError(f"{a} and {b} are the same run", hint="name two runs: A, and B as its baseline")
    rules = Rules.of(metrics, MARGIN if margin is None else margin)
    return compare(first.load(), second.load(), rules)
