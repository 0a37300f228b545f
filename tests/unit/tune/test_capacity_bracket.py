"""The bracketing search, told by an oracle what it would measure."""

from __future__ import annotations

import pytest

from runner.results.capacity import Verdict
from tests.unit.tune.oracle import Oracle, below, sla


@pytest.mark.parametrize("capacity", [37.0, 190.0, 612.0, 940.0, 999.0])
def test_the_answer_is_the_confirmed_lower_end_of_a_narrow_bracket(capacity: float) -> None:
    found = Oracle(below(capacity)).search(sla())
    assert found.status == "found"
    assert found.level is not None
    assert found.high is not None
    assert found.level <= capacity < found.high <= 1.021 * found.level
    assert [probe.level for probe in found.probes if probe.stage == "confirm"] == [found.level] * 2


def test_the_stages_follow_each_other_and_two_want_a_fresh_server() -> None:
    oracle = Oracle(below(612))
    oracle.search(sla())
    stages = list(dict.fromkeys(ask.stage for ask in oracle.asked))
    assert stages == ["alone", "saturate", "sweep", "bisect", "confirm"]
    assert [(n, ask.stage) for n, ask in enumerate(oracle.asked) if ask.fresh_server] == [
        (0, "alone"),
        (len(oracle.asked) - 2, "confirm"),
    ]
    assert [ask.level for ask in oracle.asked if ask.stage == "saturate"] == [2, 4, 8, 16]
    assert [ask.level for ask in oracle.asked if ask.stage == "sweep"] == [200, 400, 600, 800, 950]


def test_one_request_that_is_late_alone_is_one_load_and_a_reason() -> None:
    found = Oracle(lambda _: False).search(sla())
    assert (found.status, found.level, len(found.probes)) == ("infeasible", None, 1)
    assert "one request at a time misses the limit already" in found.reason


def test_where_no_rate_passes_the_rate_is_halved_until_a_probe_could_not_tell() -> None:
    found = Oracle(lambda level: level == 0).search(sla())
    assert found.status == "infeasible"
    assert "no rate down to" in found.reason
    lowest = min(probe.level for probe in found.probes if probe.stage == "lower")
    assert lowest == pytest.approx(59 / 120, rel=0.01), "59 requests without a miss pass p95"


def test_a_server_that_answers_nothing_ends_the_search_soon() -> None:
    oracle = Oracle(below(612), most_per_s=0.0)
    found = oracle.search(sla())
    assert (found.status, [ask.stage for ask in oracle.asked]) == ("no answer", ["alone", "saturate"])


def test_a_range_that_is_met_to_its_end_says_at_least() -> None:
    found = Oracle(below(612)).search(sla(range={"max": "300/s"}))
    assert (found.status, found.level, found.high) == ("at least", 300, None)
    assert found.reason.endswith("the range ends at 300")


def test_nothing_is_tried_outside_the_range() -> None:
    oracle = Oracle(below(612))
    found = oracle.search(sla(range={"min": "500/s", "max": "800/s"}))
    rates = [ask.level for ask in oracle.asked if ask.over == "rate"]
    assert 500 <= min(rates) <= max(rates) <= 800
    assert found.status == "found"


def test_a_server_that_is_best_in_the_middle_is_not_bisected_blindly() -> None:
    """Dynamic batching: at low rates a request waits for company that does not come."""
    found = Oracle(lambda level: level == 0 or 350 < level < 700).search(sla())
    assert found.status == "found"
    assert found.level is not None
    assert 0.97 * 700 < found.level < 700


def test_an_unresolved_load_counts_as_not_passed_and_is_listed() -> None:
    oracle = Oracle(below(612), says={("sweep", 600.0): "unresolved"})
    found = oracle.search(sla())
    assert found.unresolved == (600.0,)
    assert found.level is not None
    assert found.level < 600 <= (found.high or 0)


@pytest.mark.parametrize(("second", "answered"), [("pass", True), ("invalid", False)])
def test_a_load_that_says_nothing_is_tried_once_again(second: Verdict, answered: bool) -> None:
    verdicts = iter(["invalid", second])
    oracle = Oracle(below(612))
    truth = oracle.probe

    def disturbed(ask, number):  # type: ignore[no-untyped-def]
        probe = truth(ask, number)
        if (ask.stage, ask.level) != ("sweep", 600.0):
            return probe
        return type(probe)(**{**vars(probe), "verdict": next(verdicts)})

    oracle.probe = disturbed  # type: ignore[method-assign]
    found = oracle.search(sla())
    assert [ask.level for ask in oracle.asked].count(600.0) == 2
    assert found.level is not None
    assert (found.level >= 600) == answered


def test_what_the_client_cannot_send_is_no_end_of_the_server() -> None:
    oracle = Oracle(below(5000), says={("raise", 1045.0): "invalid"})
    found = oracle.search(sla())
    assert (found.status, found.high) == ("at least", 1045)
    assert found.level == pytest.approx(1045, rel=0.02)
    assert "above, nothing could be measured" in found.reason


def test_an_answer_that_is_not_confirmed_goes_down_by_the_resolution() -> None:
    oracle = Oracle(below(612))
    (level,) = {probe.level for probe in oracle.search(sla()).probes if probe.stage == "confirm"}
    lucky = Oracle(below(612), says={("confirm", level): "fail"})
    found = lucky.search(sla())
    assert found.status == "found"
    assert found.level == pytest.approx(0.98 * level, rel=1e-4)
    assert found.high == level


def test_after_three_steps_down_nothing_is_published() -> None:
    oracle = Oracle(below(612))
    truth = oracle.probe

    def never_again(ask, number):  # type: ignore[no-untyped-def]
        probe = truth(ask, number)
        return type(probe)(**{**vars(probe), "verdict": "fail"}) if ask.stage == "confirm" else probe

    oracle.probe = never_again  # type: ignore[method-assign]
    found = oracle.search(sla())
    assert (found.status, found.level) == ("unconfirmed", None)
    assert sum(ask.stage == "confirm" for ask in oracle.asked) == 4


def test_a_budget_ends_the_looking_but_not_the_confirmation() -> None:
    found = Oracle(below(612)).search(sla(budget={"time": "110s"}))
    assert found.status == "found"
    assert "load.budget.time" in found.reason
    assert [probe.stage for probe in found.probes][-2:] == ["confirm", "confirm"]
    assert found.high is not None
    assert found.level is not None
    assert found.high > 1.021 * found.level


@pytest.mark.parametrize("capacity", [1, 2, 3, 5, 23, 64, 100])
def test_over_concurrency_whole_numbers_are_doubled_then_bisected(capacity: int) -> None:
    oracle = Oracle(below(capacity))
    found = oracle.search(sla(over="concurrency"))
    assert found.status == "found"
    assert found.level is not None
    assert found.level <= capacity < (found.high or 0) <= max(found.level + 1, 1.02 * found.level)
    assert found.per_s == min(found.level / 0.005, 1000)
    assert all(ask.over == "concurrency" and ask.level == int(ask.level) for ask in oracle.asked)


def test_over_concurrency_the_range_holds_too() -> None:
    found = Oracle(below(612)).search(sla(over="concurrency", range={"min": 3, "max": 20}))
    assert (found.status, found.level) == ("at least", 20)
    assert {probe.level for probe in found.probes} == {3, 6, 12, 20}
