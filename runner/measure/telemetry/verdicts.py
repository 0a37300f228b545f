"""What telemetry says against a point: throttling, drifting clocks, somebody else's load, memory errors, gaps.

Limits of foreign load depend on what the number is for. `publish` is for numbers that leave the house: there steal
above 1 % or foreign CPU above 5 % invalidate. Elsewhere a point is placed to a few percent among its neighbours, so
the same limits inform, and four times as much invalidates.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from runner.measure.flags import make_flag
from runner.measure.series import Window
from runner.measure.telemetry.recording import Recording, Track
from runner.results.records import Flag, SeriesSummary
from runner.results.telemetry import Span, cpu_share, foreign_cpu_share, gpu_indices

STEAL_LIMIT = 0.01
FOREIGN_LIMIT = 0.05
STRICT_PROFILE = "publish"
LENIENT_FACTOR = 4.0
THROTTLE_LIMIT = 0.005
CLOCK_LIMIT = 0.95
CLOCK_SAMPLES = 8
"""Fewer than two in a quarter of the window have no median worth the name."""
_SHOWN_GAPS = 2

Series = Mapping[str, SeriesSummary]


@dataclass(frozen=True)
class Scene:
    """What the checks look at."""

    series: Series
    recording: Recording
    span: Window
    """The measured window on the clock of the samples."""
    profile: str
    gaps: tuple[str, ...] = ()


def flags_of(scene: Scene) -> tuple[Flag, ...]:
    """Every flag that telemetry raises."""
    return tuple(flag for check in _CHECKS for flag in check(scene))


def _throttling(scene: Scene) -> Iterator[Flag]:
    """The worst GPU of each kind; sampled reasons and the driver's own counters of time, whichever says more."""
    for code, (counter, words) in _THROTTLED.items():
        shares = {index: _share(scene.series, index, code, counter) for index in gpu_indices(scene.series)}
        index, share = max(shares.items(), key=lambda item: item[1], default=(0, 0.0))
        if share > THROTTLE_LIMIT:
            yield make_flag(code, share, THROTTLE_LIMIT, what=words.format(gpu=index, share=share))


_THROTTLED: dict[str, tuple[str | None, str]] = {
    "throttled_thermal": (
        "thermal_violation_s",
        "GPU {gpu} was slowed down by its temperature for {share:.1%} of the window: look after its cooling",
    ),
    "throttled_hw": (
        None,
        "GPU {gpu} was slowed down by its hardware for {share:.1%} of the window: look after its power supply",
    ),
    "power_capped": (
        "power_violation_s",
        "GPU {gpu} held its clocks down for its power limit in {share:.1%} of the window: a property of this board at "
        "this limit, so compare only with the same",
    ),
}
"""Code of the flag, which is also the sampled state -> the driver's counter of time, and the sentence."""


def _share(series: Series, index: int, state: str, counter: str | None) -> float:
    sampled = series.get(f"gpu{index}.{state}")
    counted = series.get(f"gpu{index}.{counter}") if counter else None
    return max(sampled.mean or 0.0 if sampled else 0.0, counted.per_s or 0.0 if counted else 0.0)


def _clock_drift(scene: Scene) -> Iterator[Flag]:
    track = scene.recording.track("gpu")
    for index in gpu_indices(scene.series):
        ratio = _clock_ratio(track, f"gpu{index}.sm_clock_mhz", scene.span) if track else None
        if ratio is not None and ratio < CLOCK_LIMIT:
            words = f"the median clock of GPU {index} fell to {ratio:.0%} of that in the window's first quarter"
            words += ": warm up for longer, or lock the clocks"
            yield make_flag("clock_drift", ratio, CLOCK_LIMIT, what=words)
            return


def _clock_ratio(track: Track, name: str, span: Window) -> float | None:
    """Median of the rest of the window over that of its first quarter."""
    if name not in track.columns:
        return None
    times, values = track.series(name)
    inside = (times >= span.start_ns) & (times < span.end_ns)
    early = times[inside] < span.start_ns + (span.end_ns - span.start_ns) / 4
    clocks = values[inside]
    if len(clocks) < CLOCK_SAMPLES or not early.any() or early.all():
        return None
    before = float(np.median(clocks[early]))
    return float(np.median(clocks[~early])) / before if before else None


def _foreign_load(scene: Scene) -> Iterator[Flag]:
    """The most telling symptom first; one that invalidates before one that informs."""
    found = list(_foreign_symptoms(scene))
    found.sort(key=lambda flag: flag.consequence != "invalidates")
    yield from found[:1]


def _foreign_symptoms(scene: Scene) -> Iterator[Flag]:
    ooms, strangers = _whole(scene.series, "host.oom_kills"), _strangers(scene.series)
    if ooms:
        words = f"the kernel ended {ooms:.0f} processes for lack of memory"
        yield make_flag("foreign_load", ooms, 0.0, what=f"{words}: free memory, and measure again")
    if strangers:
        words = f"{strangers:.0f} processes that are not the server's computed on its GPUs"
        yield make_flag("foreign_load", strangers, 0.0, what=f"{words}: end them, and measure again")
    span: Span = "whole" if cpu_share(scene.series, "cpu_busy_s") is None else "delta"
    steal, foreign = cpu_share(scene.series, "cpu_steal_s", span), foreign_cpu_share(scene.series, span)
    words = "the hypervisor gave {value:.1%} of the CPU time to others{where}: use a machine of its own"
    yield from _above(scene, span, steal, STEAL_LIMIT, words)
    words = "other processes used {value:.1%} of the CPU time{where}: end them, and measure again"
    yield from _above(scene, span, foreign, FOREIGN_LIMIT, words)


def _above(scene: Scene, span: Span, value: float | None, limit: float, words: str) -> Iterator[Flag]:
    """Of a window too short for the samples the whole load is judged, warm-up and all: that informs and no more."""
    if value is None or value <= limit:
        return
    invalid_above = limit * (1.0 if scene.profile == STRICT_PROFILE else LENIENT_FACTOR)
    invalidates = span == "delta" and value > invalid_above
    where = "" if span == "delta" else " of the whole load (the window is too short to tell)"
    yield make_flag(
        "foreign_load",
        value,
        invalid_above if invalidates else limit,
        "invalidates" if invalidates else "informs",
        what=words.format(value=value, where=where),
    )


def _strangers(series: Series) -> float:
    """Most strangers at a time, over all GPUs."""
    found = [series.get(f"gpu{index}.strangers") for index in gpu_indices(series)]
    return sum(summary.max or 0.0 for summary in found if summary is not None)


def _errors(scene: Scene) -> Iterator[Flag]:
    names = [f"gpu{index}.ecc_uncorrected_volatile" for index in gpu_indices(scene.series)]
    names += [f"gpu{index}.remapped_rows" for index in gpu_indices(scene.series)]
    if uncorrected := sum(_whole(scene.series, name) for name in names):
        words = f"{uncorrected:.0f} uncorrected memory errors or remapped rows: results may be wrong; check the board"
        yield make_flag("ecc", uncorrected, 0.0, what=words)
    if xids := _whole(scene.series, "gpu.xids"):
        words = f"the GPU driver reported {xids:.0f} Xid errors: see the kernel log"
        yield make_flag("xid", xids, 0.0, what=words)


def _whole(series: Series, name: str) -> float:
    found = series.get(name)
    return (found.whole or 0.0) if found is not None else 0.0


def _gaps(scene: Scene) -> Iterator[Flag]:
    if scene.gaps:
        rest = len(scene.gaps) - _SHOWN_GAPS
        words = (
            "telemetry is incomplete, "
            + "; ".join(scene.gaps[:_SHOWN_GAPS])
            + (f"; and {rest} more" if rest > 0 else "")
        )
        yield make_flag("telemetry_gap", float(len(scene.gaps)), 0.0, what=words)


_CHECKS = (_throttling, _clock_drift, _foreign_load, _errors, _gaps)
