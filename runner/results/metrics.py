"""Every number that a table can show, declared once: key with its unit, formula, direction and where it comes from.

CSV, JSON, the console table and docs/results.md read these declarations. Percentiles and composing models are data:
`percentile(99.9)` and `compute_share("preprocess")` make the metric for any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from runner.results.breakdown import Breakdown, breakdown
from runner.results.executions import mean_batch, statistics_of, utilisation
from runner.results.metric import Cell, Direction, Metric, Value
from runner.results.records import Counts, Distribution, Estimate, ModelStatistics, Percentile, Trial
from runner.results.stages import compute_shares
from runner.results.telemetry_metrics import GPU, HOST


def _count(key: str, formula: str, direction: Direction, of: Callable[[Counts], int]) -> Metric:
    return Metric(key, "requests", formula, direction, lambda trial: of(trial.counts) if trial.counts else None)


def _window(key: str, unit: str, formula: str, direction: Direction = None, interval: bool = False) -> Metric:
    """A field of `Summary`, which already bears the name of the metric."""
    return Metric(key, unit, formula, direction, lambda t: getattr(t.summary, key) if t.summary else None, interval)


def _failed(counts: Counts) -> int:
    return sum(counts.failed.values())


def _error_rate(trial: Trial) -> float | None:
    if trial.counts is None or not (answered := trial.counts.ok + _failed(trial.counts)):
        return None
    return _failed(trial.counts) / answered


COUNTS: tuple[Metric, ...] = (
    _count("requests_sent", "requests sent in the whole trial, warm-up and drain included", None, lambda c: c.sent),
    _count("requests_ok", "answers without an error in the whole trial; the server must agree", None, lambda c: c.ok),
    _count("requests_failed", "failed requests in the whole trial, all codes", "min", _failed),
    _count("requests_dropped", "scheduled requests that the client did not send", "min", lambda c: c.dropped),
    _count("requests_unfinished", "without an outcome when the drain was over", "min", lambda c: c.unfinished),
    Metric("error_rate", "ratio", "requests_failed / (requests_ok + requests_failed)", "min", _error_rate),
)

WINDOW: tuple[Metric, ...] = (
    _window("warmup_s", "s", "time from the first send to the start of the window; dropped"),
    _window("window_s", "s", "length of the measured window [start, end)"),
    _window("completions", "requests", "successful answers in the window"),
    _window("failures", "requests", "failed requests in the window", "min"),
)

THROUGHPUT: tuple[Metric, ...] = (
    _window("offered_per_s", "1/s", "open loop: requests due in the window, dropped ones included / window_s"),
    _window("requests_per_s", "1/s", "completions / window_s; interval by batch means", "max", interval=True),
    _window(
        "inferences_per_s", "1/s", "requests_per_s * batch; of a mix the items of each answer", "max", interval=True
    ),
)

_MEAN = "mean of (last byte received - intended send) over completions; interval by batch means"

LATENCY: tuple[Metric, ...] = (
    _window("latency_mean_ms", "ms", _MEAN, "min", interval=True),
    _window("latency_max_ms", "ms", "largest latency in the window", "min"),
)

CLIENT: tuple[Metric, ...] = (
    _window("in_flight_mean", "requests", "time average of requests in flight, N"),
    _window(
        "littles_law_error",
        "ratio",
        "|N - X R| / N, X = requests_per_s, R = latency_mean_ms / 1000, of an open loop the mean of (done - sent)",
        "min",
    ),
    _window("send_lag_p99_ms", "ms", "99th percentile of (actual send - intended send)", "min"),
    _window("client_cpu_us_per_request", "us", "CPU time of the load engine / requests completed", "min"),
    _window("client_cpu_fraction", "ratio", "CPU seconds of the load engine per second and thread", "min"),
    _window("steady", "", "true: no trend was found in the window"),
    _window("precision_met", "", "true: every interval is as narrow as was asked for"),
    _window("stop_reason", "", "why the trial ended"),
)


# --- parts, sequences, streams ------------------------------------------------------------------------------------


def _within(part: str, key: str, unit: str, formula: str, direction: Direction, of: Callable[[Any], Value]) -> Metric:
    """From a part of `Summary` that not every trial has."""

    def extract(trial: Trial) -> Value:
        found = getattr(trial.summary, part) if trial.summary else None
        return None if found is None else of(found)

    return Metric(key, unit, formula, direction, extract)


def _distribution(part: str, key: str, what: str, of: Callable[[Any], Distribution | None]) -> Iterator[Metric]:
    for name, words in (("mean", "mean"), ("p50", "median"), ("p95", "95th percentile"), ("p99", "99th percentile")):

        def value(found: object, field: str = f"{name}_ms") -> float | None:
            distribution = of(found)
            return None if distribution is None else float(getattr(distribution, field))

        yield _within(part, f"{key}_{name}_ms", "ms", f"{words} of {what}", "min", value)


def _part(key: str, field: str, formula: str) -> Metric:
    return _within("time_split", key, "ms", formula, "min", lambda split: getattr(split, field))


SPLIT: tuple[Metric, ...] = (
    _part("client_queue_ms", "queue_ms", "mean of (first byte sent - intended send); the parts add up to the mean"),
    _part("request_write_ms", "write_ms", "mean of (last byte sent - first byte sent); one write up to 16 KiB is 0"),
    _part("response_wait_ms", "wait_ms", "mean of (first word of the answer - last byte sent)"),
    _part("response_read_ms", "read_ms", "mean of (end of the answer - its first word)"),
)
"""Parts of `latency_mean_ms`."""

SEQUENCE: tuple[Metric, ...] = (
    _within("sequences", "sequences", "sequences", "answered whole in the window", None, lambda s: s.completed),
    _within("sequences", "sequences_failed", "sequences", "ended early by a failed request", "min", lambda s: s.failed),
    _within("sequences", "sequences_per_s", "1/s", "sequences / window_s", "max", lambda s: s.per_s),
    *_distribution(
        "sequences",
        "sequence_latency",
        "(last answer - intended send of the first request) over sequences",
        lambda s: s.latency,
    ),
)

STREAM: tuple[Metric, ...] = (
    _within("stream", "responses_per_s", "1/s", "responses with an output / window_s", "max", lambda s: s.per_s),
    _within("stream", "responses_per_request", "responses", "mean over completions", None, lambda s: s.per_request),
    *_distribution("stream", "first_response", "(first response - intended send)", lambda s: s.first),
    *_distribution("stream", "inter_response", "the time between responses of a request", lambda s: s.between),
    *_distribution("stream", "last_response", "(last response - intended send)", lambda s: s.last),
)

EXTRA: tuple[tuple[str, tuple[Metric, ...]], ...] = (("time_split", SPLIT), ("sequences", SEQUENCE), ("stream", STREAM))
"""Field of `Summary` -> the metrics that are shown where some trial has it."""


# --- percentiles --------------------------------------------------------------------------------------------------


def percentile_name(q: float) -> str:
    """`p99`, `p99.9`."""
    return f"p{q:g}"


def find_percentile(trial: Trial, q: float) -> Percentile | None:
    """The percentile with its interval, if the trial reports it."""
    found = trial.summary.percentiles if trial.summary else ()
    return next((percentile for percentile in found if percentile.q == q), None)


def percentile(q: float) -> tuple[Metric, ...]:
    """The metrics of one percentile: its value with interval, and whether the sample supports it."""
    name = percentile_name(q)

    def estimate(trial: Trial) -> Estimate | None:
        found = find_percentile(trial, q)
        return found.estimate if found else None

    def supported(trial: Trial) -> bool | None:
        found = find_percentile(trial, q)
        return None if found is None else found.estimate.high is not None

    return (
        Metric(
            f"latency_{name}_ms",
            "ms",
            f"latency at rank ceil({q:g}/100 n) of the window's histogram; interval by order statistics on n_eff",
            "min",
            estimate,
            interval=True,
        ),
        Metric(
            f"latency_{name}_supported",
            "",
            f"false: too few independent requests for an upper bound; {name} is at least latency_{name}_ms_low",
            None,
            supported,
        ),
    )


# --- server -------------------------------------------------------------------------------------------------------

STAGES: tuple[tuple[str, Callable[[ModelStatistics], int]], ...] = (
    ("queue", lambda m: m.queue_ns),
    ("compute_input", lambda m: m.compute_input_ns),
    ("compute_infer", lambda m: m.compute_infer_ns),
    ("compute_output", lambda m: m.compute_output_ns),
)


def composing(trial: Trial) -> tuple[ModelStatistics, ...]:
    """The models that do the work: the ensemble's composing models, or the called model alone."""
    return trial.server[1:] or trial.server


def per_request_us(trial: Trial, total_ns: int) -> float | None:
    """A sum of server time, per successful request of the called model."""
    requests = trial.server[0].success_count if trial.server else 0
    return total_ns / requests / 1000 if requests else None


def _stage(name: str, of: Callable[[ModelStatistics], int]) -> Metric:
    return Metric(
        f"server_{name}_us",
        "us",
        f"sum of the composing models' {name} time / successful requests of the called model",
        "min",
        lambda trial: per_request_us(trial, sum(of(m) for m in composing(trial))),
    )


def _overhead_us(trial: Trial) -> float | None:
    stages_ns = sum(of(model) for _, of in STAGES for model in composing(trial))
    return per_request_us(trial, trial.server[0].success_ns - stages_ns) if trial.server else None


SERVER: tuple[Metric, ...] = (
    Metric(
        "server_success_count",
        "requests",
        "successful requests by the server's own count; equals requests_ok, unless `mismatch_server_count` is flagged",
        None,
        lambda trial: trial.server[0].success_count if trial.server else None,
    ),
    Metric(
        "server_request_us",
        "us",
        "time inside the server, end to end / successful requests of the called model",
        "min",
        lambda trial: per_request_us(trial, trial.server[0].success_ns) if trial.server else None,
    ),
    *(_stage(name, of) for name, of in STAGES),
    Metric(
        "server_overhead_us",
        "us",
        "server_request_us - the four server columns above; negative where composing models overlap in time",
        "min",
        _overhead_us,
    ),
)


def compute_share(model: str) -> Metric:
    """Part of the server's computation that one composing model takes."""
    return Metric(
        f"server_compute_share.{model}",
        "ratio",
        f"compute time of {model} / compute time of all composing models; input, infer and output, without queues",
        None,
        lambda trial: compute_shares(trial.server).get(model),
    )


def model_metrics(model: str) -> tuple[Metric, ...]:
    """What one model of the pipeline did, composing or called by code."""

    def of(value: Callable[[Trial, ModelStatistics], Cell]) -> Callable[[Trial], Cell]:
        def extract(trial: Trial) -> Cell:
            found = statistics_of(trial, model)
            return None if found is None else value(trial, found)

        return extract

    return (
        Metric(
            f"server_executions.{model}", "executions", f"times {model} ran", None, of(lambda _, m: m.execution_count)
        ),
        Metric(
            f"server_mean_batch.{model}",
            "inferences",
            f"inferences of {model} / its executions",
            None,
            of(lambda _, m: mean_batch(m)),
        ),
        Metric(
            f"server_utilisation.{model}",
            "ratio",
            f"time of the executions of {model} / (time of the load * its instances); above 1 where they overlap",
            None,
            of(utilisation),
        ),
    )


def _row(key: str, formula: str, of: Callable[[Breakdown], float], unit: str = "ms") -> Metric:
    def extract(trial: Trial) -> float | None:
        table = breakdown(trial)
        return None if table is None else of(table)

    return Metric(key, unit, formula, None, extract)


BREAKDOWN: tuple[Metric, ...] = (
    _row("load_latency_mean_ms", "mean latency over the whole load, warm-up and drain included", lambda b: b.total_ms),
    _row(
        "load_client_ms",
        "of it in the client: waiting to be sent, written, read; the three rows and the residual add up",
        lambda b: b.sum_ms("client"),
    ),
    _row(
        "load_network_ms",
        "of it between client and server: wait for the answer - time in the server, at least 0",
        lambda b: b.sum_ms("network"),
    ),
    _row("load_server_ms", "of it in the server, end to end, by the server's clock", lambda b: b.sum_ms("server")),
    _row(
        "load_residual_ms",
        "load_latency_mean_ms - the three rows; below 0 where the server claims more time than the client waited",
        lambda b: b.residual_ms,
    ),
    _row("load_residual_share", "load_residual_ms / load_latency_mean_ms", lambda b: b.residual_share, "ratio"),
    _row(
        "load_measured_share",
        "(load_client_ms + load_server_ms) / load_latency_mean_ms: what a clock measured",
        lambda b: b.measured_share,
        "ratio",
    ),
)
"""Where the mean latency of the whole load went."""


METRICS: tuple[Metric, ...] = (
    *COUNTS,
    *WINDOW,
    *THROUGHPUT,
    *LATENCY,
    *SPLIT,
    *SEQUENCE,
    *STREAM,
    *CLIENT,
    *SERVER,
    *BREAKDOWN,
    *HOST,
    *GPU,
)
"""Every metric with a fixed key."""
