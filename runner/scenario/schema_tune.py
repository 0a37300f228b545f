"""Schema of `tune`: what may change, what is better, what must hold, and how much may be spent."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from runner.scenario.schema_base import Strict, check_order, check_powers, key_tag, refuse
from runner.units import DIMENSIONS, Seconds


class DomainBase(Strict):
    """What every domain has that is written as a map."""

    when: str | None = None
    """Predicate over other addresses; where it does not hold, the address keeps the value of the file."""


class ChoiceDomain(DomainBase):
    """One of a few values; a plain list is the same. Three or more numbers in ascending order are searched as such."""

    choice: tuple[Any, ...] = Field(min_length=1)
    """The values."""


class NumberDomain(DomainBase):
    """What every domain of numbers has."""

    unit: str | None = None
    """Written behind each number, for example `/s` or `ms`; for addresses that want a unit."""

    @model_validator(mode="after")
    def _known_unit(self) -> Self:
        if self.unit is not None and self.unit not in DIMENSIONS:
            raise refuse("unit", f"expected one of {', '.join(DIMENSIONS)}, got `{self.unit}`")
        return self


class Pow2Domain(NumberDomain):
    """Powers of two from the first up to at most the last."""

    pow2: tuple[int, int]
    """First and last."""

    @model_validator(mode="after")
    def _powers(self) -> Self:
        check_powers(*self.pow2, "pow2")
        return self


class IntDomain(NumberDomain):
    """Whole numbers from the first up to at most the last."""

    int: tuple[int, int]
    """First and last."""
    step: int = Field(default=1, ge=1)  # type: ignore[valid-type]
    """Distance between neighbours."""
    log: bool = False
    """Equal ratios are as far apart as each other; needs a positive first value and no `step`."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        check_order(*self.int, "int")
        if self.log and (self.int[0] < 1 or self.step != 1):
            raise refuse("log", "expected a positive first value and no `step` with `log`")
        return self


class FloatDomain(NumberDomain):
    """Numbers from the first to the last."""

    float: tuple[float, float]
    """First and last."""
    step: float | None = Field(default=None, gt=0)  # type: ignore[valid-type]
    """Distance between neighbours; by default any number between."""
    log: bool = False
    """Equal ratios are as far apart as each other; needs a positive first value and no `step`."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        check_order(*self.float, "float")
        if self.log and (self.float[0] <= 0 or self.step is not None):
            raise refuse("log", "expected a positive first value and no `step` with `log`")
        return self


_DOMAINS: dict[type[Strict], str] = {
    ChoiceDomain: "domain:choice",
    Pow2Domain: "domain:pow2",
    IntDomain: "domain:int",
    FloatDomain: "domain:float",
}


Domain = Annotated[
    Annotated[tuple[Any, ...], Field(min_length=1), Tag("domain:list")]
    | Annotated[ChoiceDomain, Tag("domain:choice")]
    | Annotated[Pow2Domain, Tag("domain:pow2")]
    | Annotated[IntDomain, Tag("domain:int")]
    | Annotated[FloatDomain, Tag("domain:float")],
    Discriminator(
        key_tag(_DOMAINS),
        custom_error_type="one_of",
        custom_error_message="expected `[a, b]`, `{choice: [a, b]}`, `{pow2: [1, 64]}`, `{int: [1, 8]}` or "
        "`{float: [0, 1]}`",
    ),
]


class WeightedObjective(Strict):
    """An objective with a say in which of several equally good points is called best."""

    direction: Literal["max", "min"]
    """Which way is better."""
    weight: float = Field(default=1.0, gt=0)
    """Relative importance; only orders the front, never removes a point from it."""


class Strategy(Strict):
    """Which point is tried next."""

    kind: Literal["grid", "random", "halton", "sobol", "tpe", "nsga2", "neighbourhood"] = "random"
    """`grid`: every point; `random`; `halton` and `sobol`: evenly spread; `tpe`: Tree-structured Parzen Estimator;
    `nsga2`: genetic, for several objectives; `neighbourhood`: hill climbing, small steps from the best point."""
    seed: int = Field(default=0, ge=0)
    """Seed of everything random in the search."""
    start: tuple[dict[str, Any], ...] = ()
    """Points that are tried first, address -> value; the values of the file always are."""


class Screening(Strict):
    """A short probe before the whole measurement: clear losers end there, with what was measured of them."""

    window: Seconds = 2.0
    """Length of the probe's window."""
    margin: float = Field(default=0.2, ge=0)
    """A point ends here when it is worse than a finished one in every objective by more than this share beyond its
    own interval, or misses a constraint by it."""


class Budget(Strict):
    """When the search ends, whatever comes first; confirmation comes after it."""

    time: Seconds | None = None
    """Wall time of the search, setup and server starts included."""
    trials: int | None = Field(default=None, ge=1, le=100_000)
    """Points that are tried, those that failed included."""
    patience: int | None = Field(default=None, ge=1)
    """Points in a row without an improvement."""


class Confirm(Strict):
    """The best points and the values of the file, measured again in turn before a winner is named."""

    top: int = Field(default=3, ge=1, le=20)
    """How many points."""
    repeats: int = Field(default=6, ge=2, le=100)
    """Blocks, each with every contender once on a fresh server; fewer than six give no verdict, only effects."""
    margin: float = Field(default=0.02, ge=0)
    """Relative difference that is not worth a change of the configuration."""


class Tune(Strict):
    """A study: the search of `scenario tune`."""

    space: dict[str, Domain] = Field(min_length=1)
    """Address -> values that may be tried there."""
    exclude: tuple[str, ...] = ()
    """Predicates; a point for which one holds is recorded without being run."""
    objectives: dict[str, Literal["max", "min"] | WeightedObjective] = Field(
        default={"throughput": "max"}, min_length=1
    )
    """Metric -> direction; one: the best point; several: the Pareto front."""
    constraints: tuple[str, ...] = ()
    """Predicates over metrics that every acceptable point satisfies, for example `latency.p99 <= 50ms`."""
    strategy: Strategy = Strategy()
    """Which point is tried next."""
    screen: Screening | None = Screening()
    """A short probe before the whole measurement; null: none."""
    budget: Budget = Budget()
    """When the search ends; without any limit after 100 trials, a grid after its last point."""
    anchor_every: int = Field(default=20, ge=2)
    """The file's own values are measured again every so many trials, to see whether the rig drifts."""
    confirm: Confirm | None = Confirm()
    """Measured again before a winner is named; null: no winner is named."""
    write: str | None = "tuned.yaml"
    """Override file with the winner's values, for `--values`; relative to the run directory unless absolute."""
