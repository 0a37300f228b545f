"""Where the steady part of a trial begins: floors, then the MSER-5 cut.

MSER: White, *Simulation* 69 (1997); MSER-5: White, Cobb & Spratt, Winter Simulation Conference 2000.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from runner.measure.series import Floats, Series
from runner.measure.settings import MeasureSettings

GROUP = 5
"""Bins averaged into one value of MSER-5."""
BIN_NS = 100_000_000
MAX_BINS = 300
COMPLETIONS_PER_BIN = 5
ENOUGH_VALUES = 20
"""Bins are grouped only as far as so many values are left."""
FEWEST_VALUES = 10
"""MSER on fewer values says nothing."""
EDGE_SIGNIFICANCE = 0.01
_ROUNDING = 1e-14


@dataclass(frozen=True)
class Warmup:
    """`end_ns` is the end of the last dropped slice; not `steady` when MSER would drop as much as it may."""

    end_ns: int
    steady: bool
    requests_per_slot: float
    """Answers dropped, per request in flight."""
    floor_ns: int | None = None
    """End of the shortest warm-up; what was dropped after it is MSER-5's choice. None where it chose nothing."""
    wanted: float | None = None
    """Share of the trial that the rule wants to drop."""


@dataclass(frozen=True)
class Mser:
    """`cut` of `length` values are dropped.

    `at_edge`: the minimum lies where the search ends, so it is none, and the dropped half does differ from the rest.
    """

    cut: int
    length: int
    at_edge: bool


def mser(values: Floats) -> Mser:
    """The cut d <= k/2 that minimises the squared standard error of the rest, sum (Z - mean)^2 / (k - d)^2."""
    k = len(values)
    half = k // 2
    mean = float(values.mean())
    if k < FEWEST_VALUES or not mean:
        return Mser(0, k, False)
    z = values / mean - 1
    tail = np.cumsum(z[::-1])[::-1][: half + 1]
    tail_squares = np.cumsum(z[::-1] ** 2)[::-1][: half + 1]
    left = k - np.arange(half + 1)
    score = (tail_squares - tail**2 / left) / left**2
    # Rounding must not make a constant series look as if its end were steadier than its beginning.
    cut = int(np.argmax(score <= max(float(score.min()), _ROUNDING)))
    return Mser(cut, k, cut >= half and _differ(z[:cut], z[cut:]))


def _differ(first: Floats, rest: Floats) -> bool:
    """The means differ beyond chance (Welch's t): white noise, too, has its minimum at the edge in 3 % of series."""
    from scipy import special

    gap = float(first.mean() - rest.mean())
    error = math.sqrt(float(first.var(ddof=1)) / len(first) + float(rest.var(ddof=1)) / len(rest))
    if error <= _ROUNDING:
        return gap != 0
    degrees = min(len(first), len(rest)) - 1
    return 2 * float(special.stdtr(degrees, -abs(gap) / error)) < EDGE_SIGNIFICANCE


def find_warmup(series: Series, settings: MeasureSettings, slots: int) -> Warmup:
    """Drop by the floors, then by the later MSER-5 cut of completions and median latency, up to `max_fraction`."""
    floor_ns = floor(series, settings, slots)
    if not len(series) or settings.measures_all:
        return Warmup(floor_ns, True, dropped_per_slot(series, floor_ns, slots), floor_ns)
    cut_ns, at_edge = _mser_cut(series)
    begin, end = int(series.start_ns[0]), int(series.end_ns[-1])
    most_ns = begin + int(settings.warmup_max_fraction * (end - begin))
    wanted_ns = max(floor_ns, cut_ns)
    end_ns = max(floor_ns, min(wanted_ns, most_ns))
    steady = not at_edge and wanted_ns <= end_ns
    end_ns = _at_edge_of_slice(series, end_ns)
    wanted = (wanted_ns - begin) / max(end - begin, 1)
    return Warmup(end_ns, steady, dropped_per_slot(series, end_ns, slots), floor_ns, wanted)


def floor(series: Series, settings: MeasureSettings, slots: int) -> int:
    """End of the shortest warm-up: minimum time, minimum answers, and those per slot as far as `max_fraction` lets."""
    min_ns = int(settings.warmup_min_s * 1e9)
    most_ns = int(settings.warmup_max_fraction * settings.deadline_s * 1e9)
    by_slots_ns = min(_answered_ns(series, settings.warmup_min_requests_per_slot * slots), most_ns)
    return _at_edge_of_slice(series, max(min_ns, by_slots_ns, _answered_ns(series, settings.warmup_requests)))


def _answered_ns(series: Series, count: int) -> int:
    """When so many requests had been answered; the end of the series while they have not."""
    if not count or not len(series):
        return 0
    reached = int(np.searchsorted(np.cumsum(series.ok + series.failed), count))
    return int(series.end_ns[min(reached, len(series) - 1)])


def _at_edge_of_slice(series: Series, time_ns: int) -> int:
    """The first slice end at or after `time_ns`; `time_ns` itself beyond the data, or before any."""
    position = int(np.searchsorted(series.end_ns, time_ns))
    if time_ns <= 0 or position >= len(series):
        return time_ns
    return int(series.end_ns[position])


def dropped_per_slot(series: Series, end_ns: int, slots: int) -> float:
    """Answers until `end_ns`, per request in flight."""
    dropped = series.end_ns <= end_ns
    return float((series.ok + series.failed)[dropped].sum()) / slots


def _mser_cut(series: Series) -> tuple[int, bool]:
    """End of the later cut of the two series, and whether it lies at the edge of the search."""
    bins = bin_count(series)
    parts = series.parts(bins)
    completions = series.totals(series.ok, parts, bins)
    width = series.totals(series.end_ns - series.start_ns, parts, bins)
    medians = series.medians_ns(parts, bins)
    # A bin without completions has no median; the one before stands in for it.
    for missing in np.flatnonzero(np.isnan(medians)):
        medians[missing] = medians[missing - 1] if missing else np.nanmin(medians) if series.completions else 0.0
    size = _group(bins)
    results = [mser(_grouped(completions / np.maximum(width, 1), size)), mser(_grouped(medians, size))]
    cut = max(r.cut for r in results)
    if not cut:
        return 0, False
    last = int(np.flatnonzero(parts < min(cut * size, bins))[-1])
    return int(series.end_ns[last]), any(r.at_edge for r in results)


def bin_count(series: Series) -> int:
    """Bins of 100 ms or more: at most 300, at most one per slice, five completions in each on average."""
    span = int(series.end_ns[-1] - series.start_ns[0])
    return max(1, min(span // BIN_NS, MAX_BINS, len(series), series.completions // COMPLETIONS_PER_BIN))


def _group(bins: int) -> int:
    """Five bins to a value; fewer when that leaves too few values (a bin of a slow point holds five requests)."""
    return max(1, min(GROUP, bins // ENOUGH_VALUES))


def _grouped(values: Floats, size: int) -> Floats:
    whole = len(values) // size
    return np.asarray(values[: whole * size].reshape(whole, size).mean(axis=1), np.float64)
