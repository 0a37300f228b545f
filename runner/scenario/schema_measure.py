"""Schema of `measure`: what is dropped, how long is measured, when it is good enough."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, Tag, model_validator

from runner.scenario.limits import MAX_REPEATS
from runner.scenario.schema_base import Percentile, Strict, number_or, refuse
from runner.scenario.schema_telemetry import Telemetry
from runner.units import Fraction, Ratio, Seconds


class WarmupSettings(Strict):
    """What is dropped before the measured window; the rule decides, these are its floors and its cap."""

    min_time: Seconds | None = None
    """At least so long."""
    min_requests_per_slot: int | None = Field(default=None, ge=0)
    """At least so many requests for each one in flight."""
    requests: int | None = Field(default=None, ge=0)
    """At least so many requests in all; also before a fixed number of `measure.requests`, which come after them."""
    max_fraction: Fraction | None = None
    """Largest share of the trial that the rule may drop."""


class WindowSettings(Strict):
    """How long a point is measured."""

    min: Seconds | None = None
    """At least so long, even when every interval is narrow enough."""
    max: Seconds | None = None
    """At most so long, even when an interval is still too wide; the point is then flagged."""
    min_completions: int | None = Field(default=None, ge=0)
    """At least so many answers, as far as `max` lets it; `publish`: 100 / (1 - q) of the highest
    percentile with a precision."""
    min_batches: int | None = Field(default=None, ge=0, le=30)
    """At least so many batches for the intervals, of 8 answers each, as far as `max` lets it."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise refuse("max", f"expected at least the `min` of {self.min:g}s, got {self.max:g}s")
        return self


class PrecisionSettings(Strict):
    """Relative half-widths of confidence intervals at which a point is good enough."""

    confidence: Fraction | None = None
    """Confidence level of every interval."""
    throughput: Fraction | None = None
    """Half-width of the throughput."""
    mean: Fraction | None = None
    """Half-width of the mean latency."""
    percentiles: dict[Percentile, Fraction] | None = None
    """For example `{p50: 2%, p95: 3%, p99: 5%}`."""


class PrecisionStability(Strict):
    """Stop when nothing drifts and every interval is as narrow as `measure.precision` asks."""

    kind: Literal["precision"] = "precision"
    """Which rule stops a point."""


class WindowsStability(Strict):
    """Stop when three windows in a row are alike: perf_analyzer's rule, to compare with its numbers."""

    kind: Literal["windows"]
    """Which rule stops a point."""
    interval: Seconds = 5.0
    """Length of one window."""
    requests: int | None = Field(default=None, ge=1)
    """A window ends after so many answers instead of after `interval`."""
    within: Ratio = 0.10
    """Largest and smallest of three throughputs, and of three latencies, may differ by this share."""
    trials: int = Field(default=10, ge=1, le=256)
    """At most so many windows; a point that is not stable by then is kept and flagged `unsteady`, as is every one with
    fewer than three windows."""
    percentile: Annotated[float, Field(gt=0, lt=100)] | None = None
    """Compare this latency percentile instead of the mean latency."""


class SloSettings(Strict):
    """The objective of a soak, and how often it may be missed before the soak ends."""

    latency: Annotated[Seconds, Field(gt=0)]
    """The limit."""
    percentile: float = Field(default=95.0, gt=0, lt=100)
    """So many percent of the requests of a window have to be answered within `latency`; late, failed and dropped ones
    miss it."""
    window: Annotated[Seconds, Field(gt=0)] = 10.0
    """How long one window is; one that misses the objective is violated."""
    budget: Annotated[
        Annotated[Fraction, Tag("share")] | Annotated[int, Field(ge=0), Tag("number")], number_or("share")
    ] = 0.01
    """Windows that may be violated: a share of those so far such as `1%`, at least one; or a number. One more ends the
    soak with exit code 10."""


Stability = Annotated[PrecisionStability | WindowsStability, Field(discriminator="kind")]


class Measure(Strict):
    """How a point is measured; the profile sets everything, each value can be set over it."""

    profile: Literal["explore", "publish", "reference"] = "explore"
    """`explore`: seconds per point; `publish`: minutes, five times, each on a fresh server; `reference`: 64 requests
    without warm-up, as the DALI benchmark."""
    repeats: int | None = Field(default=None, ge=1, le=MAX_REPEATS)
    """Measure each point so often; `publish` 5, else 1. The interval of a point is then that between its repeats."""
    stability: Stability = PrecisionStability()
    """What makes a point good enough to stop."""
    warmup: WarmupSettings = WarmupSettings()
    """What is dropped first."""
    window: WindowSettings = WindowSettings()
    """How long is measured."""
    precision: PrecisionSettings = PrecisionSettings()
    """When it is good enough."""
    requests: int | None = Field(default=None, ge=1)
    """A fixed number of requests instead of the stop rule."""
    soak: bool = False
    """No stop rule: the load goes on until Ctrl-C or SIGTERM, which is its regular end, or until `window.max` ends."""
    slo: SloSettings | None = None
    """Of a soak: its violation budget."""
    percentiles: tuple[Annotated[float, Field(gt=0, lt=100)], ...] = (50, 90, 95, 99)
    """Which percentiles are reported."""
    max_error_rate: Fraction = 0.05
    """A trial with more failures than this is stopped early."""
    drain: Seconds = 10.0
    """Wait for requests in flight at the end."""
    seed: int = Field(default=0, ge=0)
    """Seed of everything random in measuring."""
    records: Literal["none", "full"] = "none"
    """`full`: times and status of every request in a file of the run directory, 40 bytes each."""
    telemetry: Telemetry = Telemetry()
    """What is sampled beside the load."""
