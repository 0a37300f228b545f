"""From a scenario's wishes to a recorder with sources, and from its recording to what a trial keeps."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from runner.measure.series import Window
from runner.measure.telemetry.base import Source
from runner.measure.telemetry.exposition import Selector, series_name
from runner.measure.telemetry.host import HostSource
from runner.measure.telemetry.join import join
from runner.measure.telemetry.nvml import GpuSource
from runner.measure.telemetry.processes import ProcessTree
from runner.measure.telemetry.prometheus import PrometheusSource
from runner.measure.telemetry.recording import Recording
from runner.measure.telemetry.sampler import Recorder
from runner.measure.telemetry.verdicts import Scene, flags_of
from runner.results.facts import hide_identifiers
from runner.results.nvml import Nvml, NvmlError
from runner.results.records import Flag, SeriesSummary
from runner.scenario.schema import Telemetry

ALL = ("host", "prometheus", "gpu")


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What can be sampled around one server."""

    metrics: str | None = None
    """The server's metrics endpoint: host:port, or a URL."""
    server_pids: Sequence[int] | None = None
    """Roots of the server's processes on this machine; None where they are not known."""
    server_is_here: bool = True
    """False where the server runs on another machine, so that this one's GPUs are not its own."""
    models: Collection[str] = ()
    """The called model and its parts."""
    identify: bool = False


@dataclass
class TelemetryRoom:
    """Makes recorders; keeps the session with the GPU driver, which takes long to open, for the whole run."""

    load_nvml: Callable[[], Nvml] = Nvml
    _nvml: Nvml | str | None = field(default=None, init=False)

    def recorder(self, wishes: Telemetry, around: Surroundings, path: Path | None = None) -> Recorder:
        """For one trial; a source that there is not is absent with its reason."""
        absent: dict[str, str] = {}
        sources = list(self._sources(wishes, around, absent))
        return Recorder(
            sources,
            wishes.period,
            asked=wishes.sources or (),
            series=wishes.series,
            aggregation=wishes.aggregation,
            path=path,
            absent=absent,
        )

    def close(self) -> None:
        """End the session with the driver."""
        if isinstance(self._nvml, Nvml):
            self._nvml.close()
        self._nvml = None

    def _sources(self, wishes: Telemetry, around: Surroundings, absent: dict[str, str]) -> list[Source]:
        names = ALL if wishes.sources is None else wishes.sources
        found: list[Source] = [HostSource(around.server_pids)] if "host" in names else []
        if "prometheus" in names:
            found += _prometheus(wishes, around, absent)
        if "gpu" in names and wishes.sources is None and not around.server_is_here:
            absent["gpu"] = "the server is remote, this machine's GPUs are not its own: see its metrics"
        elif "gpu" in names:
            found += self._gpu(wishes, around, absent)
        return found

    def _gpu(self, wishes: Telemetry, around: Surroundings, absent: dict[str, str]) -> list[Source]:
        if self._nvml is None:
            try:
                self._nvml = self.load_nvml()
            except (NvmlError, AttributeError) as error:
                self._nvml = str(error)
        if isinstance(self._nvml, str):
            absent["gpu"] = self._nvml
            return []
        server = None if around.server_pids is None else ProcessTree((*around.server_pids, os.getpid()))
        ours = None if server is None else server.living
        try:
            return [GpuSource(self._nvml, period_s=wishes.period, indices=wishes.gpus, ours=ours)]
        except NvmlError as error:
            absent["gpu"] = str(error)
            return []


def _prometheus(wishes: Telemetry, around: Surroundings, absent: dict[str, str]) -> list[Source]:
    url = wishes.url or _metrics_url(around.metrics)
    if url is None:
        absent["prometheus"] = "the server has no metrics endpoint; measure.telemetry.url names another one"
        return []
    return [
        PrometheusSource(
            url,
            selectors=[Selector.parse(text) for text in wishes.series],
            models=around.models,
            everything=wishes.url is not None and not wishes.series,
            hide=str if around.identify else hide_identifiers,
        )
    ]


def _metrics_url(place: str | None) -> str | None:
    return f"http://{place}/metrics" if place and "://" not in place else place


@dataclass(frozen=True)
class Observed:
    """What a trial keeps of its telemetry."""

    series: dict[str, SeriesSummary] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    flags: tuple[Flag, ...] = ()


def observe(recorder: Recorder, window: Window, profile: str) -> Observed:
    """Join what was recorded to the measured window, and judge it; nothing without sources and wishes."""
    recording = recorder.recording
    if recording is None or not (recorder.sources or recorder.absent):
        return Observed()
    selectors = [Selector.parse(text) for text in recorder.series]
    joined = join(
        recording,
        window,
        asked=lambda name: any(selector.matches_series(name) for selector in selectors),
        aggregation=recorder.aggregation,
    )
    if any(track.times_ns for track in recording.tracks):
        joined.series["telemetry.cpu_s"] = _cost(recording)
    absent = {**recorder.absent, **joined.absent}
    gaps = [*joined.gaps, *_missing(recorder, set(joined.series), selectors, absent)]
    origin_ns = recording.origin_ns or 0
    scene = Scene(
        series=joined.series,
        recording=recording,
        span=Window(origin_ns + window.start_ns, origin_ns + window.end_ns),
        profile=profile,
        gaps=tuple(gaps),
    )
    return Observed(joined.series, absent, flags_of(scene))


def _cost(recording: Recording) -> SeriesSummary:
    """CPU time that sampling itself took in the trial, by all sources."""
    readings = sum(len(track.times_ns) for track in recording.tracks)
    return SeriesSummary("counter", "s", readings, whole=sum(track.cpu_ns for track in recording.tracks) / 1e9)


def _missing(recorder: Recorder, found: set[str], selectors: Sequence[Selector], absent: dict[str, str]) -> list[str]:
    """What the scenario names and did not get."""
    read = {sampler.track.source for sampler in recorder.samplers if len(sampler.track.times_ns)}
    gaps = [f"{name}: {absent.get(name, 'never read')}" for name in recorder.asked if name not in read]
    for selector in selectors:
        name = series_name(selector.name, selector.labels)
        if not any(selector.matches_series(series) for series in found):
            absent.setdefault(name, absent.get("prometheus", "not among the sampled series"))
            gaps.append(f"{name}: {absent[name]}")
    if "samples" in absent:
        gaps.append(f"samples: {absent['samples']}")
    return gaps
