"""points.csv and points.json: one row per point of the matrix, measured or not."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

from runner.report.beside import gap, pairs
from runner.report.capacity import CAPACITY, capacity_columns
from runner.report.column import Column
from runner.report.slo import SLO, slo_columns
from runner.report.stages import stage_rows
from runner.report.tabular import csv_bytes, json_bytes
from runner.results.breakdown import breakdown
from runner.results.codec import encode
from runner.results.diagnosis import Diagnosis, diagnose
from runner.results.executions import working
from runner.results.journal import SCHEMA
from runner.results.metric import Cell, Metric
from runner.results.metrics import (
    BREAKDOWN,
    CLIENT,
    COUNTS,
    EXTRA,
    LATENCY,
    SERVER,
    THROUGHPUT,
    WINDOW,
    composing,
    compute_share,
    model_metrics,
    percentile,
)
from runner.results.records import Trial
from runner.results.run import Point, Run
from runner.results.telemetry import gpu_indices
from runner.results.telemetry_metrics import GPU, HOST, gpu_metrics, series_metrics
from runner.units import parse_rate


def _rate(point: Point) -> float | None:
    written = point.case.load.get("rate")
    return None if written is None else parse_rate(written)


def _diagnosed(point: Point, of: Callable[[Diagnosis], Cell]) -> Cell:
    found = diagnose(point.trial) if point.trial else None
    return None if found is None else of(found)


IDENTITY: tuple[Column, ...] = (
    Column("case_id", "", "name of the point: readable parameters, then a hash over all", lambda p: p.case.case_id),
    Column("state", "", "ok, invalid, failed, interrupted, skipped or missing", lambda p: p.state),
    Column("reason", "", "why the state is not ok", lambda p: p.reason),
    Column("model", "", "model that was called", lambda p: p.case.model),
    Column("protocol", "", "transport of the requests", lambda p: p.case.protocol),
    Column("batch", "inferences", "inferences per request", lambda p: p.case.batch),
    Column("load", "", "kind of load, see the scenario reference", lambda p: p.case.load.get("kind")),
    Column("concurrency", "requests", "requests kept in flight", lambda p: p.case.load.get("concurrency")),
    Column("rate", "1/s", "rate that an open loop asks for, as in the scenario", _rate),
)
"""Before the parameters, which are columns named by their addresses."""

EXPLANATION: tuple[Column, ...] = (
    Column("started_utc", "", "start of the trial, RFC 3339", lambda p: p.trial.started_utc if p.trial else None),
    Column("elapsed_s", "s", "duration of the trial", lambda p: p.trial.elapsed_s if p.trial else None),
    Column(
        "failed_by_code",
        "requests",
        "failed requests by code, `code=count` joined by `;`",
        lambda p: _joined(p.trial.counts.failed) if p.trial and p.trial.counts else None,
    ),
    Column(
        "flags",
        "",
        "codes of the checks that found something, joined by `;`",
        lambda p: ";".join(flag.code for flag in p.trial.flags) if p.trial else None,
    ),
    Column(
        "diagnosis",
        "",
        "what limits the point: preprocess, compute, queue, transport, client or undecided",
        lambda p: _diagnosed(p, lambda d: d.kind),
    ),
    Column("diagnosis_model", "", "the model whose stage that is", lambda p: _diagnosed(p, lambda d: d.model or None)),
    Column("diagnosis_text", "", "why, and which knob to turn", lambda p: _diagnosed(p, lambda d: d.text)),
    Column(
        "labels",
        "",
        "facts that belong to every number, `key=value` joined by `;`",
        lambda p: _joined(p.trial.labels) if p.trial else None,
    ),
)
"""After the metrics."""

REPEATS: tuple[Column, ...] = (
    Column("repeats", "", "repeats with a number, of those planned", lambda p: p.spread.measured if p.spread else None),
    Column("repeats_used", "", "repeats that the row comes from", lambda p: p.spread.used if p.spread else None),
    Column(
        "repeats_between",
        "ratio",
        "standard deviation of the repeats' requests_per_s / their mean",
        lambda p: p.spread.between if p.spread else None,
    ),
    Column(
        "repeats_within",
        "ratio",
        "standard error of requests_per_s inside a repeat (root mean square) / the same mean",
        lambda p: p.spread.within if p.spread else None,
    ),
)
"""After the parameters, in runs that repeat points."""


def points_csv(run: Run) -> bytes:
    """One line per point: what it is, what was measured with which interval, what the checks say."""
    metrics = point_metrics(run)
    columns = [
        *(column.key for column in IDENTITY),
        *addresses(run),
        *(column.key for column in (*repeat_columns(run), *capacity_columns(run), *slo_columns(run))),
        *(name for metric in metrics for name in metric.columns),
        *(column.key for column in EXPLANATION),
    ]
    rows = ({**point.case.parameters, **_cells(point, metrics, EXPLANATION)} for point in run.points())
    return csv_bytes(columns, rows)


def points_json(run: Run) -> bytes:
    """The same rows with types: parameters by address, flags with their values and sentences, stages per model."""
    metrics = point_metrics(run)
    return json_bytes(
        {
            "schema": SCHEMA,
            "run": _run_facts(run),
            "columns": {
                metric.key: {"unit": metric.unit, "formula": metric.formula, "direction": metric.direction}
                for metric in metrics
            },
            "points": [_json_point(point, metrics) for point in run.points()],
            **_json_anchors(run, metrics),
            **_json_gaps(run),
        }
    )


def repeat_columns(run: Run) -> tuple[Column, ...]:
    """What the spread of repeats adds to a row, where some point is repeated."""
    return REPEATS if any(case.repeats > 1 for case in run.cases) else ()


def point_metrics(run: Run) -> tuple[Metric, ...]:
    """The metrics of this run's points: the fixed ones, its percentiles, and those of each model."""
    return (
        *COUNTS,
        *WINDOW,
        *THROUGHPUT,
        *LATENCY,
        *(metric for q in reported_percentiles(run) for metric in percentile(q)),
        *extra_metrics(run),
        *CLIENT,
        *SERVER,
        *(compute_share(model) for model in composing_models(run)),
        *(metric for model in working_models(run) for metric in model_metrics(model)),
        *(BREAKDOWN if any(trial.whole for trial in run.trials.values()) else ()),
        *telemetry_metrics(run),
    )


def extra_metrics(run: Run) -> tuple[Metric, ...]:
    """Parts of the latency, sequences and streams, where some trial has them."""
    summaries = [trial.summary for trial in run.trials.values() if trial.summary]
    shown = (metrics for part, metrics in EXTRA if any(getattr(summary, part) for summary in summaries))
    return tuple(metric for metrics in shown for metric in metrics)


def telemetry_metrics(run: Run) -> tuple[Metric, ...]:
    """Of the machine, of its GPUs together and each, and of the series asked for, where some trial has them."""
    series = {name: found for trial in run.trials.values() for name, found in trial.telemetry.items()}
    gpus = gpu_indices(series)
    return (
        *(HOST if any(name.startswith("host.") for name in series) else ()),
        *(GPU if gpus else ()),
        *(metric for index in gpus for metric in gpu_metrics(index)),
        *(metric for name, found in series.items() if found.asked for metric in series_metrics(name, found.kind)),
    )


def reported_percentiles(run: Run) -> tuple[float, ...]:
    """Every percentile that some trial reports, ascending."""
    summaries = (trial.summary for trial in run.trials.values() if trial.summary)
    return tuple(sorted({p.q for summary in summaries for p in summary.percentiles}))


def composing_models(run: Run) -> tuple[str, ...]:
    """The models that do the work in some trial, in pipeline order."""
    return _unique(statistics.model for point in run.points() if point.trial for statistics in composing(point.trial))


def working_models(run: Run) -> tuple[str, ...]:
    """Those, and the models that their code calls."""
    return _unique(statistics.model for point in run.points() if point.trial for statistics in working(point.trial))


def addresses(run: Run) -> tuple[str, ...]:
    """The addresses that the matrix varies, in the order of its axes."""
    return _unique(address for case in run.cases for address in case.parameters)


def _unique(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _cells(point: Point, metrics: Iterable[Metric], explanation: Iterable[Column]) -> dict[str, Cell]:
    cells: dict[str, Cell] = {column.key: column.cell(point) for column in (*IDENTITY, *REPEATS, *CAPACITY, *SLO)}
    for metric in metrics:
        cells |= metric.cells(point.trial)
    return cells | {column.key: column.cell(point) for column in explanation}


def _json_point(point: Point, metrics: Iterable[Metric]) -> dict[str, Any]:
    trial = point.trial
    cells: dict[str, Any] = _cells(point, metrics, EXPLANATION[:2])
    if point.spread is None:
        cells = {key: cell for key, cell in cells.items() if key not in _REPEAT_KEYS}
    else:
        cells["each_repeat"] = [json_trial(each, metrics) for each in point.repeats]
    if trial is None or trial.capacity is None:
        cells = {key: cell for key, cell in cells.items() if key not in _CAPACITY_KEYS}
    else:
        cells["capacity"] = encode(trial.capacity)
    if trial is None or trial.slo is None:
        cells = {key: cell for key, cell in cells.items() if key not in _SLO_KEYS}
    return {
        **cells,
        "load": encode(point.case.load),
        "parameters": encode(point.case.parameters),
        "failed_by_code": dict(trial.counts.failed) if trial and trial.counts else {},
        "errors": dict(trial.errors) if trial else {},
        "flags": [asdict(flag) for flag in trial.flags] if trial else [],
        "labels": dict(trial.labels) if trial else {},
        "stages": stage_rows(point),
        "breakdown": _breakdown_rows(trial) if trial else [],
        "diagnosis": _json_diagnosis(trial) if trial else None,
        "telemetry": {name: asdict(series) for name, series in trial.telemetry.items()} if trial else {},
        "telemetry_absent": dict(trial.telemetry_absent) if trial else {},
    }


def _breakdown_rows(trial: Trial) -> list[dict[str, Any]]:
    table = breakdown(trial)
    return [{**asdict(part), "share": part.ms / table.total_ms} for part in table.parts] if table else []


def _json_diagnosis(trial: Trial) -> dict[str, Any] | None:
    found = diagnose(trial)
    return None if found is None else {**asdict(found), "knobs": list(found.knobs)}


def _json_anchors(run: Run, metrics: Iterable[Metric]) -> dict[str, Any]:
    """The anchor's measurements and how the rig changed between them, where there is an anchor."""
    if not run.anchors:
        return {}
    steps = [
        {"change": step.change, "uncertainty": _finite(step.uncertainty), "drifted": step.drifted}
        for step in run.anchor_steps
    ]
    return {
        "anchor": {
            "case_id": run.anchors[0].case_id,
            "steps": steps,
            "trials": [json_trial(trial, metrics) for trial in run.anchors],
        }
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _json_gaps(run: Run) -> dict[str, Any]:
    """Why the profile `reference` gives other numbers than the same points in steady state, where there are both."""
    found = [
        {"case_id": pair.cold.case.case_id, "steady": pair.steady.case.case_id, **asdict(gap(pair))}
        for pair in pairs(run)
    ]
    return {"reference": found} if found else {}


_REPEAT_KEYS = {column.key for column in REPEATS}
_SLO_KEYS = {column.key for column in SLO}
_CAPACITY_KEYS = {column.key for column in CAPACITY}


def json_trial(trial: Trial, metrics: Iterable[Metric]) -> dict[str, Any]:
    """One measurement that a row comes from."""
    cells = {name: cell for metric in metrics for name, cell in metric.cells(trial).items()}
    return {
        "repeat": trial.repeat,
        "block": trial.block,
        "state": trial.state,
        "reason": trial.failure,
        "started_utc": trial.started_utc,
        "elapsed_s": trial.elapsed_s,
        **cells,
        "flags": [asdict(flag) for flag in trial.flags],
    }


def _run_facts(run: Run) -> dict[str, Any]:
    manifest = run.manifest
    return {
        "id": manifest.run_id,
        "scenario": manifest.scenario.name,
        "scenario_digest": manifest.scenario.digest,
        "tool_version": manifest.tool_version,
        "target": manifest.target,
        "started_utc": manifest.started_utc,
        "labels": dict(manifest.labels),
    }


def _joined(facts: dict[str, Any]) -> str:
    return ";".join(f"{key}={value}" for key, value in facts.items())
