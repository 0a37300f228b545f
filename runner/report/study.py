"""study.json and trials.csv: what a study searched, tried, found and confirmed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from runner.report.points import json_anchors, point_metrics, run_facts
from runner.report.tabular import csv_bytes, json_bytes
from runner.results.codec import encode
from runner.results.journal import SCHEMA
from runner.results.run import Run
from runner.results.study import Study, StudyTrial

TRIAL_COLUMNS: dict[str, str] = {
    "number": "in the order of asking; 0 is the file itself",
    "outcome": "measured, pruned (a short probe was enough), infeasible (never run) or failed (no usable number)",
    "on_front": "true: acceptable, and no acceptable point is better in every objective",
    "acceptable": "true: measured in full, and no constraint is missed",
    "case_id": "row of points.csv with everything that was measured",
    "reason": "why the outcome is not `measured`",
    "violations": "constraints that are missed -> by which share of the limit, as JSON",
    "search_s": "seconds of the search when the point was finished",
}
"""Columns of trials.csv before those of the addresses and of the objectives."""


def study_json(run: Run, study: Study) -> bytes:
    """Everything with types; intervals as `value`, `low`, `high`."""
    anchors = json_anchors(run, point_metrics(run)) if run.anchors else {}
    return json_bytes(
        {
            "schema": SCHEMA,
            "run": run_facts(run),
            "tune": study.tune,
            "space_size": study.size,
            "objectives": encode(study.objectives),
            "search": {
                "ended": study.ended,
                "seconds": study.search_s,
                "outcomes": study.counts(),
                "front": [trial.number for trial in study.front],
                "importance": study.importance,
                "drift": encode(study.drifts),
            },
            "trials": encode(study.trials),
            **anchors,
            "confirmation": encode(study.contenders),
            "confirmation_number": study.confirmation,
            "confidence": study.confidence,
            "call": study.call,
            "winner": study.winner,
            "conclusion": study.conclusion,
            "written": study.written,
        }
    )


def trials_csv(study: Study) -> bytes:
    """One line per point in the order in which they finished; objectives with their intervals."""
    columns = [*TRIAL_COLUMNS, *addresses(study), *(name for each in study.objectives for name in _names(each.metric))]
    return csv_bytes(columns, (_row(study, trial) for trial in study.trials))


def addresses(study: Study) -> list[str]:
    """The addresses of the space, in the order of the file."""
    return list(study.tune["space"])


def _row(study: Study, trial: StudyTrial) -> dict[str, Any]:
    row = {
        "number": trial.number,
        "outcome": trial.outcome,
        "on_front": trial.on_front,
        "acceptable": trial.acceptable,
        "case_id": trial.case_id,
        "reason": trial.reason or None,
        "violations": trial.violations or None,
        "search_s": round(trial.search_s, 3),
    }
    return {**row, **trial.point, **dict(_cells(study, trial))}


def _cells(study: Study, trial: StudyTrial) -> Iterator[tuple[str, float | None]]:
    for objective, estimate in zip(study.objectives, trial.values, strict=False):
        yield from zip(_names(objective.metric), (estimate.value, estimate.low, estimate.high), strict=True)


def _names(metric: str) -> tuple[str, str, str]:
    return metric, f"{metric}_low", f"{metric}_high"
