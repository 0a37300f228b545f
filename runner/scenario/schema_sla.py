"""Schema of a capacity search: the load is not given but looked for, under a limit on the latency."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, Tag, model_validator

from runner.scenario.schema_base import Strict, check_order, number_or, refuse
from runner.scenario.schema_client import MAX_RATE, OpenLoad
from runner.units import Fraction, Rate, Seconds

_Level = Annotated[
    Annotated[Rate, Field(gt=0, le=MAX_RATE), Tag("rate")] | Annotated[int, Field(ge=1, le=100_000), Tag("number")],
    number_or("rate"),
]

Strategy = Literal["bracket", "linear", "climb", "perf_client", "pa_linear", "pa_binary"]


class SearchRange(Strict):
    """Where is looked: rates such as `50/s`, or with `over: concurrency` whole numbers of requests in flight."""

    min: _Level | None = None
    """Not below."""
    max: _Level | None = None
    """Not above; a search that still meets the limit here ends with `at least`."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        check_order(self.min, self.max, "max")
        return self


class ProbeSettings(Strict):
    """How long one load of the search lasts: as long as it takes to tell whether the limit is met."""

    first: Annotated[Seconds, Field(gt=0)] = 10.0
    """The first look at the verdict; further ones at the doublings."""
    max: Annotated[Seconds, Field(gt=0)] = 120.0
    """By then it is told, or it stays unresolved and counts as not met."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        check_order(self.first, self.max, "max")
        return self


class ConfirmSettings(Strict):
    """What was found is measured again before it is published."""

    repeats: int = Field(default=2, ge=1, le=100)
    """So often, each with arrivals of its own, on a server that was started anew."""
    window: Annotated[Seconds, Field(gt=0)] = 60.0
    """At least so long each."""


class SearchBudget(Strict):
    """When a search stops looking; what it has found by then is confirmed all the same."""

    time: Seconds | None = None
    """Of load, in one search."""
    probes: int = Field(default=100, ge=1, le=10_000)
    """Loads in one search."""


class SlaLoad(OpenLoad):
    """Finds the highest load at which a percentile of the latency keeps below a limit. Without `latency`: the knee."""

    kind: Literal["sla"]
    """The load model."""
    percentile: float = Field(default=95.0, gt=0, lt=100)
    """So many percent of the requests have to be answered within `latency`; late, failed and dropped ones miss it."""
    latency: Annotated[Seconds, Field(gt=0)] | None = None
    """The limit. Without it the knee of throughput over latency is looked for, which is no more than a hint."""
    over: Literal["rate", "concurrency"] = "rate"
    """What is raised: the rate of an open loop, or the requests in flight of a closed one."""
    arrivals: Literal["poisson", "constant"] = "poisson"
    """Of the open loop."""
    range: SearchRange = SearchRange()
    """Where is looked; by default from one request at a time to saturation."""
    resolution: Annotated[Fraction, Field(gt=0, le=0.5)] = 0.02
    """The search narrows the bracket until its ends differ by no more than this."""
    attempts: int = Field(default=1, ge=1, le=100)
    """Independent searches, each on a fresh server with seeds of its own; the answer is their median."""
    probe: ProbeSettings = ProbeSettings()
    """How long one load lasts."""
    confirm: ConfirmSettings = ConfirmSettings()
    """How the answer is confirmed."""
    budget: SearchBudget = SearchBudget()
    """When a search stops looking."""
    strategy: Strategy = "bracket"
    """`bracket`: verdicts with confidence, bisection, confirmation. The others do what older tools do, to compare with
    their numbers: `linear`: raise by `step`, stop at the first miss; `climb`: the TensorRT Inference Server benchmark
    suite; `perf_client`: `-d -l`; `pa_linear` and `pa_binary`: perf_analyzer's `-l`, and with `--binary-search`."""
    statistic: Literal["percentile", "mean"] = "percentile"
    """What `pa_linear` and `pa_binary` hold against `latency`; perf_analyzer takes the mean without `--percentile`."""
    step: _Level | None = None
    """Of those others: by how much the load is raised, from `range.min`; by default 0.5/s from 5/s, or 1 from 1."""

    @property
    def first_level(self) -> float:
        """Where a strategy that climbs begins; the defaults are those of the TensorRT Inference Server suite."""
        return float(self.range.min or (5.0 if self.over == "rate" else 1))

    @property
    def step_size(self) -> float:
        """By how much it climbs."""
        return float(self.step or (0.5 if self.over == "rate" else 1))

    @model_validator(mode="after")
    def _levels_are_of_one_kind(self) -> Self:
        levels = {"range.min": self.range.min, "range.max": self.range.max, "step": self.step}
        for name, value in levels.items():
            if value is not None and isinstance(value, int) != (self.over == "concurrency"):
                expected = "a rate such as 50/s" if self.over == "rate" else "a whole number of requests in flight"
                raise refuse(name.split(".")[0], f"expected {expected} as `{name}`, got {value}")
        return self

    @model_validator(mode="after")
    def _strategy_fits(self) -> Self:
        if self.latency is None and self.strategy != "bracket":
            raise refuse("strategy", f"expected `latency` beside `{self.strategy}`", "write `latency: 1s`")
        if self.statistic == "mean" and self.strategy not in ("pa_linear", "pa_binary"):
            raise refuse("statistic", "only `pa_linear` and `pa_binary` take the mean", "remove `statistic`")
        if self.strategy == "perf_client" and self.over != "concurrency":
            raise refuse("over", "perf_client raises requests in flight", "write `over: concurrency`")
        if self.strategy == "pa_binary" and (self.range.min is None or self.range.max is None):
            raise refuse("range", "a binary search needs both ends", "write `range: {min: …, max: …}`")
        if self.strategy == "bracket" and self.step is not None:
            raise refuse("step", "a bracket has no steps", "remove `step`, or name another strategy")
        return self
