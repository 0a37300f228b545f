"""Is the limit met at this load? Three answers: yes and no, each beyond chance, or not told yet.

Of n requests t missed the limit, but requests that queue behind each other miss it together: both are divided by tau,
the number of requests that carry the information of one. A percentile q is met when at most 1 - q of the requests miss,
so the verdict is a one-sided binomial test at 5 % on each side; at looks before the last one at 1 %, because whoever
looks five times is wrong more often than once. A load that is not kept up with is missed whatever the window has seen
so far, because its latency grows for as long as one cares to wait.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

from runner.results.capacity import Tally, Verdict

Rule = Literal["verdict", "observed", "stable percentile", "stable mean"]
"""How a load is judged: verdict: with confidence, for as long as it takes · observed: one window, by what the
percentile looks like · stable: perf_analyzer's three windows in a row, where unlike ones count as over the limit."""
SIGNIFICANCE, EARLY = 0.05, 0.01
"""Of the last look, and of those before it."""
DELIVERED = 0.99
"""Answers per request that is due, below which the server falls behind."""
CHANCE, SATURATED_CHANCE = 2.0, 1.0
"""Standard deviations by which even a queue at its limit wanders, the square root of the requests; fewer where answers
are fewer than the rate that was asked for, too, beyond chance."""

Judgement = tuple[Verdict, str]
"""The verdict and its reason."""


def judged(tally: Tally, rule: Rule, percentile: float, limit_ms: float | None, last: bool = True) -> Judgement:
    """The verdict on a window by a rule; `last`: there will be no longer one."""
    if limit_ms is None:
        return "pass", "no limit was given"
    if rule == "verdict":
        return confident(tally, percentile, SIGNIFICANCE if last else EARLY)
    if rule == "observed":
        return _compared(tally.quantile_ms <= limit_ms, f"p{percentile:g}", tally.quantile_ms, limit_ms)
    if not tally.steady:
        return "fail", "no three windows in a row are alike, which this strategy takes for a miss"
    if rule == "stable mean":
        return _compared(tally.mean_ms <= limit_ms, "the mean", tally.mean_ms, limit_ms)
    # perf_analyzer divides microseconds by 1000 as whole numbers, and a latency equal to the limit is over it.
    return _compared(int(tally.quantile_ms) < limit_ms, f"p{percentile:g}", tally.quantile_ms, limit_ms)


def confident(tally: Tally, percentile: float, significance: float = SIGNIFICANCE) -> Judgement:
    """Pass, fail, or unresolved so far."""
    if falls_behind(tally):
        return "fail", (
            f"the server does not keep up: {tally.delivered_per_s:.4g} of {tally.offered_per_s:.4g} requests/s were "
            f"answered, {tally.growth:+d} in flight"
        )
    may_miss = 1 - percentile / 100
    n, t = independent(tally)
    words = f"{tally.missed} of {tally.requests} missed, {t} of {n} independent ones; {may_miss:.4g} may"
    return _tested(n, t, may_miss, significance), words


def together(tallies: Sequence[Tally], percentile: float) -> Judgement:
    """The verdict on several windows at one load, none of which failed alone."""
    may_miss = 1 - percentile / 100
    counted = [independent(tally) for tally in tallies]
    n, t = sum(n for n, _ in counted), sum(t for _, t in counted)
    return _tested(n, t, may_miss, SIGNIFICANCE), f"together {t} of {n} independent requests missed; {may_miss:.4g} may"


def independent(tally: Tally) -> tuple[int, int]:
    """Requests and misses that are worth as much as independent ones; rounded against the service."""
    return math.floor(tally.requests / tally.tau), math.ceil(tally.missed / tally.tau)


def _tested(n: int, t: int, may_miss: float, significance: float) -> Verdict:
    from scipy import special

    if n and special.bdtr(t, n, may_miss) <= significance:
        return "pass"
    return "fail" if t and special.bdtrc(t - 1, n, may_miss) <= significance else "unresolved"


def falls_behind(tally: Tally) -> bool:
    """Requests pile up, beyond what chance piles up: the load is no load that can be kept up."""
    due = tally.offered_per_s * tally.window_s
    chance = SATURATED_CHANCE if tally.saturated else CHANCE
    return tally.growth > max((1 - DELIVERED) * due, chance * math.sqrt(due))


def fewest_requests(percentile: float) -> int:
    """So many that a window without a single miss passes."""
    return math.ceil(math.log(SIGNIFICANCE) / math.log(percentile / 100))


def _compared(met: bool, what: str, value_ms: float, limit_ms: float) -> Judgement:
    return "pass" if met else "fail", f"{what} was {value_ms:.4g} ms, the limit is {limit_ms:.4g} ms"
