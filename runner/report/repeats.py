"""repeats.csv: every measurement by itself, in order of time, where points.csv has one row for several of them."""

from __future__ import annotations

from runner.report.column import Column
from runner.report.points import EXPLANATION, IDENTITY, addresses, point_metrics
from runner.report.tabular import csv_bytes
from runner.results.records import Trial
from runner.results.run import Point, Run

POSITION: tuple[Column, ...] = (
    Column("repeat", "", "which repeat of the point, from 0; of an anchor its number", lambda p: _of(p).repeat),
    Column("block", "", "measured next to the other points of this block", lambda p: _of(p).block),
    Column("anchor", "", "true: measured only to see whether the rig drifts", lambda p: _of(p).anchor),
)
"""Before the identity of the point."""


def has_repeats(run: Run) -> bool:
    """Whether the run holds more measurements than points.csv shows."""
    return bool(run.anchors) or any(case.repeats > 1 for case in run.cases)


def repeats_csv(run: Run) -> bytes:
    """One line per measurement with the columns of points.csv."""
    metrics = point_metrics(run)
    columns = [
        *(column.key for column in (*POSITION, *IDENTITY)),
        *addresses(run),
        *(name for metric in metrics for name in metric.columns),
        *(column.key for column in EXPLANATION),
    ]
    rows = (
        {
            **point.case.parameters,
            **{column.key: column.cell(point) for column in (*POSITION, *IDENTITY, *EXPLANATION)},
            **{name: cell for metric in metrics for name, cell in metric.cells(point.trial).items()},
        }
        for point in measurements(run)
    )
    return csv_bytes(columns, rows)


def measurements(run: Run) -> list[Point]:
    """Each measurement as a point of its own, in order of time."""
    cases = {case.case_id: case for case in run.cases}
    trials = [*run.anchors, *(trial for trials in run.repeats.values() for trial in trials)]
    trials.sort(key=lambda trial: trial.started_utc)
    return [Point(cases[trial.case_id], trial.state, trial, trial.failure) for trial in trials]


def _of(point: Point) -> Trial:
    assert point.trial is not None
    return point.trial
