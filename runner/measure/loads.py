"""What a scenario's load means: the engine's schedule, the rate it asks for, and what of it can be judged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from runner.errors import UsageError
from runner.load.plan import ClosedLoop, Constant, Gamma, Intervals, OpenLoop, Periodic, Poisson, Replay, Schedule
from runner.measure.settings import MeasureSettings, longest_trial_s, resolve
from runner.scenario.arrivals import Arrivals, ArrivalsError, read_intervals, read_timestamps
from runner.scenario.schema import (
    ConcurrencyLoad,
    ConstantLoad,
    GammaLoad,
    IntervalsLoad,
    Load,
    OpenLoad,
    PeriodicLoad,
    PoissonLoad,
    ReplayLoad,
    Scenario,
    SlaLoad,
)

CEILING_SLOTS = 16
"""An open loop has no number of slots; so many keep the null transport busy."""


def schedule_of(load: Load) -> Schedule:
    """The engine's schedule of a load.

    Raises:
        UsageError: a file of send times makes none.
    """
    match load:
        case ConcurrencyLoad(concurrency=concurrency):
            return ClosedLoop(concurrency=concurrency)
        case PeriodicLoad():
            return Periodic(start=load.start, end=load.end, step=load.step, request_period=load.request_period)
        case ConstantLoad():
            arrivals: Constant | Poisson | Gamma | Intervals | Replay = Constant(rate=load.rate)
        case PoissonLoad():
            arrivals = Poisson(rate=load.rate)
        case GammaLoad():
            arrivals = Gamma(rate=load.rate, cv=load.cv)
        case IntervalsLoad():
            arrivals = Intervals(gaps_ns=send_times(load).values_ns)
        case ReplayLoad():
            arrivals = Replay(offsets_ns=send_times(load).values_ns)
        case SlaLoad():
            raise UsageError("load.kind: a search (kind sla) is no load by itself", hint="name the load that it found")
    return OpenLoop(arrivals=arrivals, max_in_flight=load.max_in_flight)


def send_times(load: IntervalsLoad | ReplayLoad) -> Arrivals:
    """The file of a load, read once while it does not change."""
    try:
        return (read_intervals if isinstance(load, IntervalsLoad) else read_timestamps)(Path(load.file))
    except ArrivalsError as error:
        raise UsageError(f"load.file: {error}", hint="mend that line, or name another file") from error


def seed_of(load: Load, settings: MeasureSettings) -> int:
    """Seed of the gaps: the load's own, else that of everything random in measuring."""
    own = load.seed if isinstance(load, PoissonLoad | GammaLoad) else None
    return settings.seed if own is None else own


def asked_per_s(load: Load) -> float | None:
    """Rate that an open loop should offer; None in a closed loop and where it is not one rate."""
    match load:
        case ConstantLoad(rate=rate) | PoissonLoad(rate=rate) | GammaLoad(rate=rate):
            return rate
        case IntervalsLoad():
            gaps_ns = send_times(load).values_ns
            return len(gaps_ns) * 1e9 / sum(gaps_ns)
        case _:
            return None


def is_open(load: Load) -> bool:
    """Requests leave at their times, not when a slot frees."""
    return isinstance(load, OpenLoad)


def ends_by_itself(load: Load) -> bool:
    """A load with a last request is measured as a whole: no part of it stands for the rest."""
    return isinstance(load, ReplayLoad | PeriodicLoad)


def slots_of(load: Load) -> int:
    """Requests kept in flight; 1 in an open loop, where there are no slots."""
    match load:
        case ConcurrencyLoad(concurrency=concurrency):
            return concurrency
        case PeriodicLoad(start=start):
            return start
        case _:
            return 1


def most_in_flight(load: Load) -> int:
    """Requests in flight at most: each needs a slot of its own in shared memory."""
    match load:
        case ConcurrencyLoad(concurrency=slots) | PeriodicLoad(end=slots):
            return slots
        case _:
            return load.max_in_flight


def ceiling_slots(load: Load) -> int:
    """Requests in flight with which the engine's own ceiling is measured."""
    return min(most_in_flight(load), CEILING_SLOTS) if is_open(load) else most_in_flight(load)


def settings_for(settings: MeasureSettings, load: Load) -> MeasureSettings:
    """Settings as this load needs them: one that ends by itself has no warm-up and no stop rule.

    Raises:
        UsageError: a soak of a load that ends by itself.
    """
    if isinstance(load, SlaLoad):
        return _for_search(settings, load)
    if not ends_by_itself(load):
        return settings
    if settings.soak:
        raise UsageError(
            f"measure.soak: a soak has no end of its own, but a load of kind {load.kind} has",
            hint="remove measure.soak, or choose another load.kind",
        )
    return replace(
        settings,
        whole=True,
        windows=None,
        warmup_min_s=0.0,
        warmup_min_requests_per_slot=0,
        warmup_max_fraction=0.0,
        warmup_requests=0,
    )


_BY_WINDOWS = ("perf_client", "pa_linear", "pa_binary")
"""Strategies of a search whose loads last until three windows are alike."""


def _for_search(settings: MeasureSettings, load: SlaLoad) -> MeasureSettings:
    """A search decides itself how long its loads last, and repeats itself as a whole."""
    rivals = {
        "measure.soak": settings.soak,
        "measure.requests": settings.requests is not None,
        "measure.stability.kind": settings.windows is not None and load.strategy not in _BY_WINDOWS,
    }
    for address, given in rivals.items():
        if given:
            raise UsageError(
                f"{address}: a search (load.kind sla) decides itself how long its loads last",
                hint=f"remove {address} (profile reference has a number of requests); load.probe says how long",
            )
    return replace(settings, repeats=1)


def longest_case_s(scenario: Scenario) -> float:
    """Longest time of load that a case can take: of a search by its budget."""
    load, longest_s = scenario.load, longest_trial_s(scenario.measure)
    if not isinstance(load, SlaLoad):
        return longest_s
    settings = resolve(scenario.measure)
    each_s = settings.warmup_min_s + max(load.confirm.window, load.probe.max) + settings.drain_s
    by_probes_s = load.budget.probes * each_s
    # The budget ends the search; what is found by then is confirmed all the same.
    return load.attempts * (min(by_probes_s, load.budget.time or by_probes_s) + load.confirm.repeats * each_s)


def schedule_facts(load: Load) -> dict[str, str]:
    """Labels that name the schedule beside its parameters: the digest of its file."""
    return {"send_times_sha256": send_times(load).sha256} if isinstance(load, IntervalsLoad | ReplayLoad) else {}
