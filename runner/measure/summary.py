"""A window of closed slices in numbers; a pure function, so that stored slices give the same numbers again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from runner.load.engine import Slice
from runner.measure.drift import Drift, find_drift, find_fall
from runner.measure.extras import extra_histograms, sequence_summary, stream_summary, time_split
from runner.measure.intervals import half_width, mean_latency, percentile, throughput
from runner.measure.saturation import Backlog, find_backlog
from runner.measure.series import Series, Window
from runner.measure.settings import MeasureSettings
from runner.measure.stopping import precise
from runner.measure.waves import first_wave
from runner.results.histogram import Histogram
from runner.results.records import Estimate, Percentile, Summary


@dataclass(frozen=True)
class Findings:
    """A summary with what the flags need beside it."""

    summary: Summary
    drift: Drift
    lag1: float
    """Correlation left between the batches of throughput or mean latency, the larger one."""
    targets: tuple[Percentile, ...]
    """Percentiles with a precision target, whether they are reported or not."""
    edge_requests: int
    """Requests in flight at the edges of the window, the larger of the two."""
    offered_per_s: float
    backlog: Backlog
    longest_stall_s: float
    histograms: dict[str, Histogram]


def summarise(
    slices: Sequence[Slice],
    window: Window,
    *,
    batch: int,
    workers: int,
    settings: MeasureSettings,
    steady: bool = True,
    stop_reason: str = "",
    is_open: bool = False,
    floor_ns: int | None = None,
    slots: int | None = None,
) -> Findings:
    """Every number of the window.

    `steady` is the warm-up's verdict, drift is added here; `slots` are the requests in flight of a closed loop;
    `floor_ns` is the end of the shortest warm-up.

    Raises:
        ValueError: nothing completed in the window.
    """
    series = Series.of(slices).within(window)
    behind_floor = _since(floor_ns, slices, series, window)
    if not series.completions:
        raise ValueError("no request completed in the window")
    histograms = _histograms(slices, window) | extra_histograms(slices, window)
    rate = throughput(series, window.seconds, settings.confidence)
    mean = mean_latency(series, settings.confidence)
    latency = histograms["latency"]
    percentiles = tuple(percentile(series, q, settings.confidence, latency) for q in settings.percentiles)
    drift = find_drift(series) if is_open else _drift(series, behind_floor)
    failures = int(series.failed.sum())
    cpu_s = float(series.cpu_ns.sum()) / 1e9
    in_flight_mean = float(series.in_flight_ns.sum()) / 1e9 / series.seconds
    # Latency counts from the intended send; in flight is a request from its actual one.
    stay_s = (histograms["service"].mean_ns if is_open else series.mean_ns) / 1e9
    summary = Summary(
        warmup_s=window.start_ns / 1e9,
        window_s=window.seconds,
        completions=series.completions,
        failures=failures,
        requests_per_s=rate.estimate,
        inferences_per_s=_inferences(series, window, rate.estimate, batch, settings),
        latency_mean_ms=mean.estimate,
        latency_max_ms=float(series.latency_max_ns.max()) / 1e6,
        percentiles=percentiles,
        in_flight_mean=in_flight_mean,
        littles_law_error=littles_law_error(in_flight_mean, rate.estimate.value, stay_s),
        send_lag_p99_ms=histograms["send_lag"].quantile(0.99) / 1e6 if histograms["send_lag"].count else 0.0,
        client_cpu_us_per_request=1e6 * cpu_s / (series.completions + failures),
        client_cpu_fraction=cpu_s / window.seconds / max(workers, 1),
        steady=steady and not drift.found,
        precision_met=precise(series, window, settings, settings.confidence),
        stop_reason=stop_reason,
        time_split=time_split(slices, window),
        sequences=sequence_summary(slices, window, histograms),
        stream=stream_summary(slices, window, histograms),
        offered_per_s=_offered_per_s(series, window) if is_open else None,
        first_wave=first_wave(series, slots) if _from_the_first(settings) and slots is not None else None,
    )
    return Findings(
        summary=summary,
        drift=drift,
        lag1=max(rate.lag1, mean.lag1) if settings.throughput or settings.mean else 0.0,
        targets=tuple(percentile(series, q, settings.confidence, latency) for q in settings.percentile_precision),
        edge_requests=max(series.in_flight_before, int(series.in_flight[-1])),
        offered_per_s=float(series.sent.sum()) / window.seconds,
        backlog=find_backlog(behind_floor),
        longest_stall_s=float(behind_floor.stall_max_ns.max()) / 1e9,
        histograms=histograms,
    )


def _drift(series: Series, whole: Series) -> Drift:
    """That of the window; else a fall since the shortest warm-up, whether or not the faster part was cut away.

    Of a closed loop: an open one starts with an empty queue and always becomes slower.
    """
    drift = find_drift(series)
    if drift.found or whole is series:
        return drift
    fall = find_fall(whole)
    return replace(fall, what=f"{fall.what} (from {whole.start_ns[0] / 1e9:.3g} s on)") if fall.found else fall


def _since(floor_ns: int | None, slices: Sequence[Slice], series: Series, window: Window) -> Series:
    """The window with what MSER-5 cut away before it: a growing queue or a hanging client looks like a warm-up."""
    if floor_ns is None or floor_ns >= window.start_ns:
        return series
    return Series.of(slices).within(Window(floor_ns, window.end_ns))


def _offered_per_s(series: Series, window: Window) -> float:
    """Requests that were due, those dropped included, per second."""
    return float((series.sent + series.dropped).sum()) / window.seconds


def littles_law_error(in_flight: float, per_s: float, mean_s: float) -> float:
    """|N - X R| / N: the requests in flight, counted, against what rate and latency imply."""
    return abs(in_flight - per_s * mean_s) / in_flight if in_flight > 0 else 0.0


def _histograms(slices: Sequence[Slice], window: Window) -> dict[str, Histogram]:
    inside = [s for s in slices if window.start_ns < s.end_ns <= window.end_ns]
    return {name: Histogram.merged(getattr(s, name) for s in inside) for name in ("latency", "service", "send_lag")}


def _inferences(series: Series, window: Window, requests: Estimate, batch: int, settings: MeasureSettings) -> Estimate:
    """Items per second, counted one by one where requests hold different numbers of them."""
    items = int(series.items.sum())
    if items in (0, series.completions * batch):
        return _scaled(requests, batch)
    return throughput(series, window.seconds, settings.confidence, series.items).estimate


def _scaled(estimate: Estimate, factor: int) -> Estimate:
    low = None if estimate.low is None else estimate.low * factor
    high = None if estimate.high is None else estimate.high * factor
    return Estimate(estimate.value * factor, low, high)


def unmet(findings: Findings, settings: MeasureSettings) -> list[tuple[str, float, float]]:
    """(what, half-width, limit) of every precision that was asked for and not reached, worst ratio first."""
    summary = findings.summary
    asked = [
        ("throughput", summary.requests_per_s, settings.throughput),
        ("mean latency", summary.latency_mean_ms, settings.mean),
    ]
    asked += [(f"p{p.q:g}", p.estimate, settings.percentile_precision[p.q]) for p in findings.targets]
    missed = [(what, half_width(e), limit) for what, e, limit in asked if limit is not None and half_width(e) > limit]
    return sorted(missed, key=lambda m: -m[1] / m[2] if m[2] else -m[1])


def encoded_histograms(findings: Findings) -> dict[str, str]:
    """Those that hold something, as a trial keeps them."""
    return {name: histogram.to_hdr_v2() for name, histogram in findings.histograms.items() if histogram.count}


def _from_the_first(settings: MeasureSettings) -> bool:
    """A fixed number of requests of which the first ones are measured, too."""
    return settings.requests is not None and not settings.warmup_requests
