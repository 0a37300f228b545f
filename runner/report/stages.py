"""stages.csv: what each model of the pipeline did for a point, by the server's own counters.

The stage columns of an ensemble itself are empty: its parts have rows of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from runner.report.tabular import csv_bytes
from runner.results.executions import execution_ms, facts_of, mean_batch, utilisation
from runner.results.metrics import STAGES, Cell, per_request_us
from runner.results.records import ModelFacts, ModelStatistics, Trial
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
    if any(statistics is called for called in trial.bls):
        return "bls"
    if len(trial.server) == 1:
        return "model"
    return "ensemble" if statistics is trial.server[0] else "composing"


def _stage_column(name: str, of: Callable[[ModelStatistics], int]) -> StageColumn:
    formula = f"{name} time of this model / successful requests of the called model"
    return StageColumn(f"{name}_us", "us", formula, lambda t, m: per_request_us(t, of(m)) if _works(t, m) else None)


def _works(trial: Trial, statistics: ModelStatistics) -> bool:
    """Not an ensemble, whose own counters repeat or omit those of its parts."""
    return _role(trial, statistics) != "ensemble"


def _when_working(of: Callable[[Trial, ModelStatistics], Cell]) -> Callable[[Trial, ModelStatistics], Cell]:
    return lambda trial, statistics: of(trial, statistics) if _works(trial, statistics) else None


def _of_facts(of: Callable[[ModelFacts], Cell]) -> Callable[[Trial, ModelStatistics], Cell]:
    def cell(trial: Trial, statistics: ModelStatistics) -> Cell:
        facts = facts_of(trial, statistics.model)
        return None if facts is None else of(facts)

    return cell


def _execution_us(_: Trial, statistics: ModelStatistics) -> float | None:
    mean_ms = execution_ms(statistics)
    return None if mean_ms is None else mean_ms * 1000


def _batch_sizes(_: Trial, statistics: ModelStatistics) -> str | None:
    return ";".join(f"{batch.size}={batch.count}" for batch in statistics.batches) or None


def _step(trial: Trial, statistics: ModelStatistics) -> ModelStages | None:
    """The part of a composing model, or of one that is called alone."""
    table = stage_table(trial.server)
    steps = table.steps if table and _works(trial, statistics) else ()
    return next((step for step in steps if (step.model, step.version) == (statistics.model, statistics.version)), None)


def _of_step(of: Callable[[ModelStages], Cell]) -> Callable[[Trial, ModelStatistics], Cell]:
    def cell(trial: Trial, statistics: ModelStatistics) -> Cell:
        step = _step(trial, statistics)
        return of(step) if step else None

    return cell


STAGE_COLUMNS: tuple[StageColumn, ...] = (
    StageColumn("model", "", "model of the pipeline", lambda _, m: m.model),
    StageColumn("version", "", "its version", lambda _, m: m.version),
    StageColumn(
        "role",
        "",
        "model: called alone · ensemble: the called one · composing: a part of it · bls: called by code of these, and "
        "so inside their time",
        _role,
    ),
    StageColumn("backend", "", "what runs it", _of_facts(lambda f: f.backend or None)),
    StageColumn("instances", "", "of the model, on all devices together", _of_facts(lambda f: f.instances)),
    StageColumn("success_count", "requests", "successful requests of this model", lambda _, m: m.success_count),
    StageColumn("failure_count", "requests", "failed requests of this model", lambda _, m: m.failure_count),
    StageColumn("inference_count", "inferences", "inferences, batched or not", lambda _, m: m.inference_count),
    StageColumn("execution_count", "executions", "times the model ran", lambda _, m: m.execution_count),
    StageColumn("cache_hit_count", "requests", "answered from the response cache", lambda _, m: m.cache_hit_count),
    StageColumn(
        "cache_miss_count", "requests", "looked up in vain in the response cache", lambda _, m: m.cache_miss_count
    ),
    StageColumn(
        "mean_batch",
        "inferences",
        "inference_count / execution_count",
        _when_working(lambda _, m: mean_batch(m)),
    ),
    StageColumn(
        "batch_sizes", "", "executions by their batch size, `size=count` joined by `;`", _when_working(_batch_sizes)
    ),
    StageColumn("execution_us", "us", "mean time of an execution, however many requests", _when_working(_execution_us)),
    StageColumn(
        "utilisation",
        "ratio",
        "time of all executions / (time of the load * instances)",
        _when_working(utilisation),
    ),
    *(_stage_column(name, of) for name, of in STAGES),
    _stage_column("cache", lambda m: m.cache_hit_ns + m.cache_miss_ns),
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
    models = (*trial.server, *trial.bls)
    return [{column.key: column.cell(trial, statistics) for column in STAGE_COLUMNS} for statistics in models]
