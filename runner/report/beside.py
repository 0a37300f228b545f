"""Why a few requests from cold give another number: points of the profile `reference` beside the same points warmed up.

Little's law makes the explanation exact. Throughput is requests in flight over latency, so the ratio of two throughputs
is the ratio of what was in flight times the inverse ratio of the latencies; a window that is rounded up to whole
seconds, as perf_analyzer's is with a request count, is a third factor.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from runner.results.records import Summary
from runner.results.run import Point, Run

AXIS = "measure.profile"
COLD = "reference"


@dataclass(frozen=True)
class Pair:
    """The same point, measured from cold with a fixed number of requests and in steady state."""

    steady: Point
    cold: Point

    @property
    def profile(self) -> str:
        """Of the point in steady state."""
        return str(self.steady.case.parameters[AXIS])

    @property
    def name(self) -> str:
        """The parameters that both share."""
        shared = (f"{address}={value}" for address, value in self.cold.case.parameters.items() if address != AXIS)
        return " ".join(shared) or self.cold.case.model


@dataclass(frozen=True)
class Gap:
    """What lies between the two throughputs; factors multiply from the steady one to the one of perf_analyzer."""

    steady_per_s: float
    """Inferences per second."""
    cold_per_s: float
    rounded_per_s: float
    """What the same requests give over a window of whole seconds."""
    window_s: float
    rounded_s: int
    in_flight_factor: float
    latency_factor: float
    rounding_factor: float


def pairs(run: Run) -> tuple[Pair, ...]:
    """Every point of the profile `reference` with its neighbours of other profiles, where both have numbers."""
    measured = [p for p in run.points() if AXIS in p.case.parameters and p.trial is not None and p.trial.summary]
    cold = [point for point in measured if point.case.parameters[AXIS] == COLD]
    steady = [point for point in measured if point.case.parameters[AXIS] != COLD]
    return tuple(Pair(there, here) for here in cold for there in steady if _shared(here) == _shared(there))


def _shared(point: Point) -> dict[str, Any]:
    return {address: value for address, value in point.case.parameters.items() if address != AXIS}


def gap(pair: Pair) -> Gap:
    """The numbers of a pair."""
    steady, cold = _summary(pair.steady), _summary(pair.cold)
    rounded_s = math.ceil(cold.window_s)
    rounding = cold.window_s / rounded_s
    return Gap(
        steady_per_s=steady.inferences_per_s.value,
        cold_per_s=cold.inferences_per_s.value,
        rounded_per_s=cold.inferences_per_s.value * rounding,
        window_s=cold.window_s,
        rounded_s=rounded_s,
        in_flight_factor=cold.in_flight_mean / steady.in_flight_mean,
        latency_factor=steady.latency_mean_ms.value / cold.latency_mean_ms.value,
        rounding_factor=rounding,
    )


def explained(run: Run) -> Iterator[str]:
    """The difference of each pair in plain words."""
    for pair in pairs(run):
        yield from _explained(pair)


def _explained(pair: Pair) -> Iterator[str]:
    numbers, cold = gap(pair), _summary(pair.cold)
    requests = cold.completions
    yield (
        f"{pair.name}: {numbers.steady_per_s:.4g} inferences/s in steady state ({pair.profile}), "
        f"{numbers.cold_per_s:.4g} with {requests} requests from cold ({_percent(numbers)}), because"
    )
    yield f"  {_factor(numbers.latency_factor)}  {_cold_start(pair)}"
    yield f"  {_factor(numbers.in_flight_factor)}  {_waves(pair)}"
    yield f"  {_factor(numbers.rounding_factor)}  {_window(numbers, requests)}"


def _window(numbers: Gap, requests: int) -> str:
    return (
        f"window: perf_analyzer --request-count={requests} divides by whole seconds, {numbers.rounded_s} s instead of "
        f"{numbers.window_s:.3g} s, and would print {numbers.rounded_per_s:.4g}"
    )


def _percent(numbers: Gap) -> str:
    return f"{numbers.cold_per_s / numbers.steady_per_s - 1:+.0%}"


def _factor(factor: float) -> str:
    return f"×{factor:.2f}"


def _cold_start(pair: Pair) -> str:
    """Slower first answers; or quicker ones, where so few requests never build the queue of the steady state."""
    cold, steady = _summary(pair.cold), _summary(pair.steady)
    wave, name = cold.first_wave, "cold start"
    if cold.latency_mean_ms.value < steady.latency_mean_ms.value:
        name = "queues that only begin to fill"
    warm = f"in steady state {steady.latency_mean_ms.value:.4g} ms"
    if wave is None:
        return f"{name}: {cold.latency_mean_ms.value:.4g} ms on average, {warm}"
    if wave.rest_mean_ms is None:
        return f"{name}: all {wave.requests} answers are first ones, {wave.mean_ms:.4g} ms on average; {warm}"
    return (
        f"{name}: the first {wave.requests} answers took {wave.mean_ms:.4g} ms on average, the {wave.rest} after "
        f"them {wave.rest_mean_ms:.4g} ms; {warm}"
    )


def _waves(pair: Pair) -> str:
    cold, steady = _summary(pair.cold), _summary(pair.steady)
    held = f"{cold.in_flight_mean:.3g} in flight on average, {steady.in_flight_mean:.3g} in steady state"
    concurrency = pair.cold.case.load.get("concurrency")
    if not concurrency:
        return f"in flight: {held}"
    each = cold.completions / concurrency
    waves = "one wave of requests" if each <= 1 else f"{each:.3g} waves of requests"
    return f"{waves}: {each:.3g} for each of {concurrency} clients; the pipeline fills and drains, {held}"


def _summary(point: Point) -> Summary:
    assert point.trial is not None
    assert point.trial.summary is not None
    return point.trial.summary
