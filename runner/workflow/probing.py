"""A load of a search as a trial: which load it is, how long it lasts, and who judges it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from runner.measure.rules import LimitRule
from runner.measure.settings import COUNT_WINDOWS_CAP_S, MeasureSettings, WindowsRule
from runner.results.capacity import Probe, Tally
from runner.scenario.schema import ClientSettings, ConcurrencyLoad, ConstantLoad, OpenLoad, PoissonLoad, SlaLoad
from runner.tune.capacity import judged
from runner.units import format_rate

if TYPE_CHECKING:
    from runner.tune.capacity import Ask

NO_LIMIT_S = 3600.0
"""Without a limit nothing is late."""
WINDOW_S, WITHIN, TRIALS = 6.0, 0.10, 10
"""perf_analyzer's defaults: windows of 5 s, of which it makes 6."""
SEEDS_PER_ATTEMPT = 1000


def load_of(ask: Ask, load: SlaLoad) -> ConcurrencyLoad | ConstantLoad | PoissonLoad:
    """The load as a scenario would write it."""
    if ask.over == "concurrency":
        return ConcurrencyLoad(concurrency=int(ask.level), **load.model_dump(include=set(ClientSettings.model_fields)))
    kind = PoissonLoad if load.arrivals == "poisson" else ConstantLoad
    client = load.model_dump(include=set(OpenLoad.model_fields))
    return kind.model_validate({"kind": load.arrivals, "rate": format_rate(ask.level), **client})


def probe_settings(settings: MeasureSettings, ask: Ask, load: SlaLoad, attempt: int, number: int) -> MeasureSettings:
    """How a probe is measured: until there is a verdict, with no precision asked for, and arrivals of its own."""
    limit = LimitRule(percentile=load.percentile, limit_s=NO_LIMIT_S if load.latency is None else load.latency)
    stable = ask.rule in ("stable percentile", "stable mean")
    asked = settings.windows or WindowsRule(
        interval_s=WINDOW_S, requests=None, within=WITHIN, trials=TRIALS, percentile=None
    )
    windows = replace(asked, percentile=load.percentile if ask.rule == "stable percentile" else None)
    return replace(
        settings,
        limit=limit,
        windows=windows if stable else None,
        warmup_min_s=0.0 if stable else settings.warmup_min_s,
        warmup_min_requests_per_slot=0 if stable else settings.warmup_min_requests_per_slot,
        window_min_s=0.0 if stable else ask.first_s,
        window_max_s=_longest_s(windows) if stable else ask.max_s,
        window_min_completions=0,
        window_min_batches=0,
        repeats=1,
        throughput=None,
        mean=None,
        percentile_precision={},
        percentiles=tuple(sorted({*settings.percentiles, load.percentile})),
        seed=settings.seed + SEEDS_PER_ATTEMPT * attempt + number,
    )


def _longest_s(windows: WindowsRule) -> float:
    return COUNT_WINDOWS_CAP_S if windows.requests is not None else windows.interval_s * windows.trials


def judge_of(ask: Ask, load: SlaLoad, attempt: int, number: int) -> Callable[[Tally], Probe]:
    """What makes a verdict of what a window counted."""
    limit_ms = None if load.latency is None else load.latency * 1e3

    def judge(tally: Tally) -> Probe:
        verdict, reason = judged(tally, ask.rule, load.percentile, limit_ms, ask.is_last(tally.window_s))
        return Probe(attempt, number, ask.stage, ask.over, ask.level, verdict, reason, tally)

    return judge
