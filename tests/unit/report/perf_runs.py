"""Runs of the shapes that were captured from perf_analyzer, with numbers that a reader can check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from runner.results.journal import SCHEMA
from runner.results.manifest import Manifest, ScenarioRecord
from runner.results.records import (
    Distribution,
    ModelStatistics,
    SequenceSummary,
    StreamSummary,
    TimeSplit,
    Trial,
    WholeLoad,
)
from runner.results.repeats import pooled
from runner.results.request_records import HEADER, RECORD
from runner.results.run import PlannedCase, Run
from tests.unit.results.sample_run import histogram, model, summary, trial

WINDOWS = "{stability: {kind: windows, interval: 500ms}}"
SPLIT = TimeSplit(queue_ms=0.0, write_ms=0.125, wait_ms=9.625, read_ms=0.25)
STARTED_NS = 1_763_697_605_000_000_123
PLAIN = (model("identity", 500, 7985),)
ENSEMBLE = (model("chain", 0, 8985), model("identity", 500, 1985), model("sleepy", 300, 5985))
"""9 ms in the server, of which the steps explain 8.8: 0.8 in queues."""


def whole(split: TimeSplit = SPLIT, started_ns: int | None = STARTED_NS) -> WholeLoad:
    return WholeLoad(12.0, 1200, 10.0, split, 1, 1, started_unix_ns=started_ns)


def level(value: float, name: str = "concurrency", kind: str = "concurrency") -> PlannedCase:
    asked: Any = f"{value:g}/s" if name == "rate" else value
    return PlannedCase(f"{name}{value:g}", {f"load.{name}": asked}, "identity", "grpc", 1, {"kind": kind, name: asked})


def measured(case: PlannedCase, server: Sequence[ModelStatistics] = PLAIN, **changes: Any) -> Trial:
    """100 inferences/s at 10 ms, unless changed; fields of the summary may be named, too."""
    names = summary().__dataclass_fields__
    of_summary = {key: changes.pop(key) for key in tuple(changes) if key in names}
    found = replace(summary(time_split=SPLIT), **of_summary)
    return trial(case, summary=found, server=tuple(server), whole=changes.pop("whole", whole()), **changes)


def run_of(folder: Path, cases: Sequence[PlannedCase], trials: Sequence[Trial], measure: str = WINDOWS) -> Run:
    """As `load_run` makes it; no journal is written, which takes longer than everything that is tested here."""
    path = folder / "run"
    path.mkdir()
    (path / "resolved.yaml").write_text(f"measure: {measure}\n")
    of = {case.case_id: tuple(t for t in trials if t.case_id == case.case_id) for case in cases}
    repeats = {name: tuple(t for t in found if t.probe is None) for name, found in of.items()}
    return Run(
        path=path,
        manifest=Manifest(SCHEMA, "run", "0.0.0", "2025-11-21T04:00:00.000Z", ScenarioRecord("tiny", "")),
        cases=tuple(cases),
        trials={case.case_id: pooled(case, repeats[case.case_id])[0] for case in cases if repeats[case.case_id]},
        repeats=repeats,
        probes={name: found for name, found in of.items() if any(t.probe for t in found)},
    )


def write_records(run: Run, name: str, rows: Sequence[tuple[int, ...]]) -> None:
    """Request records beside the journal: (intended, sent, first, done, payload, status, worker)."""
    folder = run.path / "records"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.bin").write_bytes(HEADER + np.array(list(rows), RECORD).tobytes())


def cached(statistics: ModelStatistics) -> ModelStatistics:
    """300 of 1200 requests are answered from the cache in 0.2 ms; a miss costs 0.1 ms."""
    hits, misses = 300, 900
    return replace(
        statistics,
        cache_hit_count=hits,
        cache_hit_ns=hits * 200_000,
        cache_miss_count=misses,
        cache_miss_ns=misses * 100_000,
    )


def stream(per_request: float) -> StreamSummary:
    return StreamSummary(int(1000 * per_request), 100 * per_request, per_request, None, None, None)


def sequences() -> SequenceSummary:
    return SequenceSummary(50, 0, 5.0, Distribution(50, 200.0, 200.0, 210.0, 220.0, 230.0, 240.0))


CAPTURED: dict[str, dict[str, Any]] = {
    "concurrency": {"levels": [1, 2]},
    "ensemble": {"wishes": {"verbose_csv": True, "collect_metrics": True}, "server": ENSEMBLE},
    "percentile": {"wishes": {"percentile": 97.0, "verbose_csv": True, "verbosity": 1, "protocol": "grpc"}},
    "request_rate": {
        "levels": [20, 40],
        "name": "rate",
        "kind": "constant",
        "wishes": {"levels": "request_rate", "protocol": "grpc"},
        "offered_per_s": 20.0,
    },
    "decoupled": {"wishes": {"verbose_csv": True, "protocol": "grpc", "streaming": True}, "stream": stream(3.0)},
    "sequences": {"levels": [2], "wishes": {"protocol": "grpc", "streaming": True}, "sequences": sequences()},
    "cached": {"server": (cached(PLAIN[0]),)},
    "count": {"measure": "{requests: 200}"},
}
"""Name of a capture -> the run that looks like it."""


def captured_run(folder: Path, name: str) -> tuple[Run, dict[str, Any]]:
    """The run, and what was asked to be shown of it."""
    told = dict(CAPTURED[name])
    levels, wishes, measure = told.pop("levels", [1]), told.pop("wishes", {}), told.pop("measure", WINDOWS)
    cases = [level(value, told.get("name", "concurrency"), told.get("kind", "concurrency")) for value in levels]
    fields = {key: value for key, value in told.items() if key not in ("name", "kind")}
    lags = {"latency": histogram(9, 9.5, 10, 11), "send_lag": histogram(0.01, 0.1)}
    return run_of(folder, cases, [measured(c, histograms=lags, **fields) for c in cases], measure), wishes
