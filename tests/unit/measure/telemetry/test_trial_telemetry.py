"""Whole trials in virtual time with telemetry beside them: what they keep, and what makes them invalid."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from runner.load.engine import LoadResult, OnSlices, Slice
from runner.load.fake import FakeEngine, constant
from runner.load.plan import LoadPlan
from runner.measure.telemetry.base import Source
from runner.measure.telemetry.fake import FakeSource
from runner.measure.telemetry.sampler import Recorder
from runner.results.codec import decode, encode
from runner.results.metrics import METRICS
from runner.results.nvml_fake import FakeGpu
from runner.results.records import Trial
from tests.unit.measure.telemetry.virtual import UNIX_S, Time, gpu_source, host
from tests.unit.measure.trials import run

pytestmark = pytest.mark.usefixtures("no_waiting")


@dataclass
class Beside:
    """A fake engine that turns the clock of the recorder, and its beats, as its own time passes."""

    time: Time
    recorder: Recorder
    engine: FakeEngine = field(default_factory=lambda: FakeEngine(service=constant(0.02)))

    def run(self, plan: LoadPlan, payloads: Sequence[bytes], on_slices: OnSlices | None = None) -> LoadResult:
        start_s, beats = self.time.now_s, [0]
        period_s = self.recorder.period_s

        def tick(slices: Sequence[Slice]) -> object:
            ended_s = slices[-1].end_ns / 1e9 if slices else 0.0
            while (beats[0] + 1) * period_s <= ended_s:
                beats[0] += 1
                self.time.now_s = start_s + beats[0] * period_s
                self.recorder.take()
            self.time.now_s = start_s + ended_s
            return on_slices(slices) if on_slices else None

        result = self.engine.run(plan, payloads, tick)  # type: ignore[arg-type]
        return replace(result, started_unix_ns=round((start_s + UNIX_S) * 1e9))


def measured(time: Time, *sources: Source, **how: object) -> Trial:
    recorder = Recorder(sources, clock=time.clock, threads=False, **how)  # type: ignore[arg-type]
    return run(Beside(time, recorder), telemetry=recorder)  # type: ignore[arg-type]


def test_a_point_keeps_its_telemetry_and_reads_back_equal(tmp_path: Path) -> None:
    """A server of 50 requests/s with batch 8 beside a board of 300 W: 0.75 J for each of 400 inferences/s."""
    time = Time()
    idle = FakeSource(host(time, busy=2.0, client=0.5, server=1.5), time, name="host")
    trial = measured(time, idle, gpu_source(time, FakeGpu(power_w=300)), path=tmp_path / "t" / "case.csv")
    assert (trial.state, trial.flags) == ("ok", ())
    values = {key: cell for metric in METRICS for key, cell in metric.cells(trial).items()}
    assert values["gpu_energy_per_inference_j"] == pytest.approx(0.75, rel=0.02)
    assert values["gpu_energy_method"] == "counter"
    assert values["gpu_power_w"] == pytest.approx(300)
    assert values["host_cpu_foreign"] == pytest.approx(0, abs=1e-6)
    assert values["host_cpu_server"] == pytest.approx(0.375)
    assert decode(Trial, encode(trial)) == trial
    with (tmp_path / "t" / "case.csv").open(newline="") as file:
        times = [float(row["t_s"]) for row in csv.DictReader(file) if row["series"] == "gpu0.power_w"]
    assert times[:4] == pytest.approx([0, 1, 2, 3], abs=1e-3)
    assert trial.summary is not None
    assert times[-1] >= trial.summary.warmup_s + trial.summary.window_s


def test_a_throttled_board_and_a_busy_neighbour_make_it_invalid() -> None:
    time = Time()
    busy = FakeSource(host(time, busy=3.5, client=0.5, server=1.0), time, name="host")
    trial = measured(time, busy, gpu_source(time, FakeGpu(reasons=lambda _now_s: 0x44)))
    assert trial.state == "invalid"
    assert [flag.code for flag in trial.flags] == ["throttled_thermal", "power_capped", "foreign_load"]


def test_telemetry_that_fails_costs_no_point() -> None:
    time = Time()

    def broken(_now_s: float) -> dict[str, object]:
        raise MemoryError("defect")

    trial = measured(time, FakeSource(broken, time), asked=("fake",))  # type: ignore[arg-type]
    assert trial.state == "ok"
    assert [(flag.code, flag.consequence) for flag in trial.flags] == [("telemetry_gap", "informs")]
    assert trial.telemetry_absent == {"fake": "MemoryError: defect"}


def test_the_samples_of_a_point_that_failed_are_kept(tmp_path: Path) -> None:
    time = Time()
    engine = FakeEngine(service=constant(0.02), verdict=lambda _now, _random: "unavailable")
    recorder = Recorder([gpu_source(time, FakeGpu())], clock=time.clock, threads=False, path=tmp_path / "case.csv")
    trial = run(Beside(time, recorder, engine), telemetry=recorder)  # type: ignore[arg-type]
    assert trial.state == "failed"
    assert trial.telemetry == {}
    assert "gpu0.power_w" in (tmp_path / "case.csv").read_text()
