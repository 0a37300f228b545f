"""Samples joined to the measured window: pure functions of a recording.

A gauge is averaged over the time of the window: each sample stands for the time that is nearer to it than to its
neighbours. A counter is read at the edges of the window by a straight line between the samples on either side; one
that fell was reset, and has no growth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from runner.measure.series import Window
from runner.measure.telemetry.recording import Recording, Track
from runner.results.records import SeriesSummary

Times = npt.NDArray[np.int64]
Values = npt.NDArray[np.float64]

GAP_PERIODS = 2.5
"""Longer without a sample is a gap: one beat that came late is none."""
SHORTEST_PERIODS = 2.0
"""A counter needs so many periods between the edges: in less the line between samples is mostly outside."""


@dataclass
class Joined:
    """Summaries of one trial; what is missing, and what should not be."""

    series: dict[str, SeriesSummary] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    gaps: list[str] = field(default_factory=list)


def join(
    recording: Recording,
    window: Window,
    *,
    asked: Callable[[str], bool] = lambda _series: False,
    aggregation: str = "window",
) -> Joined:
    """Every series of the recording, without details, over `window` (nanoseconds from the start of the load)."""
    joined = Joined()
    for track in recording.tracks:
        joined.absent |= track.absent
        if track.refused:
            joined.absent[f"{track.source}.more"] = track.refused
    if recording.origin_ns is None:
        why = "the clock of the load and that of the samples cannot be put together"
        joined.absent["window"] = why
        joined.gaps += [why] if any(len(track.times_ns) for track in recording.tracks) else []
        return joined
    span = Window(recording.origin_ns + window.start_ns, recording.origin_ns + window.end_ns)
    for track in recording.tracks:
        if len(track.times_ns):
            joined.gaps += _gaps(track, span, recording)
            _join_track(track, span, recording, joined, asked, aggregation)
    return joined


def _join_track(
    track: Track, span: Window, recording: Recording, joined: Joined, asked: Callable[[str], bool], aggregation: str
) -> None:
    for name, column in track.columns.items():
        if column.detail:
            continue
        times, values = track.series(name)
        if column.kind == "counter":
            summary, problem = _counter(times, values, span, recording.period_s, column.unit)
            summary, problem = _moving(name, summary, problem)
        else:
            summary = _gauge(times, values, span, column.unit, weighted=aggregation == "window")
            problem = None if summary.samples else _TOO_SHORT
        joined.series[name] = replace(summary, asked=asked(name))
        if problem is not None:
            joined.absent[name] = problem
            joined.gaps += [f"{name}: {problem}"] if problem.startswith((_RESET, _STUCK)) else []
        elif len(times) and times[-1] >= span.end_ns:
            joined.absent.pop(name, None)  # only a reading after the window lacked it


_TOO_SHORT = "no sample fell into the window: sample more often, or measure longer"
_RESET = "the counter fell"
_STUCK = "the counter did not move"


def _gauge(times: Times, values: Values, span: Window, unit: str, weighted: bool) -> SeriesSummary:
    inside = (times >= span.start_ns) & (times < span.end_ns)
    chosen = values[inside]
    if not len(chosen):
        return SeriesSummary("gauge", unit, 0)
    weights = _weights(times[inside], span) if weighted else np.ones(len(chosen))
    return SeriesSummary(
        "gauge",
        unit,
        len(chosen),
        mean=float(np.average(chosen, weights=weights)),
        min=float(chosen.min()),
        max=float(chosen.max()),
        first=float(chosen[0]),
        last=float(chosen[-1]),
    )


def _weights(times: Times, span: Window) -> Values:
    """Time for which each sample is the nearest one."""
    middles = (times[1:] + times[:-1]) / 2
    return np.diff(np.concatenate(([span.start_ns], middles, [span.end_ns])))


def _counter(
    times: Times, values: Values, span: Window, period_s: float, unit: str
) -> tuple[SeriesSummary, str | None]:
    inside = int(((times >= span.start_ns) & (times < span.end_ns)).sum())
    summary = SeriesSummary("counter", unit, inside, whole=_growth(values))
    first = int(np.searchsorted(times, span.start_ns, "right")) - 1
    last = int(np.searchsorted(times, span.end_ns, "left"))
    if first < 0 or last >= len(times):
        return summary, "no samples on both sides of the window"
    fallen = np.flatnonzero(np.diff(values[first : last + 1]) < 0)
    if len(fallen):
        at_s = (int(times[first + int(fallen[0]) + 1]) - span.start_ns) / 1e9
        return summary, f"{_RESET} at {at_s:+.3g} s of the window: it was reset"
    if span.seconds < SHORTEST_PERIODS * period_s:
        return summary, "the window is shorter than two sampling periods"
    low, high = np.interp([span.start_ns, span.end_ns], times, values)
    delta = float(high - low)
    return replace(summary, delta=delta, per_s=delta / span.seconds), None


def _growth(values: Values) -> float | None:
    """From the first reading to the last; None for a counter that fell in between."""
    if len(values) < 2 or bool((np.diff(values) < 0).any()):
        return None
    return float(values[-1] - values[0])


def _moving(name: str, summary: SeriesSummary, problem: str | None) -> tuple[SeriesSummary, str | None]:
    """A board that is on uses energy: a counter that says otherwise is broken, and its 0 J would look like a saving."""
    if name.endswith(".energy_j") and summary.delta == 0:
        return replace(summary, delta=None, per_s=None), f"{_STUCK} in the window"
    return summary, problem


def _gaps(track: Track, span: Window, recording: Recording) -> list[str]:
    """Times of the window without a reading that are too long for one late beat."""
    limit_ns = GAP_PERIODS * recording.period_s * 1e9
    times = np.array(track.times_ns, dtype=np.int64)
    before, after = times[times < span.start_ns], times[times >= span.end_ns]
    inside = times[(times >= span.start_ns) & (times < span.end_ns)]
    edges = [before[-1:] if len(before) else [span.start_ns], inside, after[:1] if len(after) else [span.end_ns]]
    moments = np.concatenate(edges)
    widths = np.diff(moments)
    found = np.flatnonzero(widths > limit_ns)
    return [
        f"{track.source}: no reading for {widths[n] / 1e9:.3g} s at {(moments[n] - span.start_ns) / 1e9:+.3g} s of the "
        f"window{_because(track)}"
        for n in found.tolist()
    ]


def _because(track: Track) -> str:
    why = track.absent.get(track.source)
    return f" ({why})" if why else ""
