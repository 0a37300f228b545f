"""Threads that sample beside a load, and the room that makes recorders for trials."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runner.measure.telemetry import sampler as sampler_module
from runner.measure.telemetry.base import Value
from runner.measure.telemetry.collect import Surroundings, TelemetryRoom
from runner.measure.telemetry.fake import FakeSource
from runner.measure.telemetry.prometheus import PrometheusSource
from runner.measure.telemetry.sampler import Clock, Recorder, Sampler
from runner.results.nvml import Nvml, NvmlError
from runner.results.nvml_fake import FakeGpu, FakeNvmlLibrary
from runner.scenario.schema import Telemetry
from tests.unit.measure.telemetry.virtual import codes, seen


def ones(name: str = "fake", wait: Callable[[], object] = lambda: None) -> FakeSource:
    def script(_now_s: float) -> dict[str, Value]:
        wait()
        return {f"{name}.x": Value(1.0)}

    return FakeSource(script, time.monotonic, name=name)


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_it_reads_before_the_load_at_beats_and_after_the_load() -> None:
    source = ones()
    with Recorder([source], 0.02) as recorder:
        (sampler,) = recorder.samplers
        assert len(sampler.track.times_ns) == 1
        until(lambda: len(sampler.track.times_ns) >= 4)
        read = len(sampler.track.times_ns)
    assert recorder.recording is not None
    times = list(recorder.recording.tracks[0].times_ns)
    assert len(times) > read
    assert times == sorted(times)
    assert source.closed
    assert not any(thread.name == "telemetry-fake" for thread in threading.enumerate())


def test_beats_keep_their_schedule_and_missed_ones_are_left_out() -> None:
    """In virtual time: a reading that takes 2.5 periods costs two beats and moves no later one."""
    now, waits = [0], []

    class Stop:
        def wait(self, seconds: float) -> bool:
            waits.append(round(seconds, 6))
            now[0] += max(round(seconds * 1e9), 0)
            return len(waits) > 5

    readings: list[int] = []

    def script(_now_s: float) -> dict[str, Value]:
        readings.append(now[0])
        now[0] += 2_500_000_000 if len(readings) == 2 else 300_000_000
        return {"fake.x": Value(1.0)}

    sampler = Sampler(FakeSource(script, lambda: 0.0), 1.0, Clock(lambda: now[0], lambda: 0))
    sampler._stop = Stop()  # type: ignore[assignment]
    sampler._run()
    assert [at / 1e9 for at in readings] == [1, 2, 5, 6, 7]


def test_a_source_that_hangs_stops_neither_the_others_nor_the_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler_module, "JOIN_S", 0.05)
    hang, readings = threading.Event(), []

    def wait() -> None:
        readings.append(1)
        if len(readings) > 1:
            hang.wait()

    with Recorder([ones("hung", wait), ones("well")], 0.02, asked=("hung",)) as recorder:
        recorder.align(time.time_ns())
        well = recorder.samplers[1].track
        until(lambda: len(readings) > 1 and len(well.times_ns) > 5)
        start = time.monotonic()
        until(lambda: time.monotonic() > start + 0.1)
    hang.set()
    observed = seen(recorder, 0.0, 0.1)
    assert observed.absent["hung"] == "a reading did not end within 0.05 s"
    assert observed.series["well.x"].mean == 1
    assert codes(observed) == ["telemetry_gap"]


def test_without_room_for_a_thread_the_readings_around_the_load_remain(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with Recorder([ones()], 0.02) as recorder:
        pass
    assert recorder.recording is not None
    assert len(recorder.recording.tracks[0].times_ns) == 2


def test_an_error_of_the_load_ends_the_threads_and_comes_through() -> None:
    with pytest.raises(RuntimeError, match="load"), Recorder([ones("left")], 0.02):
        raise RuntimeError("load")
    assert not any(thread.name == "telemetry-left" for thread in threading.enumerate())


# --- the room -----------------------------------------------------------------------------------------------------


def room(*gpus: FakeGpu) -> TelemetryRoom:
    library = FakeNvmlLibrary(gpus)

    def load() -> Nvml:
        if not gpus:
            raise NvmlError("no NVIDIA driver: not found")
        return Nvml(lambda _name: library)

    return TelemetryRoom(load)


def names(recorder: Recorder) -> list[str]:
    return [source.name for source in recorder.sources]


def test_by_default_everything_that_there_is(tmp_path: Path) -> None:
    around = Surroundings(metrics="127.0.0.1:1", server_pids=(1,), models=("m",))
    recorder = room(FakeGpu()).recorder(Telemetry(), around, tmp_path / "x.csv")
    assert names(recorder) == ["host", "prometheus", "gpu"]
    assert (recorder.absent, list(recorder.asked), recorder.period_s) == ({}, [], 1.0)
    bare = room().recorder(Telemetry(), Surroundings())
    assert names(bare) == ["host"]
    assert bare.absent == {
        "prometheus": "the server has no metrics endpoint; measure.telemetry.url names another one",
        "gpu": "no NVIDIA driver: not found",
    }


def test_nothing_is_made_where_nothing_is_wished() -> None:
    def never() -> Nvml:
        raise AssertionError("asked for the driver")

    recorder = TelemetryRoom(never).recorder(Telemetry(sources=()), Surroundings(metrics="127.0.0.1:1"))
    assert (names(recorder), recorder.absent) == ([], {})


def test_the_driver_is_opened_once_for_a_run_and_closed_with_it() -> None:
    library = FakeNvmlLibrary([FakeGpu(), FakeGpu()])
    session = TelemetryRoom(lambda: Nvml(lambda _name: library))
    for _ in range(3):
        session.recorder(Telemetry(gpus=(1,)), Surroundings())
    assert library.sessions == 1
    session.close()
    session.close()
    assert library.sessions == 0


def test_children_of_the_server_are_no_strangers_on_its_board() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        board = FakeGpu(processes=[(child.pid, 1), (1, 1)])
        around = Surroundings(server_pids=(os.getpid(),))
        (source,) = room(board).recorder(Telemetry(sources=("gpu",)), around).sources
        assert source.read()["gpu0.strangers"].value == 1  # init
        child.kill()


def test_another_endpoint_can_be_named() -> None:
    wishes = Telemetry(sources=("prometheus",), url="http://exporter:9400/metrics", series=("DCGM_FI_DEV_GPU_UTIL",))
    (source,) = room().recorder(wishes, Surroundings(metrics="127.0.0.1:1")).sources
    assert source.url == "http://exporter:9400/metrics"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"period": "1ms"}, "expected at least 20ms"),
        ({"url": "localhost:8002"}, "http://host:port"),
        ({"url": "http://me:secret@host/metrics"}, "without a password"),
        ({"series": ["nv x"]}, "expected a series"),
        ({"gpus": [-1]}, "numbers from 0"),
        ({"sources": ["disk"]}, "host"),
    ],
)
def test_mistakes_are_refused(wishes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Telemetry.model_validate(wishes)


def test_a_remote_server_is_scraped_at_its_url_and_this_machines_gpus_are_not_its_own() -> None:
    around = Surroundings(metrics="https://far/m", server_is_here=False)
    recorder = room(FakeGpu()).recorder(Telemetry(), around)
    assert [source.name for source in recorder.sources] == ["host", "prometheus"]
    assert next(s.url for s in recorder.sources if isinstance(s, PrometheusSource)) == "https://far/m"
    assert "not its own" in recorder.absent["gpu"]
    asked = room(FakeGpu()).recorder(Telemetry(sources=("gpu",)), around)
    assert [source.name for source in asked.sources] == ["gpu"], "whoever names it gets it"
