"""What goes wrong in a trial: requests that fail, servers that die, counters that cannot be read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from runner.errors import LoadError, ServiceError
from runner.load.engine import LoadResult
from runner.load.fake import FakeEngine, constant, failing
from runner.load.plan import LoadPlan
from runner.measure.trial import failed_trial
from runner.measure.watch import TrialProgress
from tests.unit.measure.trials import Server, case, codes, run

pytestmark = pytest.mark.usefixtures("no_waiting")


def test_a_few_errors_are_counted_and_flagged() -> None:
    trial = run(FakeEngine(service=constant(0.02), verdict=failing(0.02, "UNAVAILABLE")))
    assert trial.counts is not None
    assert trial.summary is not None
    assert trial.counts.failed["UNAVAILABLE"] > 0
    assert trial.summary.failures > 0
    assert trial.errors == {"UNAVAILABLE": "scripted UNAVAILABLE"}
    assert (trial.state, codes(trial)) == ("invalid", {"errors"})


def test_too_many_errors_stop_the_point_early() -> None:
    trial = run(FakeEngine(service=constant(0.02), verdict=failing(0.3)))
    assert trial.summary is not None
    assert trial.counts is not None
    assert trial.counts.sent < 100
    assert trial.summary.stop_reason == "too many errors"
    assert {"aborted", "errors"} <= codes(trial)
    assert trial.state == "invalid"


def test_a_point_with_errors_only_is_failed_and_says_which() -> None:
    trial = run(FakeEngine(service=constant(0.02), verdict=failing(1.0, "INVALID_ARGUMENT")))
    assert (trial.state, trial.summary, trial.flags) == ("failed", None, ())
    assert trial.failure is not None
    assert "INVALID_ARGUMENT" in trial.failure
    assert "scripted INVALID_ARGUMENT" in trial.failure
    assert trial.counts is not None
    assert trial.counts.ok == 0


def test_a_server_that_never_answers_is_failed_at_the_cap() -> None:
    slow = case(window={"max": "3s"}, warmup={"min_time": "0s"}, drain="1s")
    scenario = slow.scenario.model_copy(
        update={"workload": slow.scenario.workload.model_copy(update={"timeout": 600.0})}
    )
    trial = run(FakeEngine(service=constant(3600)), point=replace(slow, scenario=scenario))
    assert trial.state == "failed"
    assert trial.failure is not None
    assert "no request was answered within 3 s" in trial.failure
    assert trial.counts is not None
    assert trial.counts.unfinished == 4


class Dies:
    """A server check that fails from the n-th call on."""

    def __init__(self, at: int) -> None:
        self.calls, self.at = 0, at

    def __call__(self) -> None:
        self.calls += 1
        if self.calls >= self.at:
            raise ServiceError("the server ended with signal 9", hint="see its log", log_tail=["last", "words"])


def test_a_server_that_dies_ends_the_point_at_the_next_check() -> None:
    trial = run(server_check=Dies(at=3))
    assert trial.state == "failed"
    assert trial.counts is not None
    assert trial.counts.ok == pytest.approx(150, abs=5)
    assert trial.failure == "the server ended with signal 9; see its log\n  last\n  words"


def test_failing_requests_make_it_look_at_the_server_at_once() -> None:
    check = Dies(at=4)
    trial = run(FakeEngine(service=constant(0.02), dies_at_s=2.55), server_check=check)
    assert trial.state == "failed"
    assert check.calls == 4


def test_a_server_found_dead_afterwards_explains_the_failures() -> None:
    trial = run(FakeEngine(service=constant(0.02), verdict=failing(1.0)), server_check=Dies(at=2))
    assert trial.failure is not None
    assert trial.failure.startswith("the server ended")
    assert trial.counts is not None
    assert trial.errors


@pytest.mark.parametrize("reading", [1, 2])
def test_statistics_that_cannot_be_read_fail_the_point(reading: int) -> None:
    trial = run(None, Server(offline_from=reading))
    assert trial.state == "failed"
    assert trial.failure is not None
    assert trial.failure.startswith("the server does not answer; see its log")


def test_a_refused_connection_fails_the_point() -> None:
    class Refused(FakeEngine):
        def run(self, plan: LoadPlan, payloads: Sequence[bytes], on_slices: Any = None) -> LoadResult:
            raise LoadError("nothing listens on localhost:2")

    trial = run(Refused())
    assert (trial.state, trial.failure) == ("failed", "nothing listens on localhost:2")


def test_ctrl_c_comes_through() -> None:
    def interrupt(_: TrialProgress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(on_progress=interrupt)


def test_a_case_that_never_got_a_load() -> None:
    trial = failed_trial(case(), ServiceError("no such model", hint="check workload.model"), {"weights": "random"})
    assert (trial.state, trial.failure) == ("failed", "no such model; check workload.model")
    assert trial.labels == {"weights": "random"}
