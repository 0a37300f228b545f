"""The objective of a soak in tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from runner.report.column import Column
from runner.results.metric import Cell
from runner.results.run import Point, Run
from runner.results.slo import SloOutcome


def _of(value: Callable[[SloOutcome], Cell]) -> Callable[[Point], Cell]:
    def cell(point: Point) -> Cell:
        found = point.trial.slo if point.trial else None
        return None if found is None else value(found)

    return cell


SLO: tuple[Column, ...] = (
    Column("slo_percentile", "", "percentile that keeps below the limit in each window", _of(lambda s: s.percentile)),
    Column("slo_limit_ms", "ms", "limit on the latency", _of(lambda s: s.limit_ms)),
    Column("slo_windows", "", "windows of the soak", _of(lambda s: s.windows)),
    Column("slo_violated", "", "windows that missed the objective", _of(lambda s: s.violated)),
    Column("slo_allowed", "", "windows that may, by the budget", _of(lambda s: s.allowed)),
    Column("slo_missed_share", "ratio", "late, failed and dropped requests / all", _of(lambda s: _share(s))),
    Column("slo_exhausted", "", "true: the budget ended the soak", _of(lambda s: s.exhausted is not None)),
)
"""After the parameters, in runs with an objective."""


def _share(outcome: SloOutcome) -> float | None:
    return outcome.missed / outcome.requests if outcome.requests else None


def slo_columns(run: Run) -> tuple[Column, ...]:
    """What an objective adds to a row, where some soak has one."""
    return SLO if any(trial.slo for trial in run.trials.values()) else ()


def slo_lines(run: Run) -> Iterator[str]:
    """A sentence for each soak with an objective."""
    for case_id, trial in run.trials.items():
        if (found := trial.slo) is not None:
            objective = f"p{found.percentile:g} ≤ {found.limit_ms:g} ms"
            held = f"{found.violated} of {found.windows} windows missed {objective}, {found.allowed} may"
            yield f"objective of {case_id}: {found.exhausted or held}"
