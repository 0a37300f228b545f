"""What a probe of a search counts, and when it stops."""

from __future__ import annotations

import numpy as np
import pytest

from runner.load.fake import FakeEngine, constant, failing
from runner.measure.rules import LimitRule
from runner.measure.selftest.simulate import Requests, open_loop, slices
from runner.measure.series import Series
from runner.measure.tally import tally
from runner.results.capacity import Probe, Tally, Verdict
from tests.unit.measure.trials import case, run

MS = 1_000_000
LIMIT = LimitRule(percentile=90.0, limit_s=0.1)


def counted(sent_ms: list[int], took_ms: list[int], end_s: float = 2.0, failed: list[bool] | None = None) -> Tally:
    sent = np.array(sent_ms) * MS
    cut = slices(
        Requests(sent, sent + np.array(took_ms) * MS), end_s, failed=None if failed is None else np.array(failed)
    )
    return tally(Series.of(cut), LIMIT, None)


def test_late_failed_and_overdue_requests_are_misses() -> None:
    found = counted([0, 100, 200, 300, 1500, 1950], [20, 99, 150, 250, 9000, 9000], failed=[False, True, *[False] * 4])
    assert (found.requests, found.late, found.failed, found.overdue, found.missed) == (5, 2, 1, 1, 4)
    assert found.growth == 2


def test_what_was_sent_within_the_limit_before_the_end_is_not_overdue_yet() -> None:
    assert counted([0, 1950], [20, 9000]).overdue == 0
    assert counted([0, 1800], [20, 9000]).overdue == 1


def test_tau_grows_with_the_queue() -> None:
    rng = np.random.default_rng(3)
    arrivals = np.cumsum(rng.exponential(0.01, 6000))
    taus = [
        tally(Series.of(slices(open_loop(arrivals, np.full(6000, s)), 50.0)), LIMIT, 100.0).tau for s in (0.001, 0.009)
    ]
    assert taus[0] < 3 < 10 < taus[1]


def test_a_server_that_cannot_keep_up_is_saturated_before_anything_is_late() -> None:
    arrivals = np.arange(3000) * 0.01
    found = tally(
        Series.of(slices(open_loop(arrivals, np.full(3000, 0.0105)), 30.0)),
        LimitRule(percentile=90, limit_s=10.0),
        100.0,
    )
    assert (found.late, found.overdue) == (0, 0)
    assert found.saturated
    assert found.growth > 100


# --- in a trial ---------------------------------------------------------------------------------------------------


pytestmark = pytest.mark.usefixtures("no_waiting")


class Judge:
    """Unresolved so often, then a verdict."""

    def __init__(self, unresolved: int, verdict: Verdict = "pass") -> None:
        self.seen: list[Tally] = []
        self.unresolved, self.verdict = unresolved, verdict

    def __call__(self, found: Tally) -> Probe:
        self.seen.append(found)
        verdict = "unresolved" if len(self.seen) <= self.unresolved else self.verdict
        return Probe(0, 0, "sweep", "rate", 20.0, verdict, "scripted", found)


def probed(judge: Judge, engine: FakeEngine | None = None):  # type: ignore[no-untyped-def]
    from dataclasses import replace

    from runner.measure.settings import EXPLORE

    settings = replace(
        EXPLORE, limit=LIMIT, warmup_min_s=1.0, window_min_s=2.0, window_max_s=12.0, throughput=None, mean=None,
        percentile_precision={},
    )  # fmt: skip
    return run(engine or FakeEngine(service=constant(0.02)), point=case(), settings=settings, verdict=judge)


@pytest.mark.parametrize(("unresolved", "window_s", "reason"), [(0, 2, "verdict reached"), (1, 4, "verdict reached")])
def test_a_probe_lasts_until_there_is_a_verdict(unresolved: int, window_s: float, reason: str) -> None:
    judge = Judge(unresolved)
    trial = probed(judge)
    assert trial.summary.window_s == pytest.approx(window_s)
    assert trial.summary.stop_reason == reason
    assert trial.probe.verdict == "pass"
    assert trial.probe.tally == judge.seen[-1]


def test_without_a_verdict_it_lasts_to_its_end() -> None:
    judge = Judge(99)
    trial = probed(judge)
    assert [round(found.window_s) for found in judge.seen[:4]] == [2, 4, 8, 12]
    assert (trial.summary.stop_reason, trial.probe.verdict) == ("time cap", "unresolved")


def test_the_tally_of_a_trial_has_its_failures() -> None:
    trial = probed(Judge(99), FakeEngine(service=constant(0.02), verdict=failing(0.01)))
    assert trial.probe.tally.failed == trial.summary.failures > 0
