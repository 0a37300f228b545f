"""A window of closed slices in numbers; a pure function, so that stored slices give the same numbers again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from runner.load.engine import Slice
from runner.measure.drift import Drift, find_drift, find_fall
from runner.measure.extras import extra_histograms, sequence_summary, stream_summary, time_split
from runner.measure.intervals import BatchMeans, half_width, mean_latency, percentile, throughput
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
    seen = _Seen.of(slices, window, settings, is_open, floor_ns)
    series = seen.series
    drift = find_drift(series) if is_open else _drift(series, seen.behind_floor)
    summary = _summary(
        seen, slices, batch=batch, workers=workers, slots=slots, steady=steady and not drift.found, reason=stop_reason
    )
    return Findings(
        summary=summary,
        drift=drift,
        lag1=max(seen.rate.lag1, seen.mean.lag1) if settings.throughput or settings.mean else 0.0,
        targets=seen.percentiles(settings.percentile_precision),
        edge_requests=max(series.in_flight_before, int(series.in_flight[-1])),
        offered_per_s=float(series.sent.sum()) / window.seconds,
        backlog=find_backlog(seen.behind_floor),
        longest_stall_s=float(seen.behind_floor.stall_max_ns.max()) / 1e9,
        histograms=seen.histograms,
    )


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """A window, and what several of its numbers are made from."""

    window: Window
    settings: MeasureSettings
    is_open: bool
    series: Series
    behind_floor: Series
    """Everything behind the shortest warm-up, up to the end of the window."""
    histograms: dict[str, Histogram]
    rate: BatchMeans
    mean: BatchMeans

    @classmethod
    def of(
        cls, slices: Sequence[Slice], window: Window, settings: MeasureSettings, is_open: bool, floor_ns: int | None
    ) -> _Seen:
        """What the slices hold of the window.

        Raises:
            ValueError: nothing completed in it.
        """
        series = Series.of(slices).within(window)
        if not series.completions:
            raise ValueError("no request completed in the window")
        return cls(
            window=window,
            settings=settings,
            is_open=is_open,
            series=series,
            behind_floor=_since(floor_ns, slices, series, window),
            histograms=_histograms(slices, window) | extra_histograms(slices, window),
            rate=throughput(series, window.seconds, settings.confidence),
            mean=mean_latency(series, settings.confidence),
        )

    def percentiles(self, quantiles: Iterable[float]) -> tuple[Percentile, ...]:
        """Of the latency, with their intervals."""
        confidence, latency = self.settings.confidence, self.histograms["latency"]
        return tuple(percentile(self.series, q, confidence, latency) for q in quantiles)

    @property
    def in_flight_mean(self) -> float:
        """Requests in flight, counted."""
        return float(self.series.in_flight_ns.sum()) / 1e9 / self.series.seconds

    @property
    def littles_law_error(self) -> float:
        """Latency counts from the intended send; in flight is a request from its actual one."""
        stay_s = (self.histograms["service"].mean_ns if self.is_open else self.series.mean_ns) / 1e9
        return littles_law_error(self.in_flight_mean, self.rate.estimate.value, stay_s)

    @property
    def send_lag_p99_ms(self) -> float:
        """0 where no lag was taken down, as in a closed loop."""
        lag = self.histograms["send_lag"]
        return lag.quantile(0.99) / 1e6 if lag.count else 0.0


def _summary(
    seen: _Seen,
    slices: Sequence[Slice],
    *,
    batch: int,
    workers: int,
    slots: int | None,
    steady: bool,
    reason: str,
) -> Summary:
    """What a trial keeps of its window."""
    series, window, settings, histograms = seen.series, seen.window, seen.settings, seen.histograms
    failures, cpu_s = int(series.failed.sum()), float(series.cpu_ns.sum()) / 1e9
    return Summary(
        warmup_s=window.start_ns / 1e9,
        window_s=window.seconds,
        completions=series.completions,
        failures=failures,
        requests_per_s=seen.rate.estimate,
        inferences_per_s=_inferences(series, window, seen.rate.estimate, batch, settings),
        latency_mean_ms=seen.mean.estimate,
        latency_max_ms=float(series.latency_max_ns.max()) / 1e6,
        percentiles=seen.percentiles(settings.percentiles),
        in_flight_mean=seen.in_flight_mean,
        littles_law_error=seen.littles_law_error,
        send_lag_p99_ms=seen.send_lag_p99_ms,
        client_cpu_us_per_request=1e6 * cpu_s / (series.completions + failures),
        client_cpu_fraction=cpu_s / window.seconds / max(workers, 1),
        steady=steady,
        precision_met=precise(series, window, settings, settings.confidence),
        stop_reason=reason,
        time_split=time_split(slices, window),
        sequences=sequence_summary(slices, window, histograms),
        stream=stream_summary(slices, window, histograms),
        offered_per_s=_offered_per_s(series, window) if seen.is_open else None,
        first_wave=first_wave(series, slots) if _from_the_first(settings) and slots is not None else None,
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
