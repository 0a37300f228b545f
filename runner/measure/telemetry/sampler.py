"""Reads every source at its beat while a load runs, each in a thread of its own, and never fails the trial.

A thread for each source, because one that hangs (a driver, a busy endpoint) must not stop the others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from runner.errors import RunnerError
from runner.measure.telemetry.base import Source
from runner.measure.telemetry.recording import Recording, Track

JOIN_S = 5.0
"""A source that has not come back by then is left behind; its thread ends with the process."""


@dataclass(frozen=True)
class Clock:
    """Where the time comes from; tests turn their own."""

    monotonic_ns: Callable[[], int] = time.monotonic_ns
    unix_ns: Callable[[], int] = time.time_ns


class Sampler:
    """One source: a reading at the start, one at each beat of an absolute schedule, one at the end."""

    def __init__(self, source: Source, period_s: float, clock: Clock) -> None:
        self.source, self.clock = source, clock
        self.track = Track(source.name)
        self._period_ns = round(period_s * 1e9)
        self._stop = threading.Event()
        self._writing = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"telemetry-{source.name}", daemon=True)

    def take(self) -> None:
        """Read once; a defect of a source is a reason like any other."""
        at_ns, cpu_ns = self.clock.monotonic_ns(), time.thread_time_ns()
        try:
            values, absent = self.source.read(), dict(self.source.absent())
        except Exception as error:  # telemetry never costs a measurement
            values, absent = {}, {self.source.name: f"{type(error).__name__}: {error}"}
        with self._writing:
            if not self._closed:
                self.track.add(at_ns, values)
                self.track.absent = absent
                self.track.cpu_ns += time.thread_time_ns() - cpu_ns

    def start(self, beats: bool) -> None:
        """The first reading is over when this returns: the load has not begun."""
        self.take()
        try:
            if beats:
                self._thread.start()
        except RuntimeError as error:  # no more threads: the readings before and after the load remain
            self.track.absent[self.source.name] = str(error)

    def stop(self) -> None:
        """The last reading is taken when the load is over, unless the source does not come back."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(JOIN_S)
        hangs = self._thread.is_alive()
        if not hangs:
            self.take()
        with self._writing:
            # A reading that comes back after all must not write into what is being evaluated.
            self._closed = True
            if hangs:
                self.track.absent[self.source.name] = f"a reading did not end within {JOIN_S:g} s"

    def _run(self) -> None:
        start_ns, beat = self.clock.monotonic_ns(), 1
        while not self._stop.wait((start_ns + beat * self._period_ns - self.clock.monotonic_ns()) / 1e9):
            self.take()
            # Beats that a slow reading has missed are left out: catching up would bunch samples.
            beat = max(beat + 1, (self.clock.monotonic_ns() - start_ns) // self._period_ns + 1)


@dataclass
class Recorder:
    """The samplers of one trial, as a context around its load; without sources it does nothing."""

    sources: Sequence[Source] = ()
    period_s: float = 1.0
    asked: Collection[str] = ()
    """Sources that the scenario names: without them something is missing, not merely absent."""
    series: Sequence[str] = ()
    """Series that the scenario names."""
    aggregation: str = "window"
    path: Path | None = None
    """Where all samples go."""
    absent: dict[str, str] = field(default_factory=dict)
    """Sources that could not even be made, and why."""
    clock: Clock = field(default_factory=Clock)
    threads: bool = True
    """False: no beats of its own; a test in virtual time calls `take`."""
    samplers: tuple[Sampler, ...] = field(default=(), init=False)
    recording: Recording | None = field(default=None, init=False)
    _origin_ns: int | None = field(default=None, init=False)

    def __enter__(self) -> Recorder:
        self.samplers = tuple(Sampler(source, self.period_s, self.clock) for source in self.sources)
        for sampler in self.samplers:
            sampler.start(self.threads)
        # Taken just before the load begins: a later step of the wall clock does not matter.
        self._began_ns = self.clock.monotonic_ns()
        self._wall_ahead_ns = self.clock.unix_ns() - self._began_ns
        return self

    def take(self) -> None:
        """One reading of every source now."""
        for sampler in self.samplers:
            sampler.take()

    def align(self, started_unix_ns: int) -> None:
        """Say when the load began by the wall clock."""
        origin_ns = started_unix_ns - self._wall_ahead_ns
        if self._began_ns - 1_000_000 <= origin_ns <= self.clock.monotonic_ns():
            self._origin_ns = origin_ns

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for sampler in self.samplers:
            sampler.stop()
        tracks = tuple(sampler.track for sampler in self.samplers)
        self.recording = Recording(
            tracks=tracks,
            period_s=self.period_s,
            origin_ns=self._origin_ns,
            stopped_ns=self.clock.monotonic_ns(),
        )
        if self.path is not None and tracks:
            self._write(self.path, self.recording)
        for source in self.sources:
            with suppress(Exception):
                source.close()

    def _write(self, path: Path, recording: Recording) -> None:
        try:
            recording.write(path, self._began_ns if recording.origin_ns is None else recording.origin_ns)
        except (OSError, RunnerError) as error:
            self.absent["samples"] = f"not written: {error}"
