"""Trials with every kind of load, in virtual time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from runner.errors import UsageError
from runner.load.fake import FakeEngine, constant, exponential
from runner.load.plan import OpenLoop
from runner.measure.loads import asked_per_s, ceiling_slots, schedule_of, slots_of
from runner.measure.orders import Requests
from runner.measure.trial import measure_case
from runner.results.records import Trial
from runner.scenario.case import Case
from runner.scenario.schema import Scenario
from tests.unit.measure.trials import Counting, Server, target

pytestmark = pytest.mark.usefixtures("no_waiting")


def point(load: dict[str, Any], **measure: Any) -> Case:
    fields = {"scenario": 1, "name": "test", "workload": {"model": "pipeline", "batch": 8}}
    return Case("base", {}, Scenario.model_validate({**fields, "load": load, "measure": measure}), "key")


def run(load: dict[str, Any], engine: FakeEngine | None = None, **measure: Any) -> tuple[Trial, Counting]:
    server = Server()
    counting = Counting(server, engine or FakeEngine(service=exponential(0.01), servers=2))
    trial = measure_case(
        point(load, **measure),
        target(server, counting),
        Requests([b"x"]),
    )
    return trial, counting


def codes(trial: Trial) -> set[str]:
    return {flag.code for flag in trial.flags if flag.consequence == "invalidates"}


@pytest.mark.parametrize("kind", [{"kind": "constant"}, {"kind": "poisson"}, {"kind": "gamma", "cv": 0.5}])
def test_a_rate_that_the_server_keeps_up_with(kind: dict[str, Any]) -> None:
    trial, counting = run({**kind, "rate": "100/s"})
    assert (trial.failure, codes(trial)) == (None, set())
    assert trial.summary is not None
    assert trial.summary.offered_per_s == pytest.approx(100, rel=0.1)
    assert trial.summary.requests_per_s.value == pytest.approx(trial.summary.offered_per_s, rel=0.02)
    assert trial.load["rate"] == "100/s"
    assert isinstance(counting.plans[0].schedule, OpenLoop)


def test_a_closed_loop_offers_nothing() -> None:
    trial, _ = run({"concurrency": 4})
    assert trial.summary is not None
    assert trial.summary.offered_per_s is None


def test_the_seed_is_the_loads_own_or_that_of_measuring() -> None:
    assert run({"kind": "poisson", "rate": "50/s", "seed": 9}, seed=5)[1].plans[0].seed == 9
    assert run({"kind": "poisson", "rate": "50/s"}, seed=5)[1].plans[0].seed == 5
    assert run({"kind": "constant", "rate": "50/s"}, seed=5)[1].plans[0].seed == 5


def test_a_rate_beyond_the_server_is_saturated() -> None:
    trial, _ = run({"kind": "constant", "rate": "105/s"}, FakeEngine(service=constant(0.01)))
    assert "saturated" in codes(trial)


def test_requests_that_may_not_be_sent_are_dropped_and_flagged() -> None:
    trial, _ = run({"kind": "constant", "rate": "200/s", "max_in_flight": 5}, FakeEngine(service=constant(0.01)))
    assert trial.counts is not None
    assert trial.summary is not None
    assert trial.counts.dropped == pytest.approx(trial.counts.ok, rel=0.01)
    assert trial.summary.offered_per_s == pytest.approx(200, rel=0.01)
    (flag,) = (flag for flag in trial.flags if flag.code == "not_delivered")
    assert "dropped because load.max_in_flight others were waiting" in flag.message
    assert flag.consequence == "invalidates"


@pytest.mark.parametrize(
    "load",
    [{"kind": "poisson", "rate": "100/s"}, {"kind": "periodic", "start": 1, "end": 900}, {"concurrency": 3}],
)
def test_a_fixed_number_of_requests_with_every_kind(load: dict[str, Any]) -> None:
    trial, _ = run(load, requests=120)
    assert trial.counts is not None
    assert trial.summary is not None
    assert (trial.counts.sent, trial.summary.completions, trial.summary.warmup_s) == (120, 120, 0)
    assert trial.summary.stop_reason == "all requests answered"
    assert codes(trial) == set()


def test_intervals_repeat_and_name_their_file(tmp_path: Path) -> None:
    path = tmp_path / "gaps"
    path.write_text("5000\n15000\n")
    trial, _ = run({"kind": "intervals", "file": str(path)})
    assert trial.summary is not None
    assert trial.summary.offered_per_s == pytest.approx(100, rel=0.01)
    assert codes(trial) == set()
    assert len(trial.labels["send_times_sha256"]) == 64


def test_a_replay_is_measured_from_its_first_send_to_the_last_answer(tmp_path: Path) -> None:
    path = tmp_path / "times"
    path.write_text("".join(f"{n * n / 100}\n" for n in range(30)))
    trial, _ = run({"kind": "replay", "file": str(path)}, FakeEngine(service=constant(0.02)))
    assert trial.summary is not None
    assert (trial.summary.completions, trial.summary.warmup_s) == (30, 0)
    assert trial.summary.window_s == pytest.approx(8.41 + 0.02)
    assert trial.summary.stop_reason == "all requests answered"
    assert codes(trial) == set(), "an uneven trace is no drift"


def test_a_replay_longer_than_the_window_may_be_is_cut_there(tmp_path: Path) -> None:
    path = tmp_path / "times"
    path.write_text("".join(f"{n / 10}\n" for n in range(1000)))
    trial, _ = run({"kind": "replay", "file": str(path)}, window={"max": "5s"})
    assert trial.summary is not None
    assert trial.summary.stop_reason == "time cap"
    assert trial.summary.completions == 50
    assert codes(trial) == set()


def test_a_periodic_load_is_measured_as_a_whole() -> None:
    trial, _ = run({"kind": "periodic", "start": 1, "end": 5, "step": 2, "request_period": 20})
    assert trial.summary is not None
    assert trial.summary.completions >= 20 * (1 + 3 + 5) - 10
    assert trial.summary.warmup_s == 0
    assert codes(trial) == set()


def test_a_file_that_changed_after_loading_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "gaps"
    path.write_text("10\nsoon\n")
    load = point({"kind": "intervals", "file": str(path)}).scenario.load
    with pytest.raises(UsageError, match=r"load\.file: .*gaps:2: expected a whole number"):
        schedule_of(load)
    trial, _ = run({"kind": "intervals", "file": str(path)})
    assert trial.state == "failed"
    assert "gaps:2" in str(trial.failure)


def test_what_a_load_is_to_the_rest() -> None:
    loads = {
        "closed": point({"concurrency": 7}),
        "open": point({"kind": "constant", "rate": "5/s"}),
        "narrow": point({"kind": "poisson", "rate": "5/s", "max_in_flight": 3}),
        "ramp": point({"kind": "periodic", "start": 2, "end": 8}),
    }
    found = {name: case.scenario.load for name, case in loads.items()}
    assert {name: ceiling_slots(load) for name, load in found.items()} == {
        "closed": 7,
        "open": 16,
        "narrow": 3,
        "ramp": 8,
    }
    assert [slots_of(load) for load in found.values()] == [7, 1, 1, 2]
    assert [asked_per_s(load) for load in found.values()] == [None, 5.0, 5.0, None]


def test_a_long_run_keeps_few_slices_and_the_same_numbers() -> None:
    trial, _ = run({"kind": "constant", "rate": "40/s"}, window={"min": "300s", "max": "400s"})
    assert trial.summary is not None
    assert trial.summary.window_s >= 300
    assert trial.summary.requests_per_s.value == pytest.approx(40, rel=0.001)
    assert trial.summary.littles_law_error < 0.001
