"""Validation row 20: boards whose power, clocks and faults are known, in virtual time."""

from __future__ import annotations

import os
import random

import pytest

from runner.measure.telemetry.collect import Observed
from runner.measure.telemetry.fake import FakeSource
from runner.results.nvml import REASONS
from runner.results.nvml_fake import FakeGpu, steady
from runner.results.records import Estimate, Trial
from runner.results.telemetry import gpu_energy, per_inference_j, total_energy
from tests.unit.measure.telemetry.virtual import NoXids, Time, codes, gpu_source, host, recorded, seen
from tests.unit.results.sample_run import CASES, summary, trial

RATE = 1000.0


def measured(observed: Observed, window_s: float) -> Trial:
    """A trial of 1000 inferences per second with this telemetry."""
    per_s = Estimate(RATE)
    found = summary(window_s=window_s, completions=round(RATE * window_s), requests_per_s=per_s, inferences_per_s=per_s)
    return trial(CASES[0], summary=found, telemetry=observed.series, flags=observed.flags)


@pytest.mark.parametrize("seed", range(20))
def test_energy_per_inference_is_right_to_half_a_percent(seed: int) -> None:
    """300 W at 1000/s are 0.3 J each, wherever the beats, the window and the counter's refresh fall."""
    draw = random.Random(seed)
    time = Time(100 + draw.random())
    late = [draw.uniform(0, 0.05) for _ in range(7)]
    recorder = recorded(time, [gpu_source(time, FakeGpu(power_w=300, refresh_s=0.1))], 66, late_s=late)
    start_s = 2 + draw.random()
    of = measured(seen(recorder, start_s, start_s + 60), 60.0)
    assert per_inference_j(of) == pytest.approx(0.3, rel=0.005)
    energy = total_energy(of)
    assert energy is not None
    assert energy.method == "counter"
    assert energy.error == pytest.approx(0.2 / 60)
    assert abs(energy.joules - 300 * 60) <= energy.error * 300 * 60
    assert of.flags == ()


@pytest.mark.parametrize("window_s", [4.0, 8.0, 20.0])
def test_in_a_short_window_the_stated_error_holds(window_s: float) -> None:
    for seed in range(15):
        draw = random.Random(seed)
        time = Time(100 + draw.random())
        late = [draw.uniform(0, 0.05) for _ in range(5)]
        recorder = recorded(time, [gpu_source(time, FakeGpu())], window_s + 4, late_s=late)
        start_s = 1 + draw.random()
        energy = total_energy(measured(seen(recorder, start_s, start_s + window_s), window_s))
        assert energy is not None
        assert energy.error == pytest.approx(0.2 / window_s)
        assert abs(energy.joules - 300 * window_s) <= energy.error * 300 * window_s


def test_several_boards_are_summed_and_told_apart() -> None:
    time = Time()
    recorder = recorded(time, [gpu_source(time, FakeGpu(power_w=300), FakeGpu(power_w=100))], 25)
    of = measured(seen(recorder, 2, 22), 20.0)
    each = [gpu_energy(of.telemetry, index, 20.0) for index in (0, 1)]
    assert [round(energy.joules / 20) for energy in each if energy] == [300, 100]
    assert per_inference_j(of) == pytest.approx(0.4, rel=0.01)


def test_a_reset_of_the_counter_is_flagged_and_never_negative_or_nothing() -> None:
    time = Time()
    gpu = FakeGpu(reset_at_s=time.now_s + 10.5)
    observed = seen(recorded(time, [gpu_source(time, gpu)], 25), 2, 22)
    assert codes(observed) == ["telemetry_gap"]
    assert "gpu0.energy_j: the counter fell at +9 s of the window: it was reset" in observed.flags[0].message
    counter = observed.series["gpu0.energy_j"]
    assert (counter.delta, counter.per_s, counter.whole) == (None, None, None)
    energy = total_energy(measured(observed, 20.0))
    assert energy is not None
    assert (energy.method, energy.error) == ("power", None)
    assert energy.joules == pytest.approx(6000)


def test_a_reset_without_power_readings_is_absent_not_zero() -> None:
    time = Time()
    gpu = FakeGpu(reset_at_s=time.now_s + 10.5, missing=frozenset({"nvmlDeviceGetPowerUsage"}))
    observed = seen(recorded(time, [gpu_source(time, gpu)], 25), 2, 22)
    assert codes(observed) == ["telemetry_gap"]
    assert total_energy(measured(observed, 20.0)) is None
    assert per_inference_j(measured(observed, 20.0)) is None


def test_a_reset_outside_the_window_costs_the_window_nothing() -> None:
    time = Time()
    observed = seen(recorded(time, [gpu_source(time, FakeGpu(reset_at_s=time.now_s + 1.5))], 25), 4, 24)
    assert codes(observed) == []
    assert observed.series["gpu0.energy_j"].delta == pytest.approx(6000, rel=0.01)
    assert observed.series["gpu0.energy_j"].whole is None


def test_a_counter_that_stands_still_is_no_saving() -> None:
    time = Time()
    observed = seen(recorded(time, [gpu_source(time, FakeGpu(stuck=True))], 25), 2, 22)
    assert codes(observed) == ["telemetry_gap"]
    assert observed.absent["gpu0.energy_j"] == "the counter did not move in the window"
    energy = total_energy(measured(observed, 20.0))
    assert energy is not None
    assert energy.joules == pytest.approx(6000)


def test_one_board_without_energy_leaves_no_partial_sum() -> None:
    time = Time()
    blind = FakeGpu(missing=frozenset({"nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetPowerUsage"}))
    observed = seen(recorded(time, [gpu_source(time, FakeGpu(), blind)], 25), 2, 22)
    assert total_energy(measured(observed, 20.0)) is None


def test_missing_fields_are_absent_with_nvmls_words_and_no_gap() -> None:
    time = Time()
    missing = frozenset({"nvmlDeviceGetFanSpeed", "nvmlDeviceGetTotalEccErrors", "nvmlDeviceGetJpgUtilization"})
    observed = seen(recorded(time, [gpu_source(time, FakeGpu(missing=missing))], 25), 2, 22)
    assert codes(observed) == []
    assert observed.absent["gpu0.fan"] == "nvmlDeviceGetFanSpeed: Not Supported"
    assert observed.absent["gpu0.jpeg_utilization"] == "nvmlDeviceGetJpgUtilization: Not Supported"
    assert "gpu0.fan" not in observed.series


def bits(*names: str) -> int:
    return sum(REASONS[name] for name in names)


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        ((), []),
        (("idle",), []),
        (("application_clocks", "sync_boost"), []),
        (("sw_power_cap",), [("power_capped", "informs")]),
        (("sw_thermal",), [("throttled_thermal", "invalidates")]),
        (("hw_thermal", "hw_slowdown"), [("throttled_thermal", "invalidates")]),
        (("hw_slowdown",), [("throttled_hw", "invalidates")]),
        (("hw_power_brake", "hw_slowdown"), [("throttled_hw", "invalidates")]),
        (("sw_power_cap", "sw_thermal"), [("throttled_thermal", "invalidates"), ("power_capped", "informs")]),
    ],
)
def test_flags_follow_the_reason_bits_exactly(reasons: tuple[str, ...], expected: list[tuple[str, str]]) -> None:
    """The reasons hold for 5 s of a window of 20 s, in which they are a quarter."""
    time = Time()
    start_s = time.now_s
    gpu = FakeGpu(reasons=lambda now_s: bits(*reasons) if 8 <= now_s - start_s < 13 else 0)
    observed = seen(recorded(time, [gpu_source(time, gpu)], 25), 2, 22)
    assert [(flag.code, flag.consequence) for flag in observed.flags] == expected
    assert all(flag.value == pytest.approx(0.25) and flag.limit == 0.005 for flag in observed.flags)


def test_throttling_outside_the_window_does_not_count() -> None:
    time = Time()
    start_s = time.now_s
    gpu = FakeGpu(reasons=lambda now_s: bits("hw_thermal") if now_s - start_s < 2 else 0)
    assert codes(seen(recorded(time, [gpu_source(time, gpu)], 25), 4, 24)) == []


def test_throttling_between_two_samples_shows_in_the_drivers_counter_of_time() -> None:
    time = Time()
    start_s = time.now_s
    gpu = FakeGpu(thermal_violation_s=lambda now_s: min(max(now_s - start_s - 10.2, 0), 0.6))
    observed = seen(recorded(time, [gpu_source(time, gpu)], 25), 2, 22)
    assert codes(observed) == ["throttled_thermal"]
    assert observed.flags[0].value == pytest.approx(0.03)


def test_a_clock_that_falls_is_flagged_and_a_small_change_is_not() -> None:
    for low, expected in ((1800.0, ["clock_drift"]), (1900.0, [])):
        time = Time()
        start_s = time.now_s
        gpu = FakeGpu(clock_mhz=lambda now_s, low=low, start_s=start_s: 1980.0 if now_s - start_s < 8 else low)
        observed = seen(recorded(time, [gpu_source(time, gpu)], 25), 2, 22)
        assert codes(observed) == expected
        assert observed.series["gpu0.sm_clock_mhz"].min == low


def test_memory_errors_and_xids_invalidate() -> None:
    time = Time()
    start_s = time.now_s
    source = gpu_source(time, FakeGpu(uncorrected=lambda now_s: 7 + 2 * (now_s - start_s > 12)))
    source._xids = NoXids(lambda: 3 * (time.now_s - start_s > 5))
    observed = seen(recorded(time, [source], 25), 2, 22)
    assert [(flag.code, flag.value, flag.consequence) for flag in observed.flags] == [
        ("ecc", 2.0, "invalidates"),
        ("xid", 3.0, "invalidates"),
    ]


def test_a_board_that_falls_off_the_bus_for_a_while_is_a_gap() -> None:
    time = Time()
    start_s = time.now_s
    gpu = FakeGpu(lost=lambda now_s: 8 <= now_s - start_s < 14)
    observed = seen(recorded(time, [gpu_source(time, gpu)], 25), 2, 22)
    assert codes(observed) == ["telemetry_gap"]
    assert "gpu: no reading for 7 s at +5 s of the window" in observed.flags[0].message
    assert observed.series["gpu0.power_w"].mean == pytest.approx(300)


def test_a_stranger_on_the_board_invalidates_and_our_own_server_does_not() -> None:
    for ours, expected in ((frozenset({os.getpid()}), []), (frozenset({1}), ["foreign_load"]), (None, [])):
        time = Time()
        source = gpu_source(time, FakeGpu(processes=[(os.getpid(), 2**30)]), ours=ours)
        observed = seen(recorded(time, [source], 25), 2, 22)
        assert codes(observed) == expected
        assert ("gpu0.strangers" in observed.absent) == (ours is None)


def test_many_processes_are_all_read() -> None:
    time = Time()
    source = gpu_source(time, FakeGpu(processes=[(10**6 + n, n) for n in range(200)]))
    values = source.read()
    assert values["gpu0.processes"].value == 200
    assert values[f"gpu0.process.{10**6 + 199}.memory_bytes"].value == 199


def test_a_library_without_a_function_is_asked_the_old_way_or_says_so() -> None:
    time = Time()
    source = gpu_source(time, FakeGpu(reasons=lambda _now: bits("sw_thermal")))
    source._nvml._library.without = frozenset({"nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetRemappedRows"})
    values = source.read()
    assert values["gpu0.throttled_thermal"].value == 1
    assert source.absent()["gpu0.remapped_rows"] == "undefined symbol: nvmlDeviceGetRemappedRows"


def test_parts_of_a_board_have_memory_of_their_own() -> None:
    time = Time()
    values = gpu_source(time, FakeGpu(parts=3)).read()
    assert [f"gpu0.mig{n}.memory_used_bytes" in values for n in range(4)] == [True, True, True, False]


def test_steady_boards_and_an_idle_machine_raise_nothing() -> None:
    time = Time()
    sources = [
        FakeSource(host(time, busy=2.0, client=0.5, server=1.45), time, name="host"),
        gpu_source(time, FakeGpu(clock_mhz=steady(1500))),
    ]
    assert seen(recorded(time, sources, 25), 2, 22).flags == ()
