"""What perf_analyzer prints of each level, and its last lines: the summary of all of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from runner.report.combined import gpu_cells, rate_text
from runner.report.perf.levels import Level, Measured, percentiles
from runner.report.perf.parts import client_parts, has_cache, is_decoupled
from runner.report.perf.remarks import remark_lines
from runner.report.perf.server import server_lines
from runner.results.histogram import Histogram
from runner.results.metrics import percentile_name
from runner.results.perf_wishes import PerfWishes
from runner.results.records import Trial

DELAY_NS = 1_000_000
"""A request that is sent later than so after its time is a delayed one."""
DELAYED_SHARE = 0.01
"""More of them are worth a warning."""


def level_title(level: Level, wishes: PerfWishes) -> str:
    """First line of a block."""
    if wishes.levels == "request_rate":
        return f"Request Rate: {level.value_text} inference requests per seconds"
    return f"Request concurrency: {level.value_text}"


def block(level: Level, rows: Sequence[Measured], wishes: PerfWishes) -> Iterator[str]:
    """One level; what our checks say of it comes last."""
    yield level_title(level, wishes)
    trials = tuple(row.trial for row in rows)
    for row in (row for row in rows if row.level is level):
        yield "  Client: "
        yield from (f"    {line}" for line in _client(row, wishes, is_decoupled(trials)))
        yield from server_lines(row.trial, has_cache(trials))
        yield from _gpus(row.trial, wishes)
    yield from (f"  {line}" for line in remark_lines(level))
    yield ""


def summary_lines(rows: Sequence[Measured], wishes: PerfWishes) -> Iterator[str]:
    """One line for each level that the CSV has, in the order in which they were measured."""
    what = "Average" if wishes.percentile is None else percentile_name(wishes.percentile)
    name = "Request Rate" if wishes.levels == "request_rate" else "Concurrency"
    yield f"Inferences/Second vs. Client {what} Batch Latency"
    for row in (row for row in rows if not row.over_limit):
        throughput, latency = rate_text(row.inferences_per_s), _us(row.latency_ms(wishes.percentile))
        yield f"{name}: {row.level.value_text}, throughput: {throughput} infer/sec, latency {latency} usec"


def _client(row: Measured, wishes: PerfWishes, decoupled: bool) -> Iterator[str]:
    summary = row.summary
    yield f"Request count: {summary.completions}"
    yield from _delays(row, wishes)
    if summary.sequences is not None:
        yield f"Sequence count: {summary.sequences.completed} ({rate_text(summary.sequences.per_s)} seq/sec)"
    yield f"Throughput: {rate_text(row.inferences_per_s)} infer/sec"
    if decoupled and summary.stream is not None:
        yield f"Response Throughput: {rate_text(summary.stream.per_s)} infer/sec"
    if wishes.verbosity:
        yield f"Avg client overhead: {summary.client_cpu_fraction:.2%}"
    if wishes.percentile is None:
        yield f"Avg latency: {_us(row.latency_ms(None))} usec{_deviation(row.trial)}"
    yield from (f"{percentile_name(q)} latency: {_us(row.latency_ms(q))} usec" for q in percentiles(wishes))
    if not decoupled:
        yield from _transport(row, wishes)


def _delays(row: Measured, wishes: PerfWishes) -> Iterator[str]:
    """Of an open loop: requests that were sent too late, or not at all."""
    summary, counts = row.summary, row.trial.counts
    if summary.offered_per_s is None or counts is None:
        return
    lag = _histogram(row.trial, "send_lag")
    share = lag.count_above(DELAY_NS) / lag.count if lag.count else 0.0
    if share > DELAYED_SHARE:
        sent = summary.offered_per_s * row.trial.batch * counts.sent / max(counts.sent + counts.dropped, 1)
        yield f"Avg send request rate: {sent:.2f} infer/sec"
        warning = "Perf Analyzer was not able to keep up with the desired request rate."
        yield f"[WARNING] {warning} {share:.2%} of the requests were delayed. "
    elif wishes.verbosity:
        yield f"Delayed requests: {share:.2%}"


def _deviation(trial: Trial) -> str:
    """Nothing for a single request, which has none."""
    std_ns = _histogram(trial, "latency").std_ns
    return "" if math.isnan(std_ns) else f" (standard deviation {std_ns / 1e3:.0f} usec)"


def _transport(row: Measured, wishes: PerfWishes) -> Iterator[str]:
    """The client's own share of the latency, under the name that it has for the protocol."""
    parts = client_parts(row.summary)
    if parts is None:
        return
    grpc = wishes.protocol == "grpc"
    name, both = ("gRPC", "(un)marshal request/response") if grpc else ("HTTP", "send/recv")
    before, after = ("marshal", "unmarshal") if grpc else ("send", "receive")
    wait = f"response wait {parts.wait_us:.0f} usec"
    if wishes.verbosity:
        split = f"{before} {parts.send_us:.0f} usec + {wait} + {after} {parts.receive_us:.0f} usec"
    else:
        split = f"{both} {parts.send_us + parts.receive_us:.0f} usec + {wait}"
    yield f"Avg {name} time: {parts.total_us:.0f} usec ({split})"


_GPU_VALUES: dict[str, Callable[[str], str]] = {
    "Avg GPU Utilization": lambda share: f"{100 * float(share):g}%",
    "Avg GPU Power Usage": lambda watts: f"{watts} watts",
    "Max GPU Memory Usage": lambda size: f"{size} bytes",
    "Total GPU Memory": lambda size: f"{size} bytes",
}


def _gpus(trial: Trial, wishes: PerfWishes) -> Iterator[str]:
    if not wishes.collect_metrics:
        return
    cells = gpu_cells(trial.telemetry)
    yield "  Server Prometheus Metrics: "
    for column, shown in _GPU_VALUES.items():
        yield f"    {column}:"
        for cell in cells[column].split(";")[:-1]:
            gpu, _, value = cell.rpartition(":")
            yield f"      {gpu} : {shown(value)}"


def _histogram(trial: Trial, name: str) -> Histogram:
    stored = trial.histograms.get(name)
    return Histogram.from_hdr_v2(stored) if stored else Histogram.empty()


def _us(milliseconds: float | None) -> str:
    return "-" if milliseconds is None else f"{milliseconds * 1e3:.0f}"
