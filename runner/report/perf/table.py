"""The CSV of `-f`: perf_analyzer's columns, its units and its order, one row for each level that has numbers.

A level that a search found over its limit has no row: nothing in a row would say so, and readers take the fastest one.
Times are whole microseconds, rows ascend by throughput. A model behind the called one has a file of its own beside the
requested one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.report.combined import gpu_cells, rate_text
from runner.report.perf.levels import Measured, percentiles
from runner.report.perf.parts import (
    caches_us,
    client_parts,
    composing_models,
    has_cache,
    is_decoupled,
    network_us,
    own_us,
    stages_us,
)
from runner.report.tabular import csv_bytes
from runner.report.write import safe_name
from runner.results.metrics import STAGES, percentile_name
from runner.results.perf_wishes import PerfWishes
from runner.results.records import ModelStatistics

Row = dict[str, str | int | None]

_STAGE_COLUMNS = ("Server Queue", "Server Compute Input", "Server Compute Infer", "Server Compute Output")
_CACHE_COLUMNS = ("Server Cache Hit", "Server Cache Miss")
_GPU_COLUMNS = ("Avg GPU Utilization", "Avg GPU Power Usage", "Max GPU Memory Usage", "Total GPU Memory")
_NETWORK = "Network+Server Send/Recv"


@dataclass(frozen=True)
class Shape:
    """What the columns depend on."""

    wishes: PerfWishes
    server: bool
    """The server keeps statistics."""
    cache: bool
    decoupled: bool

    @classmethod
    def of(cls, rows: Sequence[Measured], wishes: PerfWishes) -> Shape:
        """The columns that these levels need; the server's are there unless every level lacks them."""
        trials = tuple(row.trial for row in rows)
        server = not trials or any(trial.server for trial in trials)
        return cls(wishes, server, has_cache(trials), is_decoupled(trials))

    @property
    def level(self) -> str:
        return "Request Rate" if self.wishes.levels == "request_rate" else "Concurrency"

    def columns(self) -> list[str]:
        """The header of the called model's file."""
        latencies = [f"{percentile_name(q)} latency" for q in percentiles(self.wishes)]
        return [*self.common(self.server, self.decoupled), *latencies, *self._verbose()]

    def common(self, server: bool = True, decoupled: bool = False) -> list[str]:
        """Up to `Client Recv`; those of a composing model's file by default."""
        staged = [_NETWORK, *_STAGE_COLUMNS, *(_CACHE_COLUMNS if self.cache else ())] if server else []
        responses = ["Response Throughput"] if decoupled else []
        return [self.level, "Inferences/Second", *responses, "Client Send", *staged, "Client Recv"]

    def _verbose(self) -> list[str]:
        if not self.wishes.verbose_csv:
            return []
        average = ["Avg latency"] if self.wishes.percentile is None else []
        return [*average, "request/response", "response wait", *(_GPU_COLUMNS if self.wishes.collect_metrics else ())]


def tables(rows: Sequence[Measured], wishes: PerfWishes, path: Path) -> Iterator[tuple[Path, bytes]]:
    """Every file with its content: the requested one, then those of the models behind the called one."""
    shape = Shape.of(rows, wishes)
    ascending = sorted((row for row in rows if not row.over_limit), key=lambda row: row.inferences_per_s)
    yield path, csv_bytes(shape.columns(), (_row(row, shape) for row in ascending), line_end="\n")
    models = {(m.model, m.version): None for row in ascending for m in composing_models(row.trial)}
    for name, version in models:
        found = ((row, model) for row in ascending for model in composing_models(row.trial))
        cells = (_composing_row(row, m, shape) for row, m in found if (m.model, m.version) == (name, version))
        beside = path.with_name(f"{safe_name(name)}_v{safe_name(version)}.{path.name}")
        yield beside, csv_bytes(shape.common(), cells, line_end="\n")


def whole_us(microseconds: float | None) -> int | None:
    """Whole microseconds, as every time here."""
    return None if microseconds is None else round(microseconds)


def _row(row: Measured, shape: Shape) -> Row:
    trial, stream = row.trial, row.summary.stream
    latencies = {f"{percentile_name(q)} latency": _us(row.latency_ms(q)) for q in percentiles(shape.wishes)}
    hit, miss = caches_us(trial) or (None, None)
    return {
        shape.level: row.level.value_text,
        "Inferences/Second": rate_text(row.inferences_per_s),
        "Response Throughput": rate_text(stream.per_s) if stream else None,
        _NETWORK: whole_us(network_us(trial)),
        **dict(zip(_STAGE_COLUMNS, map(whole_us, stages_us(trial).values()), strict=False)),
        **dict(zip(_CACHE_COLUMNS, map(whole_us, (hit, miss)), strict=True)),
        **latencies,
        "Avg latency": _us(row.latency_ms(None)),
        **_client_cells(row),
        **gpu_cells(trial.telemetry),
    }


def _client_cells(row: Measured) -> Row:
    parts = client_parts(row.summary)
    if parts is None:
        return {}
    return {
        "Client Send": whole_us(parts.send_us),
        "Client Recv": whole_us(parts.receive_us),
        "request/response": whole_us(parts.send_us + parts.receive_us),
        "response wait": whole_us(parts.wait_us),
    }


def _composing_row(row: Measured, model: ModelStatistics, shape: Shape) -> Row:
    """Times per request of this model; its throughput is the called one's times its share of requests."""
    share = model.success_count / row.trial.server[0].success_count if row.trial.server[0].success_count else 0.0
    stages_ns = [of(model) for _, of in STAGES]
    caches_ns = (model.cache_hit_ns, model.cache_miss_ns)
    rest_ns = model.success_ns - sum(stages_ns) - sum(caches_ns)
    times = zip((*_STAGE_COLUMNS, *_CACHE_COLUMNS), (*stages_ns, *caches_ns), strict=True)
    return {
        shape.level: row.level.value_text,
        "Inferences/Second": rate_text(row.inferences_per_s * share),
        "Client Send": 0,
        _NETWORK: whole_us(max(0.0, own_us(model, rest_ns))),
        **{column: whole_us(own_us(model, total_ns)) for column, total_ns in times},
        "Client Recv": 0,
    }


def _us(milliseconds: float | None) -> int | None:
    return None if milliseconds is None else whole_us(milliseconds * 1e3)
