"""What is kept of a measurement: plain frozen records, raw counts apart from judgement.

Latencies are milliseconds and rates per second, with the unit in the name. Absent is None, never NaN or -1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from runner.results.capacity import Capacity, Probe
from runner.results.slo import SloOutcome

TrialState = Literal["ok", "invalid", "failed", "interrupted"]
"""ok: every check held · invalid: measured, but a flag forbids using it · failed: no measurement · interrupted."""


@dataclass(frozen=True)
class Estimate:
    """A value with its confidence interval; `low`/`high` are None where the data support no such bound."""

    value: float
    low: float | None = None
    high: float | None = None


def half_width(estimate: Estimate) -> float:
    """Relative half-width, the wider side; infinite where a bound is missing."""
    if estimate.low is None or estimate.high is None or not estimate.value:
        return math.inf
    return max(estimate.high - estimate.value, estimate.value - estimate.low) / abs(estimate.value)


@dataclass(frozen=True)
class Percentile:
    """x at rank ceil(q n) of the merged histogram; `high` None means that n_eff supports only a lower bound."""

    q: float
    """Percent, for example 99.0."""
    estimate: Estimate
    """Milliseconds."""
    n_eff: float
    """Effective sample size after autocorrelation."""


@dataclass(frozen=True)
class Flag:
    """One check that found something; `code` is from the closed vocabulary in `runner.measure.flags`."""

    code: str
    value: float | None
    limit: float | None
    consequence: Literal["invalidates", "informs"]
    message: str
    """One sentence: what was seen and what to do."""


@dataclass(frozen=True)
class Counts:
    """Requests over the whole trial, warm-up and drain included; sent = ok + failed + unfinished."""

    sent: int
    ok: int
    failed: dict[str, int]
    """By failure code."""
    dropped: int
    unfinished: int
    closing: int = 0
    """Sent only to end sequences; the server sees them, no other count does."""


@dataclass(frozen=True)
class TimeSplit:
    """Where the mean latency went; the parts add up to it."""

    queue_ms: float
    """In the client: intended to first byte sent."""
    write_ms: float
    """First to last byte sent; 0 for requests of up to 16 KiB."""
    wait_ms: float
    """Last byte sent to the first word of the answer."""
    read_ms: float
    """First word of the answer to its end."""


@dataclass(frozen=True)
class Distribution:
    """Of latencies that are not the requests'; without intervals."""

    count: int
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


@dataclass(frozen=True)
class SequenceSummary:
    """Sequences that ended in the window; a latency is from the first request's intended send to the last answer."""

    completed: int
    failed: int
    """Ended early by a failed request."""
    per_s: float
    latency: Distribution | None


@dataclass(frozen=True)
class StreamSummary:
    """Responses of streams in the window; first and last count from the intended send of successful requests."""

    responses: int
    per_s: float
    per_request: float
    """Mean over the successful requests."""
    first: Distribution | None
    between: Distribution | None
    """Neighbouring responses of one request."""
    last: Distribution | None


@dataclass(frozen=True)
class FirstWave:
    """Of a fixed number of requests: the first answer of each client, which finds everything cold, and the others."""

    requests: int
    mean_ms: float
    rest: int
    """Answers that came later."""
    rest_mean_ms: float | None


@dataclass(frozen=True)
class Summary:
    """The measured window in numbers; throughput counts completions in the half-open window [start, end)."""

    warmup_s: float
    window_s: float
    completions: int
    """Successful requests that completed in the window."""
    failures: int
    """Failed requests in the window."""
    requests_per_s: Estimate
    inferences_per_s: Estimate
    """Requests times batch."""
    latency_mean_ms: Estimate
    latency_max_ms: float
    percentiles: tuple[Percentile, ...]
    in_flight_mean: float
    """Time average of requests in flight."""
    littles_law_error: float
    """|N - X R| / N."""
    send_lag_p99_ms: float
    client_cpu_us_per_request: float
    client_cpu_fraction: float
    """CPU seconds of the engine's threads per second and thread."""
    steady: bool
    precision_met: bool
    stop_reason: str
    time_split: TimeSplit | None = None
    sequences: SequenceSummary | None = None
    stream: StreamSummary | None = None
    offered_per_s: float | None = None
    """Open loop: requests that were due in the window, per second, those that were dropped included."""
    first_wave: FirstWave | None = None


@dataclass(frozen=True)
class WholeLoad:
    """The client's side of everything that the server's counters cover: warm-up and drain included."""

    elapsed_s: float
    """First send to last outcome."""
    completions: int
    latency_mean_ms: float
    time_split: TimeSplit
    """Its parts."""
    bytes_sent: int
    """With framing and headers."""
    bytes_received: int
    started_unix_ns: int | None = None
    """Wall clock of the first send: what the times in request records count from; None of several loads together."""


@dataclass(frozen=True)
class ModelFacts:
    """How the server runs a model, by its own configuration of it."""

    model: str
    backend: str = ""
    """For example python, dali, tensorrt; ensemble; empty where the server does not say."""
    max_batch_size: int = 0
    instances: int | None = None
    """On all devices together; None where the server does not say, as of ensembles."""
    on_gpu: bool = False
    """At least one instance runs on a GPU."""
    max_queue_delay_us: int | None = None
    """How long the dynamic batcher may hold a request back; None without one."""


@dataclass(frozen=True)
class BatchStatistics:
    """Executions of one batch size; an execution's time counts once, however many requests were in it."""

    size: int
    count: int
    compute_input_ns: int
    compute_infer_ns: int
    compute_output_ns: int


@dataclass(frozen=True)
class ModelStatistics:
    """Difference of one model's server-side counters around the trial; times are sums in nanoseconds over requests."""

    model: str
    version: str
    success_count: int
    failure_count: int
    inference_count: int
    execution_count: int
    queue_ns: int
    compute_input_ns: int
    compute_infer_ns: int
    compute_output_ns: int
    success_ns: int
    """End-to-end time inside the server of successful requests."""
    cache_hit_count: int = 0
    cache_miss_count: int = 0
    cache_hit_ns: int = 0
    """Looking up answers and taking them."""
    cache_miss_ns: int = 0
    """Looking up in vain, and putting answers in."""
    batches: tuple[BatchStatistics, ...] = ()
    """By batch size, ascending; empty where the backend does not report executions."""


@dataclass(frozen=True)
class SeriesSummary:
    """One series of telemetry in the measured window; None where the samples do not say."""

    kind: Literal["gauge", "counter"]
    unit: str
    samples: int
    """In the window."""
    windows: int = 1
    """How many windows it is over: several for the repeats of a point taken together."""
    mean: float | None = None
    """Gauge: over the time of the window."""
    min: float | None = None
    max: float | None = None
    first: float | None = None
    last: float | None = None
    """First and last sample in the window."""
    delta: float | None = None
    """Counter: growth over the window, interpolated at its edges."""
    per_s: float | None = None
    """Counter: delta / window."""
    whole: float | None = None
    """Counter: growth from before the load to after it, exactly as it was read."""
    asked: bool = False
    """Named in `measure.telemetry.series`."""


@dataclass(frozen=True)
class Trial:
    """One measurement of one case; what the journal keeps, one line each."""

    case_id: str
    parameters: dict[str, Any]
    """Address -> value of the point."""
    model: str
    protocol: str
    batch: int
    load: dict[str, Any]
    """The load of this point as in the scenario, for example {"kind": "concurrency", "concurrency": 16}."""
    state: TrialState
    started_utc: str
    """RFC 3339."""
    elapsed_s: float
    repeat: int = 0
    """Which of the planned repeats of the case this is, from 0."""
    block: int = 0
    """Cases of one block were measured next to each other, in an order of their own; comparisons pair by it."""
    anchor: bool = False
    """Measured again only to see whether the rig drifts; in no table of points."""
    counts: Counts | None = None
    summary: Summary | None = None
    server: tuple[ModelStatistics, ...] = ()
    """The called model first, composing models in pipeline order."""
    flags: tuple[Flag, ...] = ()
    failure: str | None = None
    """Why there is no measurement (state `failed`)."""
    errors: dict[str, str] = field(default_factory=dict)
    """First message seen for each failure code."""
    labels: dict[str, str] = field(default_factory=dict)
    """Facts that belong to every number, for example {"weights": "random"}."""
    histograms: dict[str, str] = field(default_factory=dict)
    """latency, service, send_lag of the window: HdrHistogram V2, compressed, base64."""
    raw: str | None = None
    """What the numbers were made from: a file of the run directory, which `scenario verify` reads."""
    bls: tuple[ModelStatistics, ...] = ()
    """Models that the pipeline's own code calls, as far as the scenario names them: their time is inside its own."""
    facts: tuple[ModelFacts, ...] = ()
    """Of the models in `server` and `bls`."""
    whole: WholeLoad | None = None
    """None where the engine does not split latencies."""
    telemetry: dict[str, SeriesSummary] = field(default_factory=dict)
    """Series of the machine, the server and the GPUs, joined to the window."""
    telemetry_absent: dict[str, str] = field(default_factory=dict)
    """Series or source -> why it is not there."""
    probe: Probe | None = None
    """This was one load of a capacity search; in no table of points."""
    slo: SloOutcome | None = None
    """Of a soak with an objective."""
    capacity: Capacity | None = None
    """The case was measured by a search: this is its answer, and the numbers are those of the confirmation."""
