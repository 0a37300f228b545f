"""Virtual time for telemetry: recordings of fake boards and fake machines, exact and at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from runner.measure.series import Window
from runner.measure.telemetry.base import Source, Value
from runner.measure.telemetry.collect import Observed, observe
from runner.measure.telemetry.nvml import GpuSource
from runner.measure.telemetry.sampler import Clock, Recorder
from runner.results.nvml import Nvml
from runner.results.nvml_fake import FakeGpu, FakeNvmlLibrary

UNIX_S = 1_700_000_000.0


class Time:
    """Now, in virtual seconds."""

    def __init__(self, now_s: float = 100.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s

    @property
    def clock(self) -> Clock:
        return Clock(lambda: round(self.now_s * 1e9), lambda: round((self.now_s + UNIX_S) * 1e9))


def gpu_source(time: Time, *gpus: FakeGpu, ours: frozenset[int] | None = None) -> GpuSource:
    library = FakeNvmlLibrary(gpus, time)
    return GpuSource(Nvml(lambda _name: library), ours=None if ours is None else lambda: ours, xids=NoXids())


class NoXids:
    """A kernel log that nobody may read, or one with so many messages."""

    def __init__(self, counts: Callable[[], int] | None = None) -> None:
        self.counts = counts
        self.absent = None if counts else "/dev/kmsg: Permission denied"

    def read(self) -> int | None:
        return self.counts() if self.counts else None

    def close(self) -> None: ...


def recorded(
    time: Time,
    sources: Sequence[Source],
    seconds: float,
    period_s: float = 1.0,
    late_s: Sequence[float] = (0.0,),
    **how: Any,
) -> Recorder:
    """A whole trial of a load that begins at once: readings before, at each beat (late by turns), and after."""
    recorder = Recorder(sources, period_s, clock=time.clock, threads=False, **how)
    start_s = time.now_s
    with recorder:
        recorder.align(round((start_s + UNIX_S) * 1e9))
        for beat in range(1, int(seconds / period_s) + 1):
            time.now_s = start_s + beat * period_s + late_s[beat % len(late_s)]
            recorder.take()
        time.now_s = start_s + seconds + max(late_s) + 0.01
    return recorder


def seen(recorder: Recorder, start_s: float, end_s: float, profile: str = "explore") -> Observed:
    return observe(recorder, Window(round(start_s * 1e9), round(end_s * 1e9)), profile)


def codes(observed: Observed) -> list[str]:
    return [flag.code for flag in observed.flags]


def host(time: Time, cpus: int = 4, **busy_per_s: float) -> Callable[[float], dict[str, Value]]:
    """A machine whose CPU times grow at these rates: busy, client, server, steal in CPU seconds per second."""
    start_s = time.now_s

    def script(now_s: float) -> dict[str, Value]:
        passed_s = now_s - start_s
        times = {f"host.cpu_{name}_s": busy_per_s.get(name, 0.0) * passed_s for name in ("busy", "steal")}
        times |= {
            f"host.{name}_cpu_s": busy_per_s[name] * passed_s for name in ("client", "server") if name in busy_per_s
        }
        times["host.cpu_total_s"] = cpus * passed_s
        return {name: Value(value, "s", "counter") for name, value in times.items()}

    return script
