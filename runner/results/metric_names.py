"""Metrics as people write them: `throughput`, `latency.p99`, `gpu.memory.peak`, or a key of `METRICS`.

A name that means a quantity carries its unit into predicates: `latency.p99 <= 50ms` compares seconds with seconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from runner.errors import UsageError
from runner.results.metric import Metric
from runner.results.metrics import METRICS, compute_share, model_metrics, percentile
from runner.results.records import Trial
from runner.results.telemetry_metrics import gpu_metrics
from runner.scenario.predicate import Quantity
from runner.units import DURATION, RATE, SHARE, SIZE

SHORT_NAMES = {"throughput": "inferences_per_s", "mean": "latency_mean_ms", "errors": "error_rate"}
"""Of comparisons, where two runs of different length meet: `errors` is a share there."""

NAMES = {
    "throughput": "inferences_per_s",
    "requests": "requests_per_s",
    "latency.mean": "latency_mean_ms",
    "latency.max": "latency_max_ms",
    "errors": "requests_failed",
    "gpu.memory.peak": "gpu_memory_used_max_bytes",
    "gpu.memory.total": "gpu_memory_total_bytes",
    "gpu.power.mean": "gpu_power_w",
    "gpu.utilization.mean": "gpu_utilization",
    "gpu.temperature.max": "gpu_temperature_max_c",
    "gpu.energy": "gpu_energy_j",
    "energy.per_inference": "gpu_energy_per_inference_j",
    "host.cpu.busy": "host_cpu_busy",
    "host.cpu.client": "host_cpu_client",
    "host.cpu.server": "host_cpu_server",
    "host.memory.peak": "host_memory_used_max_bytes",
    "server.queue": "server_queue_us",
}
"""Name in `tune` -> key of the metric; GPUs are taken together."""

_PERCENTILE = re.compile(r"(?:latency[._])?p([0-9]+(?:\.[0-9]+)?)(?:_ms)?")
_OF_ONE_GPU = re.compile(r"gpu([0-9]+)_[a-z_]+")
_AGREEMENT = "top1_agreement"


def _agreement(trial: Trial) -> float | None:
    """The worst of the engines that the trial used: each step says so in a label of its own."""
    found = [value for key, value in trial.labels.items() if key.rpartition(".")[2] == _AGREEMENT]
    try:
        return min(map(float, found), default=None)
    except ValueError:
        return None


ACCURACY = Metric(
    "accuracy_top1_agreement",
    "ratio",
    "share of samples for which the converted model names the same first class as its original; of several the lowest",
    "max",
    _agreement,
)


def find_metric(name: str) -> Metric:
    """The metric that a comparison means: its key, or `throughput`, `mean`, `errors`, `p99`.

    Raises:
        UsageError: no such metric, or one that is neither better nor worse.
    """
    if (found := _percentile(name)) is not None:
        return found
    key = SHORT_NAMES.get(name, SHORT_NAMES.get(name.removeprefix("latency."), name))
    directed = {metric.key: metric for metric in METRICS if metric.direction is not None}
    if key not in directed:
        known = ", ".join([*SHORT_NAMES, "p50, p95, p99", *directed])
        raise UsageError(f"no metric {name!r} that could be better or worse", hint=f"metrics: {known}")
    return directed[key]


def metric_named(name: str) -> Metric | None:
    """The metric that `tune` means: a name of `NAMES`, `latency.p99.9`, a key of `METRICS`, one of a model or GPU."""
    if (found := _percentile(name)) is not None:
        return found
    if name.removeprefix("accuracy.") == _AGREEMENT or name == ACCURACY.key:
        return ACCURACY
    key = NAMES.get(name, name)
    fixed = next((metric for metric in METRICS if metric.key == key), None)
    return fixed or next((metric for metric in _of_one(key) if metric.key == key), None)


def metric_names() -> tuple[str, ...]:
    """The names that are worth suggesting."""
    return (*NAMES, "latency.p50", "latency.p95", "latency.p99", f"accuracy.{_AGREEMENT}", *(m.key for m in METRICS))


def percentile_of(name: str) -> float | None:
    """Which percentile of the latency a name means: 99.0 for `latency.p99`; None where it means none."""
    quantile = _PERCENTILE.fullmatch(name)
    return float(quantile[1]) if quantile and 0 < float(quantile[1]) < 100 else None


def _percentile(name: str) -> Metric | None:
    q = percentile_of(name)
    return None if q is None else percentile(q)[0]


def _of_one(key: str) -> tuple[Metric, ...]:
    """The metrics of the one GPU or model that a key names."""
    if (gpu := _OF_ONE_GPU.fullmatch(key)) is not None:
        return gpu_metrics(gpu[1])
    model = key.partition(".")[2]
    return (compute_share(model), *model_metrics(model)) if model else ()


_QUANTITIES: dict[str, tuple[float, str]] = {
    "ms": (1e-3, DURATION.name),
    "us": (1e-6, DURATION.name),
    "s": (1.0, DURATION.name),
    "bytes": (1.0, SIZE.name),
    "1/s": (1.0, RATE.name),
    "ratio": (1.0, SHARE.name),
}


def quantity_of(metric: Metric) -> Callable[[float], Quantity]:
    """How a value of a metric enters a predicate: in the base unit, with what it measures."""
    factor, dimension = _QUANTITIES.get(metric.unit, (1.0, None))
    return lambda value: Quantity(value * factor, dimension)
