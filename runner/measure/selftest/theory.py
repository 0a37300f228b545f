"""Closed forms of queues: what a perfect measurement would show. Times in units of the mean service time.

M/D/1: Erlang's exact waiting-time distribution; M/M/c: Erlang C (Kleinrock, *Queueing Systems* I, ch. 3 and 5).
"""

from __future__ import annotations

import decimal
import math
from collections.abc import Callable
from dataclasses import dataclass

_DIGITS = 60


@dataclass(frozen=True)
class Exact:
    """Mean and percentiles of the time in system."""

    mean: float
    p50: float
    p95: float
    p99: float

    def of(self, what: str) -> float:
        """By name: mean, p50, p95, p99."""
        return float(getattr(self, what))


def md1(load: float) -> Exact:
    """Poisson arrivals, constant service, one server."""
    return _exact(1 + load / (2 * (1 - load)), lambda t: _md1_cdf(t - 1, load))


def md1_load(q: float, limit: float) -> float:
    """The load of M/D/1 at which quantile q of the time in system is `limit` service times, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if _md1_cdf(limit - 1, middle) >= q else (low, middle)
    return low


def mm1(load: float) -> Exact:
    """Poisson arrivals, exponential service, one server: the time in system is exponential."""
    return mmc(load, 1)


def mmc(load: float, servers: int) -> Exact:
    """Poisson arrivals, exponential service, `servers` servers at this load each."""
    offered = load * servers
    busy = offered**servers / math.factorial(servers) / (1 - load)
    waits = busy / (sum(offered**k / math.factorial(k) for k in range(servers)) + busy)
    drain = servers * (1 - load)
    return _exact(1 + waits / drain, lambda t: _mmc_cdf(t, waits, drain))


def _mmc_cdf(t: float, waits: float, drain: float) -> float:
    if abs(drain - 1) < 1e-9:
        return 1 - math.exp(-t) * (1 + waits * t)
    return 1 - (1 - waits) * math.exp(-t) - waits * (drain * math.exp(-t) - math.exp(-drain * t)) / (drain - 1)


def _md1_cdf(wait: float, load: float) -> float:
    """P(W <= wait) = (1 - load) sum over k <= wait of (load (k - wait))^k / k! exp(load (wait - k)).

    The terms alternate and are far larger than their sum, so they are summed with many digits.
    """
    if wait < 0:
        return 0.0
    with decimal.localcontext(prec=_DIGITS):
        exactly = decimal.Decimal(load)
        total = decimal.Decimal(0)
        for k in range(math.floor(wait) + 1):
            x = exactly * (decimal.Decimal(wait) - k)
            total += ((-x) ** k if k else decimal.Decimal(1)) / math.factorial(k) * x.exp()
        return float((1 - exactly) * total)


def _exact(mean: float, cdf: Callable[[float], float]) -> Exact:
    return Exact(mean, *(_quantile(cdf, q) for q in (0.5, 0.95, 0.99)))


def _quantile(cdf: Callable[[float], float], q: float) -> float:
    """Smallest t with cdf(t) >= q, by bisection."""
    low, high = 0.0, 1.0
    while cdf(high) < q:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if cdf(middle) >= q else (middle, high)
    return high


def stall_mean_s(stall_s: float, every_s: float) -> float:
    """Mean wait of evenly spread requests for a server that freezes for `stall_s` in every `every_s`."""
    return stall_s**2 / (2 * every_s)


def stall_quantile_s(q: float, stall_s: float, every_s: float) -> float:
    """Their wait at quantile q: those that meet the stall wait evenly between nothing and all of it."""
    share = stall_s / every_s
    return max(0.0, stall_s * (1 - (1 - q) / share))


def daley_requests(load: float, half_width: float = 0.05, z: float = 1.96) -> float:
    """Requests that the mean *wait* of M/M/1 needs for an interval of ± `half_width` (Daley, 1968)."""
    variance = load * (2 + 5 * load - 4 * load**2 + load**3) / (1 - load) ** 4
    return (z / half_width) ** 2 * variance / (load / (1 - load)) ** 2
