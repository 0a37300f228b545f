"""Samples joined to a window, and what is flagged: steal, foreign CPU, gaps; in virtual time."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from runner.measure.series import Window
from runner.measure.telemetry.base import Value
from runner.measure.telemetry.fake import FakeSource
from runner.measure.telemetry.join import join
from runner.measure.telemetry.recording import MAX_SERIES, Recording, Track
from runner.measure.telemetry.sampler import Recorder
from runner.results.telemetry import cpu_share, foreign_cpu_share
from tests.unit.measure.telemetry.virtual import UNIX_S, Time, codes, host, recorded, seen

SECOND = 1_000_000_000


def recording(samples: dict[float, float], kind: str = "gauge", period_s: float = 1.0) -> Recording:
    """One series `x` of one source; origin at 0."""
    track = Track("s")
    for at_s, value in samples.items():
        track.add(round(at_s * SECOND), {"x": Value(value, "u", kind)})  # type: ignore[arg-type]
    return Recording(tracks=(track,), period_s=period_s, origin_ns=0)


def window(start_s: float, end_s: float) -> Window:
    return Window(round(start_s * SECOND), round(end_s * SECOND))


# --- gauges and counters ------------------------------------------------------------------------------------------

UNEVEN = {0.0: 0.0, 2.0: 10.0, 6.0: 10.0, 8.0: 30.0, 9.0: 30.0, 12.0: 0.0}


@pytest.mark.parametrize(
    ("aggregation", "mean"),
    [
        ("window", (7 * 10 + 3 * 30) / 10),  # 10 from 1 to 7, with the edge at 0 from 0 to 7; 30 from 7 to 10
        ("perf_analyzer", (10 + 10 + 30 + 30) / 4),
    ],
)
def test_a_gauge_is_weighted_by_time_unless_polls_are_to_count_alike(aggregation: str, mean: float) -> None:
    found = join(recording(UNEVEN, period_s=4), window(1, 10), aggregation=aggregation).series["x"]
    expected = mean if aggregation == "perf_analyzer" else (6 * 10 + 3 * 30) / 9
    assert found.mean == pytest.approx(expected)
    assert (found.min, found.max, found.first, found.last, found.samples) == (10, 30, 10, 30, 4)
    assert (found.kind, found.unit, found.delta) == ("gauge", "u", None)


def test_a_counter_is_read_at_the_edges_of_the_window() -> None:
    found = join(recording({t: 7 + 10.0 * t for t in range(12)}, "counter"), window(1.25, 9.5)).series["x"]
    assert found.delta == pytest.approx(82.5)
    assert found.per_s == pytest.approx(10)
    assert found.whole == 110
    assert (found.samples, found.mean) == (8, None)


def test_a_series_that_begins_late_has_no_growth_but_says_so() -> None:
    joined = join(recording({t: float(t) for t in range(5, 12)}, "counter"), window(2, 10))
    assert joined.series["x"].delta is None
    assert joined.series["x"].whole == 6
    assert joined.absent == {"x": "no samples on both sides of the window"}


def test_a_window_shorter_than_the_period_is_absent_and_no_gap() -> None:
    for kind in ("gauge", "counter"):
        joined = join(recording({0.0: 1.0, 1.0: 2.0, 2.0: 3.0}, kind), window(0.2, 0.7))
        assert joined.series["x"].mean is joined.series["x"].delta is None
        assert list(joined.absent) == ["x"]
        assert joined.gaps == []


def test_a_gap_is_found_wherever_it_begins_and_one_late_beat_is_none() -> None:
    def gaps(*missing: int) -> list[str]:
        return join(recording({t: 1.0 for t in range(22) if t not in missing}), window(2.5, 20)).gaps

    assert gaps() == []
    assert gaps(7) == []
    assert gaps(7, 8) == ["s: no reading for 3 s at +3.5 s of the window"]
    assert gaps(2, 3) == ["s: no reading for 3 s at -1.5 s of the window"]
    assert gaps(19, 20) == ["s: no reading for 3 s at +15.5 s of the window"]
    assert gaps(19, 20, 21) == []
    assert gaps(17, 18, 19, 20, 21) == ["s: no reading for 4 s at +13.5 s of the window"]
    assert gaps(0, 1, 2, 3, 4, 5) == ["s: no reading for 3.5 s at +0 s of the window"]


def test_series_that_come_and_go_stay_on_their_times() -> None:
    track = Track("s")
    for second in range(6):
        values = {"always": Value(float(second))} | ({"even": Value(10.0 * second)} if second % 2 == 0 else {})
        track.add(second * SECOND, values)
    times, values_ = track.series("even")
    assert [(t // SECOND, v) for t, v in zip(times.tolist(), values_.tolist(), strict=True)] == [
        (0, 0),
        (2, 20),
        (4, 40),
    ]


def test_an_endpoint_that_makes_up_names_does_not_eat_the_memory() -> None:
    track = Track("s")
    track.add(0, {f"x{n}": Value(1.0) for n in range(MAX_SERIES + 5)})
    assert len(track.columns) == MAX_SERIES
    joined = join(Recording(tracks=(track,), period_s=1, origin_ns=0), window(0, 10))
    assert "measure.telemetry.series" in joined.absent["s.more"]


# --- other people's load ------------------------------------------------------------------------------------------


def judged(profile: str = "explore", until: float = 22, **rates: float) -> list[tuple[str, str, float]]:
    time = Time()
    source = FakeSource(host(time, cpus=4, **rates), time, name="host")
    observed = seen(recorded(time, [source], 25), 2, until, profile)
    return [(flag.code, flag.consequence, round(flag.value or 0, 4)) for flag in observed.flags]


def test_foreign_cpu_is_what_neither_client_nor_server_used() -> None:
    assert judged(busy=2.0, client=0.5, server=1.4) == []
    assert judged(busy=2.0, client=0.5, server=1.1) == [("foreign_load", "informs", 0.1)]
    assert judged(busy=2.0, client=0.5, server=0.5) == [("foreign_load", "invalidates", 0.25)]
    assert judged("publish", busy=2.0, client=0.5, server=1.4) == []
    assert judged("publish", busy=2.0, client=0.5, server=1.1) == [("foreign_load", "invalidates", 0.1)]


def test_in_a_window_too_short_for_the_samples_the_whole_load_informs() -> None:
    """Windows of a count of requests are over in an instant; two runs beside each other must not look clean."""
    assert judged(until=3, busy=2.0, client=0.5, server=1.4) == []
    for profile in ("explore", "publish"):
        assert judged(profile, until=3, busy=2.0, client=0.5, server=0.5) == [("foreign_load", "informs", 0.25)]
        assert judged(profile, until=3, busy=3.5, client=0.5, steal=0.2) == [("foreign_load", "informs", 0.05)]


def test_without_the_servers_processes_only_steal_is_judged() -> None:
    assert judged(busy=3.5, client=0.5) == []
    assert judged(busy=3.5, client=0.5, steal=0.1) == [("foreign_load", "informs", 0.025)]
    assert judged(busy=3.5, client=0.5, steal=0.2) == [("foreign_load", "invalidates", 0.05)]
    assert judged("publish", busy=3.5, client=0.5, steal=0.06) == [("foreign_load", "invalidates", 0.015)]
    assert judged("publish", busy=3.5, client=0.5, steal=0.03) == []


def test_of_two_symptoms_the_one_that_invalidates_is_told() -> None:
    assert judged(busy=2.0, client=0.5, server=0.2, steal=0.06) == [("foreign_load", "invalidates", 0.325)]


def test_a_process_that_was_ended_for_lack_of_memory_invalidates() -> None:
    time = Time()
    start_s = time.now_s
    ooms = FakeSource(
        lambda now_s: {"host.oom_kills": Value(float(now_s - start_s > 9), "", "counter")}, time, name="host"
    )
    observed = seen(recorded(time, [ooms], 25), 2, 22)
    assert [(flag.code, flag.consequence) for flag in observed.flags] == [("foreign_load", "invalidates")]
    assert "lack of memory" in observed.flags[0].message


def test_shares_are_of_the_cpus_in_the_window() -> None:
    time = Time()
    source = FakeSource(host(time, cpus=4, busy=2.0, client=0.5, server=1.0, steal=0.2), time, name="host")
    series = seen(recorded(time, [source], 25), 2, 22).series
    assert cpu_share(series, "cpu_steal_s") == pytest.approx(0.05)
    assert cpu_share(series, "server_cpu_s") == pytest.approx(0.25)
    assert foreign_cpu_share(series) == pytest.approx(0.125)
    assert foreign_cpu_share({}) is None


# --- what is asked for and missing --------------------------------------------------------------------------------


def level(time: Time, **how: object) -> FakeSource:
    return FakeSource(lambda _now_s: {'nv_x{model="m"}': Value(1.0)}, time, **how)  # type: ignore[arg-type]


def test_a_source_that_is_named_and_missing_is_a_gap_and_one_that_is_not_there_is_only_absent() -> None:
    time = Time()
    why = {"gpu": "no NVIDIA driver: not found"}
    by_default = seen(recorded(time, [level(time)], 25, absent=dict(why)), 2, 22)
    assert (codes(by_default), by_default.absent) == ([], why)
    asked = seen(recorded(time, [level(time)], 25, absent=dict(why), asked=("gpu",)), 2, 22)
    assert codes(asked) == ["telemetry_gap"]
    assert asked.flags[0].message == "Telemetry is incomplete, gpu: no NVIDIA driver: not found."


def test_a_series_that_is_named_gets_marked_and_a_missing_one_is_a_gap() -> None:
    time = Time()
    observed = seen(recorded(time, [level(time)], 25, series=("nv_x{model=m}", "nv_y")), 2, 22)
    assert observed.series['nv_x{model="m"}'].asked
    assert codes(observed) == ["telemetry_gap"]
    assert "nv_y: not among the sampled series" in observed.flags[0].message


def test_a_source_that_never_answers_and_that_nobody_asked_for_is_absent() -> None:
    time = Time()
    observed = seen(recorded(time, [level(time, fault=lambda _now_s: "connection refused")], 25), 2, 22)
    assert (codes(observed), observed.absent, observed.series) == ([], {"fake": "connection refused"}, {})


def test_a_source_that_dies_is_a_gap_with_its_reason() -> None:
    time = Time()
    start_s = time.now_s
    source = level(time, fault=lambda now_s: "connection refused" if now_s - start_s > 10 else None)
    observed = seen(recorded(time, [source], 25), 2, 22)
    assert codes(observed) == ["telemetry_gap"]
    assert "fake: no reading for 12 s at +8 s of the window (connection refused)" in observed.flags[0].message


def test_a_defect_of_a_source_costs_no_measurement() -> None:
    def broken(_now_s: float) -> dict[str, Value]:
        raise ZeroDivisionError("oops")

    time = Time()
    observed = seen(recorded(time, [FakeSource(broken, time)], 25), 2, 22)
    assert (codes(observed), observed.absent) == ([], {"fake": "ZeroDivisionError: oops"})


def test_clocks_that_do_not_fit_give_no_numbers() -> None:
    time = Time()
    recorder = Recorder([level(time)], clock=time.clock, threads=False)
    with recorder:
        recorder.align(round((UNIX_S - 10**6) * 1e9))
        time.now_s += 30
    observed = seen(recorder, 2, 22)
    assert (list(observed.series), codes(observed)) == (["telemetry.cpu_s"], ["telemetry_gap"])
    assert "cannot be put together" in observed.absent["window"]


def test_without_sources_nothing_is_said() -> None:
    observed = seen(recorded(Time(), [], 25), 2, 22)
    assert (observed.series, observed.absent, observed.flags) == ({}, {}, ())


# --- the file -----------------------------------------------------------------------------------------------------


def test_every_sample_is_in_the_file_on_the_clock_of_the_load(tmp_path: Path) -> None:
    time = Time()
    path = tmp_path / "telemetry" / "case.csv"
    recorded(time, [level(time), FakeSource(lambda s: {"d": Value(s, detail=True)}, time)], 3, path=path)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["series"] for row in rows] == ['nv_x{model="m"}', "d"] * 5
    assert [float(row["t_s"]) for row in rows[::2]] == pytest.approx([0, 1, 2, 3, 3.01], abs=1e-3)
    assert math.isclose(float(rows[3]["value"]), 101.0)


def test_a_file_that_cannot_be_written_is_a_gap_not_an_error(tmp_path: Path) -> None:
    (tmp_path / "telemetry").write_text("in the way")
    time = Time()
    recorder = recorded(time, [level(time)], 25, path=tmp_path / "telemetry" / "case.csv")
    observed = seen(recorder, 2, 22)
    assert codes(observed) == ["telemetry_gap"]
    assert "not written" in observed.absent["samples"]
    assert observed.series['nv_x{model="m"}'].mean == 1
