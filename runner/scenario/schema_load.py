"""How requests are sent: closed loops, open loops and a ramp; apart, because their latencies mean other things."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from runner.scenario.schema_base import refuse
from runner.scenario.schema_client import MAX_RATE, ClientSettings, OpenLoad
from runner.scenario.schema_sla import SlaLoad
from runner.units import Rate

_PositiveRate = Annotated[Rate, Field(gt=0, le=MAX_RATE)]


class ConcurrencyLoad(ClientSettings):
    """Closed loop: so many requests are kept in flight."""

    kind: Literal["concurrency"] = "concurrency"
    """The load model."""
    concurrency: int = Field(default=1, ge=1, le=100_000)
    """Requests in flight."""


class ConstantLoad(OpenLoad):
    """Open loop: evenly spaced requests."""

    kind: Literal["constant"]
    """The load model."""
    rate: _PositiveRate
    """Requests per second."""


class PoissonLoad(OpenLoad):
    """Open loop: many independent users; exponential gaps between requests."""

    kind: Literal["poisson"]
    """The load model."""
    rate: _PositiveRate
    """Mean requests per second."""
    seed: int | None = Field(default=None, ge=0)
    """Seed of the gaps; by default `measure.seed`."""


class GammaLoad(OpenLoad):
    """Open loop: gamma-distributed gaps, smoother or burstier than `poisson`."""

    kind: Literal["gamma"]
    """The load model."""
    rate: _PositiveRate
    """Mean requests per second."""
    cv: float = Field(gt=0, le=100)
    """Standard deviation of a gap divided by its mean: below 1 smoother than `poisson`, above 1 burstier."""
    seed: int | None = Field(default=None, ge=0)
    """Seed of the gaps; by default `measure.seed`."""


class IntervalsLoad(OpenLoad):
    """Open loop: gaps from a file, repeated for ever."""

    kind: Literal["intervals"]
    """The load model."""
    file: str
    """Whole microseconds between requests, one per line."""


class ReplayLoad(OpenLoad):
    """Open loop: recorded send times, each once; measured from the first send to the last answer."""

    kind: Literal["replay"]
    """The load model."""
    file: str
    """Send times in seconds, one per line, ascending; the first one is the start. Or `.json` as perf_analyzer's
    `--fixed-schedule` reads it: each step with a `timestamp` in milliseconds."""


class PeriodicLoad(ClientSettings):
    """A closed loop that grows step by step; ends with its last step and is measured as a whole."""

    kind: Literal["periodic"]
    """The load model."""
    start: int = Field(ge=1, le=100_000)
    """Requests in flight at first."""
    end: int = Field(ge=1, le=100_000)
    """Requests in flight at last."""
    step: int = Field(default=1, ge=1, le=100_000)
    """Further requests in flight with each step."""
    request_period: int = Field(default=10, ge=1)
    """A step is made once each slot of the newest one has been answered so often."""

    @model_validator(mode="after")
    def _whole_steps(self) -> Self:
        if self.end < self.start:
            raise refuse("end", f"expected at least the `start` of {self.start}, got {self.end}")
        if (self.end - self.start) % self.step:
            nearest = self.start + (self.end - self.start) // self.step * self.step
            problem = f"expected whole steps of {self.step} from {self.start}, got {self.end}"
            raise refuse("end", problem, f"write {nearest} or {nearest + self.step}")
        return self


_KINDS = ("concurrency", "constant", "poisson", "gamma", "intervals", "replay", "periodic", "sla")


def _tag(value: Any) -> str | None:
    """Tags differ from keys, which may be called like a kind; without a kind it is the closed loop."""
    if not isinstance(value, dict):
        return f"load:{getattr(value, 'kind', 'concurrency')}"
    # A rate alone does not say which open loop: the error is the missing kind, not the rate.
    kind = value.get("kind", "poisson" if "rate" in value else "concurrency")
    return f"load:{kind}" if kind in _KINDS else None


Load = Annotated[
    Annotated[ConcurrencyLoad, Tag("load:concurrency")]
    | Annotated[ConstantLoad, Tag("load:constant")]
    | Annotated[PoissonLoad, Tag("load:poisson")]
    | Annotated[GammaLoad, Tag("load:gamma")]
    | Annotated[IntervalsLoad, Tag("load:intervals")]
    | Annotated[ReplayLoad, Tag("load:replay")]
    | Annotated[PeriodicLoad, Tag("load:periodic")]
    | Annotated[SlaLoad, Tag("load:sla")],
    Discriminator(
        _tag,
        custom_error_type="union_tag_invalid",
        custom_error_context={"discriminator": "kind", "tag": "", "expected_tags": ", ".join(_KINDS)},
    ),
]
