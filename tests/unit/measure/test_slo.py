"""The violation budget of a soak: which windows are violated, and when the soak ends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from runner.errors import UsageError
from runner.load.engine import Slice
from runner.load.fake import FakeEngine, constant, drifting, failing
from runner.measure.rules import SloRule
from runner.measure.selftest.simulate import Requests, slices
from runner.measure.settings import resolve
from runner.measure.slo import ViolationBudget
from runner.scenario.schema import Measure
from tests.unit.measure.trials import case, run


def rule(**changes: Any) -> SloRule:
    fields: dict[str, Any] = {"percentile": 90.0, "limit_s": 0.1, "window_s": 1.0, "budget_windows": 0}
    return SloRule(**{"budget_share": None, **fields, **changes})


def second(number: int, late: int, requests: int = 20) -> list[Slice]:
    """Ten slices of 100 ms in which so many requests end, the first of them late."""
    begin = number * 1_000_000_000
    done = begin + np.linspace(5, 994, requests).astype(np.int64) * 1_000_000
    took = np.where(np.arange(requests) < late, 300_000_000, 20_000_000)
    cut = slices(Requests(done - took, done), (number + 1) * 1.0)
    return [each for each in cut if each.start_ns >= begin]


def told(budget: ViolationBudget, *late: int) -> ViolationBudget:
    for number, count in enumerate(late):
        budget.add(second(number, count))
    return budget


def test_a_window_is_violated_when_more_than_its_share_misses() -> None:
    found = told(ViolationBudget(rule(budget_windows=9), 0.0), 0, 2, 3, 20).outcome()
    assert (found.windows, found.violated, found.requests, found.missed) == (4, 2, 80, 25)
    assert found.worst == 1.0
    assert found.exhausted is None


def test_one_window_more_than_the_budget_ends_the_soak() -> None:
    budget = told(ViolationBudget(rule(budget_windows=1), 0.0), 5, 0)
    assert budget.exhausted is None
    told(budget, 0, 0)  # the clock of slices goes on from the last window
    budget.add(second(4, 5))
    assert budget.exhausted is not None
    assert "2 of" in budget.exhausted
    assert "p90 ≤ 100 ms" in budget.exhausted


def test_a_share_allows_at_least_one_window() -> None:
    budget = ViolationBudget(rule(budget_windows=None, budget_share=0.5), 0.0)
    assert told(budget, 9, 0, 0).exhausted is None
    assert budget.allowed == 1
    assert told(ViolationBudget(rule(budget_windows=None, budget_share=0.5), 0.0), 9, 9).exhausted is not None
    assert told(ViolationBudget(rule(budget_windows=None, budget_share=0.5), 0.0), 9, 0, 0, 9).exhausted is None


def test_the_warm_up_is_left_out() -> None:
    found = told(ViolationBudget(rule(), 2.0), 20, 20, 0, 0).outcome()
    assert (found.windows, found.violated) == (2, 0)


def test_a_server_that_hangs_violates_every_window_although_nothing_ends() -> None:
    hanging = Requests(np.array([0]), np.array([10**12]))
    budget = ViolationBudget(rule(budget_windows=2), 0.0)
    budget.add(slices(hanging, 4.0))
    assert budget.exhausted is not None
    idle = ViolationBudget(rule(), 0.0)
    idle.add(slices(Requests(np.array([10**12]), np.array([10**12 + 1])), 4.0))
    assert idle.exhausted is None


# --- in a trial ---------------------------------------------------------------------------------------------------


pytestmark = pytest.mark.usefixtures("no_waiting")


SLO = {"latency": "100ms", "window": "2s", "budget": 1}


def test_a_soak_that_becomes_slow_ends_with_its_budget() -> None:
    """Four in flight at 20 ms take 80 ms, and grow by 1 % a second: over the limit from 25 s on."""
    trial = run(FakeEngine(service=drifting(0.02, 0.01)), point=case(soak=True, slo=SLO))
    assert trial.summary is not None
    assert trial.summary.stop_reason == "violation budget exhausted"
    assert trial.slo is not None
    assert trial.slo.exhausted is not None
    assert (trial.slo.violated, trial.slo.allowed) == (2, 1)
    assert trial.summary.warmup_s + trial.summary.window_s == pytest.approx(28, abs=2)
    assert "aborted" not in [flag.code for flag in trial.flags]


def test_a_soak_within_its_budget_goes_on_for_its_time() -> None:
    trial = run(FakeEngine(service=constant(0.02)), point=case(soak=True, slo=SLO, window={"max": "20s"}))
    assert trial.summary is not None
    assert trial.summary.stop_reason == "time cap"
    assert trial.slo is not None
    assert (trial.slo.violated, trial.slo.windows, trial.slo.exhausted) == (0, 10, None)


def test_failures_are_misses_and_end_it_by_the_budget_not_by_the_error_rate() -> None:
    trial = run(FakeEngine(service=constant(0.02), verdict=failing(0.2)), point=case(soak=True, slo=SLO))
    assert trial.summary is not None
    assert trial.summary.stop_reason == "violation budget exhausted"
    assert trial.slo is not None
    assert trial.slo.worst > 0.1


def test_a_budget_is_a_number_or_a_share() -> None:
    by_number = resolve(Measure.model_validate({"soak": True, "slo": {"latency": "1s", "budget": 3}})).slo
    by_share = resolve(Measure.model_validate({"soak": True, "slo": {"latency": "1s", "budget": "0.1%"}})).slo
    assert by_number is not None
    assert by_share is not None
    assert (by_number.budget_windows, by_number.budget_share) == (3, None)
    assert (by_share.budget_windows, by_share.budget_share) == (None, 0.001)


def test_an_objective_is_that_of_a_soak() -> None:
    with pytest.raises(UsageError, match=r"measure\.slo"):
        resolve(Measure.model_validate({"slo": {"latency": "1s"}}))
