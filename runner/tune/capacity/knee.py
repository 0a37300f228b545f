"""Without a limit: the knee of throughput over latency, in a closed loop. No more than a hint.

Kleinrock's power X(N) / R(N) has no parameters; it is largest where one more request in flight begins to cost more time
than it brings throughput. Kneedle (Satopää et al., ICDCS workshops 2011) is the second opinion: where the curve is
farthest above its chord.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from itertools import pairwise
from statistics import fmean

from runner.results.capacity import Probe
from runner.scenario.schema import SlaLoad
from runner.tune.capacity.base import Ask, Ending, Log, Steps

PASSES = 2
FEWEST = 8
"""Points that Kneedle needs, and the shortest ladder."""
GAIN = 1.03
MOST_SLOTS = 4096
SENSITIVITY = 1.0


def knee(load: SlaLoad, log: Log) -> Steps:
    """A ladder of requests in flight, up and once more; the rung with the largest power."""
    rungs: list[int] = []
    rates: dict[int, list[float]] = {}
    most = int(load.range.max or MOST_SLOTS) if load.over == "concurrency" else MOST_SLOTS
    for rung in ladder():
        if rung > most or log.spent is not None or (len(rungs) >= FEWEST and _flat(rungs, rates)):
            break
        rungs.append(rung)
        rates[rung] = [(yield from _rate(load, log, rung))]
    for rung in (rung for _ in range(PASSES - 1) for rung in rungs if log.spent is None):
        rates[rung].append((yield from _rate(load, log, rung)))
    curve = {rung: fmean(found) for rung, found in rates.items()}
    if not any(curve.values()):
        return Ending("no answer", "nothing could be measured")
    best = max(curve, key=lambda rung: power(rung, curve[rung]))
    words = f"a hint, not a capacity: {best} requests in flight give the most throughput for their latency"
    return Ending("hint", words, best, None, curve[best], kneedle(curve))


def ladder() -> Sequence[int]:
    """1, 2, 3, 4, 6, 8, 12, 16, …"""
    doubles = [2**n for n in range(MOST_SLOTS.bit_length())]
    return sorted({1, *doubles, *(3 * double // 2 for double in doubles[1:-1])})


def power(slots: int, per_s: float) -> float:
    """X / R, with R = N / X by Little's law."""
    return per_s * per_s / slots


def _flat(rungs: Sequence[int], rates: Mapping[int, Sequence[float]]) -> bool:
    """Doubled requests in flight brought nothing: the last rung against the one of half as many."""
    last, half = rungs[-1], rungs[-3]
    return rates[last][0] < GAIN * rates[half][0]


def _rate(load: SlaLoad, log: Log, rung: int) -> Generator[Ask, Probe, float]:
    window, first = load.probe.first, not log.probes
    probe = yield from log.tried(Ask("ladder", "concurrency", rung, "observed", window, window, fresh_server=first))
    return probe.tally.delivered_per_s if probe.tally is not None else 0.0


def kneedle(curve: Mapping[int, float], sensitivity: float = SENSITIVITY) -> float | None:
    """The knee of a rising, concave curve, offline; None where there are too few points, or no knee."""
    xs, ys = list(curve), list(curve.values())
    if len(xs) < FEWEST or max(ys) == min(ys):
        return None
    x = [(value - xs[0]) / (xs[-1] - xs[0]) for value in xs]
    above = [(value - min(ys)) / (max(ys) - min(ys)) - at for value, at in zip(ys, x, strict=True)]
    drop = sensitivity * fmean(b - a for a, b in pairwise(x))
    peaks = [n for n in range(1, len(above) - 1) if above[n - 1] < above[n] >= above[n + 1]]
    for peak, following in pairwise([*peaks, len(above)]):
        if min(above[peak:following]) < above[peak] - drop:
            return xs[peak]
    return None
