"""stages.csv: what each model of the pipeline did for a point, by the server's own counters.

The stage columns of an ensemble itself are empty: its parts have rows of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from runner.report.tabular import csv_bytes
from runner.results.metrics import STAGES, Cell, per_request_us
from runner.results.records import ModelStatistics, Trial
from runner.results.run import Point, Run
from runner.results.stages import ModelStages, stage_table


@dataclass(frozen=True)
class StageColumn:
    """A number of one model in one point."""

    key: str
    unit: str
    formula: str
    cell: Callable[[Trial, ModelStatistics], Cell]


def _role(trial: Trial, statistics: ModelStatistics) -> str:
    if len(trial.server) == 1:
        return "model"
    return "ensemble" if statistics is trial.server[0] else "composing"


def _stage_column(name: str, of: Callable[[ModelStatistics], int]) -> StageColumn:
    formula = f"{name} time of this model / successful requests of the called model"
    return StageColumn(f"{name}_us", "us", formula, lambda t, m: per_request_us(t, of(m)) if _step(t, m) else None)


def _step(trial: Trial, statistics: ModelStatistics) -> ModelStages | None:
    """The part of a model that does work itself; None for an ensemble, whose own counters repeat or omit the parts'."""
    table = stage_table(trial.server)
    steps = table.steps if table and _role(trial, statistics) != "ensemble" else ()
    return next((step for step in steps if (step.model, step.version) == (statistics.model, statistics.version)), None)


def _of_step(of: Callable[[ModelStages], Cell]) -> Callable[[Trial, ModelStatistics], Cell]:
    def cell(trial: Trial, statistics: ModelStatistics) -> Cell:
        step = _step(trial, statistics)
        return of(step) if step else None

    return cell


STAGE_COLUMNS: tuple[StageColumn, ...] = (
    StageColumn("model", "", "model of the pipeline", lambda _, m: m.model),
    StageColumn("version", "", "its version", lambda _, m: m.version),
    StageColumn("role", "", "model: called alone · ensemble: the called one · composing: a part of it", _role),
    StageColumn("success_count", "requests", "successful requests of this model", lambda _, m: m.success_count),
    StageColumn("failure_count", "requests", "failed requests of this model", lambda _, m: m.failure_count),
    StageColumn("inference_count", "inferences", "inferences, batched or not", lambda _, m: m.inference_count),
    StageColumn("execution_count", "executions", "times the model ran", lambda _, m: m.execution_count),
    StageColumn("cache_hit_count", "requests", "answered from the response cache", lambda _, m: m.cache_hit_count),
    StageColumn("mean_batch", "inferences", "inference_count / execution_count", _of_step(lambda s: s.mean_batch)),
    *(_stage_column(name, of) for name, of in STAGES),
    StageColumn(
        "request_us",
        "us",
        "time inside the server, end to end / successful requests of the called model",
        lambda trial, m: per_request_us(trial, m.success_ns),
    ),
    StageColumn(
        "compute_share", "ratio", "compute time / that of all composing models", _of_step(lambda s: s.compute_share)
    ),
    StageColumn("queue_share", "ratio", "queue time / that of all composing models", _of_step(lambda s: s.queue_share)),
)


def stages_csv(run: Run) -> bytes:
    """One line per measured point and model."""
    columns = ["case_id", "batch", "concurrency", *(column.key for column in STAGE_COLUMNS)]
    rows = (
        {
            "case_id": point.case.case_id,
            "batch": point.case.batch,
            "concurrency": point.case.load.get("concurrency"),
            **row,
        }
        for point in run.points()
        for row in stage_rows(point)
    )
    return csv_bytes(columns, rows)


def stage_rows(point: Point) -> list[dict[str, Any]]:
    """The models of one point, the called one first, composing models in pipeline order."""
    trial = point.trial
    if trial is None:
        return []
    return [{column.key: column.cell(trial, statistics) for column in STAGE_COLUMNS} for statistics in trial.server]
