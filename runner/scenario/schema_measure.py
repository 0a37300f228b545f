"""Schema of `measure`: what is dropped, how long is measured, when it is good enough."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from runner.scenario.schema_base import Percentile, Strict, refuse
from runner.units import Fraction, Seconds


class WarmupSettings(Strict):
    """What is dropped before the measured window; the rule decides, these are its floors and its cap."""

    min_time: Seconds | None = None
    """At least so long."""
    min_requests_per_slot: int | None = Field(default=None, ge=0)
    """At least so many requests for each one in flight."""
    max_fraction: Fraction | None = None
    """Largest share of the trial that the rule may drop."""


class WindowSettings(Strict):
    """How long a point is measured."""

    min: Seconds | None = None
    """At least so long, even when every interval is narrow enough."""
    max: Seconds | None = None
    """At most so long, even when an interval is still too wide; the point is then flagged."""

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


class Measure(Strict):
    """How a point is measured; the profile sets everything, each value can be set over it."""

    profile: Literal["explore", "reference"] = "explore"
    """`explore`: seconds per point with intervals; `reference`: 64 requests without warm-up, as the DALI benchmark."""
    warmup: WarmupSettings = WarmupSettings()
    """What is dropped first."""
    window: WindowSettings = WindowSettings()
    """How long is measured."""
    precision: PrecisionSettings = PrecisionSettings()
    """When it is good enough."""
    requests: int | None = Field(default=None, ge=1)
    """A fixed number of requests instead of the stop rule."""
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
