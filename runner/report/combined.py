"""combined.csv: the columns of the DALI EfficientNet benchmark, so that existing notebooks read our results.

Times are whole microseconds. The stage columns are sums over the composing models per request, and the network column
is what remains of the average latency, so that a row adds up: the reference shows an ensemble's queue as 0 and hides
the stages' queue time in the network column. Client send and receive are the socket's: requests are encoded before the
load starts, and answers are not decoded. Unknown cells are empty.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from runner.report.tabular import csv_bytes
from runner.results.histogram import Histogram
from runner.results.metrics import STAGES, composing, find_percentile, per_request_us
from runner.results.records import SeriesSummary, Summary, Trial
from runner.results.run import Point, Run
from runner.results.telemetry import gpu_indices

PERCENTILES = (50, 90, 95, 99)

_PER_GPU = "`GPU:value;` for each GPU, of the server's own metrics, else of NVML; empty without a GPU"

COLUMNS: dict[str, str] = {
    "": "row number",
    "Batch size": "inferences per request",
    "Concurrency": "requests in flight; empty for other kinds of load",
    "Inferences/Second": "inferences_per_s to six digits",
    "Client Send": "request_write_ms * 1000: until the kernel has all of the request",
    "Network+Server Send/Recv": "Avg latency - Client Send - Client Recv - the four server columns, at least 0",
    "Server Queue": "server_queue_us",
    "Server Compute Input": "server_compute_input_us",
    "Server Compute Infer": "server_compute_infer_us",
    "Server Compute Output": "server_compute_output_us",
    "Client Recv": "response_read_ms * 1000: from the first word of the answer to its end",
    **{f"p{q} latency": f"latency_p{q}_ms * 1000; from the histogram where p{q} is not reported" for q in PERCENTILES},
    "Avg latency": "latency_mean_ms * 1000",
    "request/response": "always empty: requests are encoded before the load starts",
    "response wait": "response_wait_ms * 1000",
    "Avg GPU Utilization": f"mean, a ratio; {_PER_GPU}",
    "Avg GPU Power Usage": f"mean, W; {_PER_GPU}",
    "Max GPU Memory Usage": f"maximum, bytes; {_PER_GPU}",
    "Total GPU Memory": f"first sample, bytes; {_PER_GPU}",
}
"""Column -> where its value comes from, in terms of points.csv."""

_SERVER_COLUMNS = ("Server Queue", "Server Compute Input", "Server Compute Infer", "Server Compute Output")


def combined_csv(run: Run) -> bytes:
    """One line per point in matrix order; a point without a measurement has its batch and concurrency only."""
    rows = ({"": number, **_row(point)} for number, point in enumerate(run.points()))
    return csv_bytes(list(COLUMNS), rows, line_end="\n")


def percentile_ms(trial: Trial, q: float) -> float | None:
    """A latency percentile, as reported or else from the stored histogram."""
    found = find_percentile(trial, q)
    if found is not None:
        return found.estimate.value
    stored = trial.histograms.get("latency")
    histogram = Histogram.from_hdr_v2(stored) if stored else Histogram.empty()
    return histogram.quantile(q / 100) / 1e6 if histogram.count else None


def _row(point: Point) -> dict[str, Any]:
    row: dict[str, Any] = {"Batch size": point.case.batch, "Concurrency": point.case.load.get("concurrency")}
    trial = point.trial
    if trial is None or trial.summary is None:
        return row
    average = round(trial.summary.latency_mean_ms.value * 1000)
    stages, client = _server_us(trial), _client_us(trial.summary)
    row |= stages | client
    if stages:
        spent = sum(stages.values()) + client.get("Client Send", 0) + client.get("Client Recv", 0)
        row["Network+Server Send/Recv"] = max(0, average - spent)
    row |= {f"p{q} latency": _us(percentile_ms(trial, q)) for q in PERCENTILES}
    row |= gpu_cells(trial.telemetry)
    return row | {"Inferences/Second": rate_text(trial.summary.inferences_per_s.value), "Avg latency": average}


_GPU_COLUMNS = {
    "Avg GPU Utilization": ("nv_gpu_utilization", "utilization", "mean"),
    "Avg GPU Power Usage": ("nv_gpu_power_usage", "power_w", "mean"),
    "Max GPU Memory Usage": ("nv_gpu_memory_used_bytes", "memory_used_bytes", "max"),
    "Total GPU Memory": ("nv_gpu_memory_total_bytes", "memory_total_bytes", "first"),
}
"""Column -> the server's series, NVML's series of one GPU, and how perf_analyzer aggregates it."""
_UUID = re.compile(r'gpu_uuid="([^"]*)"')


def gpu_cells(series: Mapping[str, SeriesSummary]) -> dict[str, str]:
    """Column -> `GPU:value;` for each GPU that has one."""
    return {
        column: "".join(f"{gpu}:{_exact(value)};" for gpu, value in _gpu_values(series, *names).items())
        for column, names in _GPU_COLUMNS.items()
    }


def _exact(value: float) -> str:
    """Bytes keep all their digits."""
    return f"{value:.0f}" if float(value).is_integer() else f"{value:g}"


def _gpu_values(series: Mapping[str, SeriesSummary], exported: str, sampled: str, statistic: str) -> dict[str, float]:
    # Readers split at the colon, and there is one in a hashed identifier.
    found = {
        match[1].replace(":", "-"): s
        for name, s in series.items()
        if name.startswith(f"{exported}{{") and (match := _UUID.search(name))
    }
    if not found:
        each = {f"GPU-{index}": series.get(f"gpu{index}.{sampled}") for index in gpu_indices(series)}
        found = {gpu: summary for gpu, summary in each.items() if summary is not None}
    values = {gpu: getattr(summary, statistic) for gpu, summary in found.items()}
    return {gpu: value for gpu, value in values.items() if value is not None}


def _server_us(trial: Trial) -> dict[str, int]:
    means = [per_request_us(trial, sum(of(model) for model in composing(trial))) for _, of in STAGES]
    return {name: round(mean) for name, mean in zip(_SERVER_COLUMNS, means, strict=True) if mean is not None}


def _client_us(summary: Summary) -> dict[str, int]:
    split = summary.time_split
    if split is None:
        return {}
    parts = {"Client Send": split.write_ms, "response wait": split.wait_ms, "Client Recv": split.read_ms}
    return {name: round(mean * 1000) for name, mean in parts.items()}


def _us(milliseconds: float | None) -> int | None:
    return None if milliseconds is None else round(milliseconds * 1000)


def rate_text(value: float) -> str:
    """Six digits, as C++ prints a number by default, but never with an exponent."""
    text = f"{value:.6g}"
    return text if "e" not in text else f"{value:.0f}"
