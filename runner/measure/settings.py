"""How a point is measured: the profile's values with the scenario's own put over them, every field decided."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from runner.errors import UsageError
from runner.measure.rules import LimitRule, SloRule, slo_rule
from runner.scenario.schema import Measure, PrecisionSettings, WindowSettings, WindowsStability

T = TypeVar("T")

FOREVER_S = 30 * 365 * 86_400.0
"""Longer than any load; within what the engine counts in nanoseconds."""
TAIL_COMPLETIONS = 100
"""So many answers beyond the highest percentile with a precision target: its rank is then known to a tenth."""


@dataclass(frozen=True, kw_only=True)
class WindowsRule:
    """perf_analyzer's stability: three windows in a row whose largest and smallest values are alike."""

    interval_s: float
    requests: int | None
    """A window ends after so many answers instead of after `interval_s`."""
    within: float
    """max / min - 1 may be at most this, of throughput and of latency."""
    trials: int
    percentile: float | None
    """Percent; None: the mean latency is compared."""


@dataclass(frozen=True, kw_only=True)
class MeasureSettings:
    """Every decision of one measurement; times in seconds, shares and precisions as fractions."""

    profile: str
    warmup_min_s: float
    """At least so much is dropped."""
    warmup_min_requests_per_slot: int
    """At least so many answers per request in flight are dropped."""
    warmup_max_fraction: float
    """At most this share of the trial is dropped; but `warmup_requests` always are."""
    warmup_requests: int = 0
    """At least so many requests are dropped."""
    window_min_s: float
    window_max_s: float
    confidence: float
    """Of the intervals that are reported."""
    throughput: float | None
    """Relative half-width that is good enough; None: not asked for."""
    mean: float | None
    percentile_precision: Mapping[float, float] = field(default_factory=dict)
    """Percent -> relative half-width that is good enough."""
    percentiles: tuple[float, ...] = (50, 90, 95, 99)
    """Percent; which ones are reported."""
    window_min_completions: int | None = 0
    """At least so many answers; None: as many as leave 100 beyond the highest percentile with a precision target."""
    window_min_batches: int = 0
    """At least so many batches for the intervals."""
    repeats: int = 1
    """How often the whole measurement is done."""
    windows: WindowsRule | None = None
    """Stop by this rule instead of by precision."""
    limit: LimitRule | None = None
    """Count against this limit, and stop when there is a verdict, unless `windows` says when to stop."""
    requests: int | None = None
    """Measure exactly so many requests, from the first send to the last answer, instead of the stop rule."""
    whole: bool = False
    """The load ends by itself: measure all of it, from the first send to the last answer."""
    soak: bool = False
    """No stop rule: goes on until the user stops it or the deadline comes."""
    slo: SloRule | None = None
    """Of a soak: ends when its violation budget is exhausted."""
    max_error_rate: float = 0.05
    drain_s: float = 10.0
    seed: int = 0

    @property
    def measures_all(self) -> bool:
        """No warm-up and no stop rule: from the first send to the last answer."""
        return self.whole or self.requests is not None

    @property
    def stop_confidence(self) -> float:
        """Confidence of the stop rule, above the reported one because it looks more than once.

        Looking at doubling times costs an interval of 95 % two to six points of coverage; deciding at 97 % gives
        them back (simulated, see docs/measurement.md).
        """
        return 1 - 0.6 * (1 - self.confidence)

    @property
    def fewest_completions(self) -> int:
        """Floor of the window in answers: 100 beyond the highest percentile with a target, where nothing else is said.

        Time alone would call the p99 of a slow point precise on a handful of answers beyond it.
        """
        if self.window_min_completions is not None:
            return self.window_min_completions
        highest = max(self.percentile_precision, default=0.0)
        return math.ceil(TAIL_COMPLETIONS / (1 - highest / 100) * (1 - 1e-12))

    @property
    def deadline_s(self) -> float:
        """When sending stops whatever the precision, in seconds from the first send."""
        return self.warmup_min_s + self.window_max_s


EXPLORE = MeasureSettings(
    profile="explore",
    # A warmed-up server settles within a second or two; the MSER-5 cut looks after those that do not.
    warmup_min_s=2.0,
    warmup_min_requests_per_slot=3,
    warmup_max_fraction=0.5,
    # 8 s hold 20 batches of 0.4 s; 20 s at 40 requests/s are 800 samples: enough for p95, p99 prints with its bound.
    window_min_s=8.0,
    window_max_s=20.0,
    confidence=0.95,
    # Neighbours in a matrix differ by tens of percent; a few percent place a point, half the precision of a
    # publication takes four times the time.
    throughput=0.03,
    mean=0.05,
    percentile_precision={50.0: 0.05, 95.0: 0.10},
)
"""Seconds per point: where is the knee, what does a knob do."""

PUBLISH = MeasureSettings(
    profile="publish",
    warmup_min_s=5.0,
    warmup_min_requests_per_slot=20,
    warmup_max_fraction=0.5,
    # Looks at 120, 240, 480 and 600 s: MLPerf's 600 s as the cap, and a floor at which an early look is most of the
    # run, because the coverage of an interval suffers from looks that are a small part of it.
    window_min_s=120.0,
    window_max_s=600.0,
    window_min_completions=None,
    window_min_batches=20,
    confidence=0.95,
    throughput=0.01,
    mean=0.02,
    percentile_precision={50.0: 0.02, 95.0: 0.03, 99.0: 0.05},
    # Memory layout, autotuned kernels and clocks stay as they are while one server runs, so the spread that another
    # rig or another day would show is only between starts (Kalibera & Jones, ISMM 2013).
    repeats=5,
)
"""Minutes per point, five starts of the server: numbers to bet a decision on."""

REFERENCE = MeasureSettings(
    profile="reference",
    warmup_min_s=0.0,
    warmup_min_requests_per_slot=0,
    warmup_max_fraction=0.0,
    window_min_s=0.0,
    window_max_s=600.0,
    confidence=0.95,
    throughput=None,
    mean=None,
    requests=64,
)
"""What the DALI benchmark does: 64 requests from cold, no warm-up; here to explain the difference."""

PROFILES: dict[str, MeasureSettings] = {"explore": EXPLORE, "publish": PUBLISH, "reference": REFERENCE}
COUNT_WINDOWS_CAP_S = 600.0
"""Windows that end by count may never end: the load does, after this long or `measure.window.max`."""


def resolve(measure: Measure) -> MeasureSettings:
    """Settle every value: the scenario's where it says something, else the profile's.

    Raises:
        UsageError: values contradict each other, or a percentile has no valid name.
    """
    base, windows = PROFILES[measure.profile], _windows_rule(measure)
    if windows is not None:
        base = _for_windows(base, windows, measure.warmup.requests or 0)
    requests = _or(measure.requests, base.requests)
    if requests is not None:
        _refuse_warmup(measure)
    window_min_s, window_max_s = _window(measure.window, base)
    precision, warmup = measure.precision, measure.warmup
    settings = MeasureSettings(
        profile=base.profile,
        warmup_min_s=0.0 if requests is not None else _or(warmup.min_time, base.warmup_min_s),
        warmup_min_requests_per_slot=0
        if requests is not None
        else _or(warmup.min_requests_per_slot, base.warmup_min_requests_per_slot),
        warmup_max_fraction=0.0 if requests is not None else _or(warmup.max_fraction, base.warmup_max_fraction),
        warmup_requests=warmup.requests or 0,
        window_min_s=window_min_s,
        window_max_s=window_max_s,
        window_min_completions=_or(measure.window.min_completions, base.window_min_completions),
        window_min_batches=_or(measure.window.min_batches, base.window_min_batches),
        repeats=_or(measure.repeats, base.repeats),
        windows=windows,
        confidence=_confidence(precision, base),
        throughput=_or(precision.throughput, base.throughput),
        mean=_or(precision.mean, base.mean),
        percentile_precision=_percentile_precision(precision, base),
        percentiles=tuple(sorted({float(q) for q in measure.percentiles})),
        requests=requests,
        max_error_rate=measure.max_error_rate,
        drain_s=measure.drain,
        seed=measure.seed,
    )
    if measure.slo is not None and not measure.soak:
        raise UsageError(
            "measure.slo: a violation budget is that of a soak, but measure.soak is false",
            hint="set measure.soak; to look for the load that meets a limit, use load.kind sla",
        )
    return _soaking(settings, measure) if measure.soak else settings


def _soaking(settings: MeasureSettings, measure: Measure) -> MeasureSettings:
    """Without a stop rule, and with no precision but what the scenario itself asks for."""
    rivals = {"measure.requests": settings.requests, "measure.stability.kind": settings.windows and "windows"}
    for address, value in rivals.items():
        if value is not None:
            raise UsageError(
                f"measure.soak: a soak has no end of its own, but {address} is {value}",
                hint=f"remove {address} (profile reference has a number of requests), or measure.soak",
            )
    precision = measure.precision
    return replace(
        settings,
        soak=True,
        slo=slo_rule(measure.slo),
        window_min_s=0.0,
        window_max_s=FOREVER_S if measure.window.max is None else settings.window_max_s,
        window_min_completions=0,
        window_min_batches=0,
        repeats=measure.repeats or 1,
        throughput=precision.throughput,
        mean=precision.mean,
        percentile_precision={} if precision.percentiles is None else settings.percentile_precision,
    )


def _windows_rule(measure: Measure) -> WindowsRule | None:
    asked = measure.stability
    if not isinstance(asked, WindowsStability):
        return None
    _refuse_beside_windows(measure, asked)
    return WindowsRule(
        interval_s=asked.interval,
        requests=asked.requests,
        within=asked.within,
        trials=asked.trials,
        percentile=asked.percentile,
    )


def _refuse_beside_windows(measure: Measure, asked: WindowsStability) -> None:
    """Settings that the rule of three windows would silently leave aside."""
    window, precision = measure.window, measure.precision
    given: dict[str, object] = {
        "measure.requests": measure.requests or PROFILES[measure.profile].requests,
        "measure.window.min": window.min,
        "measure.window.max": window.max if asked.requests is None else None,
        "measure.window.min_completions": window.min_completions,
        "measure.window.min_batches": window.min_batches,
        "measure.precision": precision.throughput or precision.mean or precision.percentiles,
    }
    for address, value in given.items():
        if value:
            raise UsageError(
                f"{address}: three like windows end a point (measure.stability.kind: windows), got {value} beside it",
                hint=f"remove {address}; how long is measured follows from measure.stability"
                + ("; the profile reference measures a fixed number" if address == "measure.requests" else ""),
            )


def _for_windows(base: MeasureSettings, rule: WindowsRule, warmup_requests: int) -> MeasureSettings:
    """perf_analyzer asks for no precision and drops no warm-up: the last three windows count, wherever they are.

    Windows by time end after the last trial, so that only what is counted, requests, needs room for how long it takes.
    """
    longest_s = 0.0 if rule.requests is not None else rule.interval_s * rule.trials
    if rule.requests is not None or warmup_requests:
        longest_s += COUNT_WINDOWS_CAP_S
    return replace(
        base,
        warmup_min_s=0.0,
        warmup_min_requests_per_slot=0,
        window_min_s=0.0,
        window_max_s=longest_s,
        window_min_completions=0,
        window_min_batches=0,
        throughput=None,
        mean=None,
        percentile_precision={},
    )


def _or(value: T | None, default: T) -> T:
    return default if value is None else value


def _window(window: WindowSettings, base: MeasureSettings) -> tuple[float, float]:
    """Floor and cap; where only one is given, the profile's other one gives way."""
    low, high = _or(window.min, base.window_min_s), _or(window.max, base.window_max_s)
    if window.max is None:
        high = max(high, low)
    low = min(low, high)
    if high <= 0:
        raise UsageError(f"measure.window.max: expected more than 0s, got {high:g}s", hint="for example max: 20s")
    return low, high


def _confidence(precision: PrecisionSettings, base: MeasureSettings) -> float:
    confidence = _or(precision.confidence, base.confidence)
    if not 0.5 <= confidence < 1:
        raise UsageError(
            f"measure.precision.confidence: expected at least 50% and less than 100%, got {confidence:.4g}",
            hint="95% is usual",
        )
    return confidence


def _percentile_precision(precision: PrecisionSettings, base: MeasureSettings) -> dict[float, float]:
    if precision.percentiles is None:
        return dict(base.percentile_precision)
    return {_percent(key): width for key, width in precision.percentiles.items()}


def _percent(key: str) -> float:
    percent = float(key.removeprefix("p"))
    if not 0 < percent < 100:
        raise UsageError(
            f"measure.precision.percentiles: expected percentiles between 0 and 100, got {key}",
            hint="write for example {p50: 2%, p99: 5%}",
        )
    return percent


def _refuse_warmup(measure: Measure) -> None:
    warmup = measure.warmup
    asked = {"min_time": warmup.min_time, "min_requests_per_slot": warmup.min_requests_per_slot}
    for name, value in asked.items():
        if value:
            raise UsageError(
                f"measure.warmup.{name}: a fixed number of requests is measured from the first one, got {value:g}",
                hint=f"write measure.warmup.requests in place of measure.warmup.{name}; or measure by time: no "
                "measure.requests, and profile explore",
            )


def is_endless(measure: Measure) -> bool:
    """A soak that only the user ends."""
    return measure.soak and measure.window.max is None


def longest_trial_s(measure: Measure) -> float:
    """Longest time that one point can take: at its cap, with a full drain."""
    settings = resolve(measure)
    return settings.deadline_s + settings.drain_s


def markdown_table() -> str:
    """The profiles as the table of docs/measurement.md."""
    names = list(PROFILES)
    rows = [[key, *(_shown(getter(PROFILES[name])) for name in names)] for key, getter in _SHOWN.items()]
    lines = [["value", *names], ["---"] * (len(names) + 1), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"


_SHOWN: dict[str, Callable[[MeasureSettings], str | None]] = {
    "`warmup.min_time`": lambda s: f"{s.warmup_min_s:g} s",
    "`warmup.min_requests_per_slot`": lambda s: f"{s.warmup_min_requests_per_slot}",
    "`warmup.max_fraction`": lambda s: f"{s.warmup_max_fraction:.0%}",
    "`window.min`": lambda s: f"{s.window_min_s:g} s",
    "`window.max`": lambda s: f"{s.window_max_s:g} s",
    "`window.min_completions`": lambda s: f"{s.fewest_completions}" if s.fewest_completions else None,
    "`window.min_batches`": lambda s: f"{s.window_min_batches}" if s.window_min_batches else None,
    "`precision.confidence`": lambda s: f"{s.confidence:.0%}",
    "`precision.throughput`": lambda s: None if s.throughput is None else f"{s.throughput:.0%}",
    "`precision.mean`": lambda s: None if s.mean is None else f"{s.mean:.0%}",
    "`precision.percentiles`": lambda s: (
        ", ".join(f"p{q:g} {w:.0%}" for q, w in s.percentile_precision.items()) or None
    ),
    "`repeats`": lambda s: f"{s.repeats}",
    "`requests`": lambda s: None if s.requests is None else f"{s.requests}",
}


def _shown(text: str | None) -> str:
    return text or "–"
