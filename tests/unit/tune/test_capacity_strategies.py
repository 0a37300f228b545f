"""What every strategy keeps, and what the ones of older tools do."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from runner.results.capacity import Attempt
from runner.tune.capacity import STRATEGIES, new_search, pooled, replay
from runner.tune.capacity.climbs import FAILS
from runner.tune.capacity.isotonic import audit, isotonic
from runner.tune.capacity.knee import kneedle, ladder
from tests.unit.tune.oracle import Oracle, below, drive, sla, tally

FIELDS: dict[str, dict[str, Any]] = {
    "bracket": {},
    "linear": {"range": {"min": "100/s"}, "step": "25/s"},
    "climb": {"range": {"min": "100/s", "max": "900/s"}, "step": "50/s"},
    "perf_client": {"over": "concurrency"},
    "pa_linear": {"range": {"min": "100/s"}, "step": "25/s"},
    "pa_binary": {"range": {"min": "100/s", "max": "900/s"}, "step": "10/s"},
}
LOADS = [*(sla(strategy=name, **fields) for name, fields in FIELDS.items()), sla(latency=None), sla(over="concurrency")]
NAMES = [*FIELDS, "knee", "bracket over concurrency"]


def test_every_strategy_is_here() -> None:
    assert set(FIELDS) == set(STRATEGIES)


@pytest.mark.parametrize("load", LOADS, ids=NAMES)
def test_a_search_asks_the_same_until_it_is_told_and_begins_on_a_fresh_server(load) -> None:  # type: ignore[no-untyped-def]
    search, oracle = new_search(load), Oracle(below(10 if load.over == "concurrency" else 412))
    first = search.ask()
    assert first is not None
    assert first.fresh_server
    assert search.ask() is first
    drive(search, oracle)
    assert search.ask() is None


@pytest.mark.parametrize("load", LOADS, ids=NAMES)
@pytest.mark.parametrize("killed_after", [0, 1, 7])
def test_a_fresh_search_that_is_told_what_was_found_goes_on_from_there(load, killed_after: int) -> None:  # type: ignore[no-untyped-def]
    capacity = 10 if load.over == "concurrency" else 412
    whole, killed, resumed = new_search(load), new_search(load), new_search(load)
    drive(whole, Oracle(below(capacity)))
    drive(killed, Oracle(below(capacity)), killed_after)
    assert replay(resumed, killed.probes) == len(killed.probes)
    drive(resumed, Oracle(below(capacity)))
    assert resumed.attempt() == whole.attempt()


def test_a_record_of_another_search_is_told_only_as_far_as_it_fits() -> None:
    search, other = new_search(sla()), new_search(sla(range={"max": "300/s"}))
    drive(other, Oracle(below(612)))
    told = replay(search, other.probes)
    assert 0 < told < len(other.probes)
    assert search.number == told


@pytest.mark.parametrize("load", LOADS, ids=NAMES)
def test_a_budget_of_loads_ends_every_search(load) -> None:  # type: ignore[no-untyped-def]
    few = load.model_copy(update={"budget": load.budget.model_copy(update={"probes": 3})})
    search, random_ = new_search(few), random.Random(1)
    drive(search, Oracle(lambda _: random_.random() < 0.9))
    # A verdict on the ends, and the confirmation of what was found, come on top.
    assert search.number <= 3 + 2 * 4


# --- older tools --------------------------------------------------------------------------------------------------


def answer(strategy: str, oracle: Oracle, **fields: Any) -> Attempt:
    return oracle.search(sla(strategy=strategy, **(FIELDS[strategy] | fields)))


def test_linear_stops_at_its_first_miss_even_an_unlucky_one() -> None:
    assert answer("linear", Oracle(below(412))).level == 400
    unlucky = Oracle(below(412), says={("climb", 150.0): "fail"})
    assert answer("linear", unlucky).level == 125


def test_climb_goes_on_through_misses_and_has_no_end_there() -> None:
    found = answer("climb", Oracle(below(412)))
    assert (found.status, found.level) == ("no answer", None)
    assert "a miss makes it go on" in found.reason
    assert max(probe.level for probe in found.probes) == 900


def test_climb_ends_after_six_passes_without_more_throughput_and_reports_the_last_one_that_rose() -> None:
    found = answer("climb", Oracle(below(10_000), most_per_s=420), range={"min": "100/s"})
    assert (found.status, found.level) == ("found", 420)
    assert [probe.level for probe in found.probes][-FAILS:] == [500] * FAILS


def test_perf_client_looks_at_the_mean_with_one_more_in_flight_each_time() -> None:
    oracle = Oracle(below(10))
    found = answer("perf_client", oracle)
    assert (found.level, found.high) == (10, 11)
    assert [ask.level for ask in oracle.asked] == list(range(1, 12))
    assert {ask.rule for ask in oracle.asked} == {"stable mean"}


def test_pa_binary_tries_both_ends_first_and_each_load_once() -> None:
    oracle = Oracle(below(412))
    found = answer("pa_binary", oracle)
    levels = [ask.level for ask in oracle.asked]
    assert levels[:3] == [100, 900, 500]
    assert len(set(levels)) == len(levels)
    assert found.level is not None
    assert found.level <= 412 < (found.high or 0) <= found.level + 10
    assert answer("pa_binary", Oracle(below(50))).status == "infeasible"
    assert answer("pa_binary", Oracle(below(5000))).status == "at least"


# --- the knee -----------------------------------------------------------------------------------------------------


def test_the_knee_is_where_the_server_saturates_and_only_a_hint() -> None:
    oracle = Oracle(below(10), most_per_s=1600)
    found = oracle.search(sla(latency=None))
    assert (found.status, found.level, found.second_opinion) == ("hint", 8, 8)
    assert found.audit is None
    rungs = [ask.level for ask in oracle.asked]
    assert rungs == 2 * [1, 2, 3, 4, 6, 8, 12, 16]


def test_a_ladder_goes_on_while_doubling_brings_more() -> None:
    oracle = Oracle(below(10), most_per_s=200 * 48)
    assert oracle.search(sla(latency=None)).level == 48
    assert list(ladder()[:9]) == [1, 2, 3, 4, 6, 8, 12, 16, 24]


def test_kneedle_wants_eight_points_and_a_bend() -> None:
    assert kneedle({n: float(n) for n in range(1, 8)}) is None
    assert kneedle({n: float(n) for n in range(1, 12)}) is None
    # Satopää et al.: y = -1/x + 5 between 0.1 and 1 has its knee near x = 0.2 of the normalised axis.
    curve = {n: -1 / (n / 10) + 5 for n in range(1, 11)}
    assert kneedle(curve) == pytest.approx(3, abs=1)


# --- the audit ----------------------------------------------------------------------------------------------------


def test_isotonic_pools_neighbours_that_fall() -> None:
    assert isotonic([1, 3, 2, 4], [1, 1, 1, 1]) == [1, 2.5, 2.5, 4]
    assert isotonic([3, 1], [1, 3]) == [1.5, 1.5]
    assert isotonic([5, 4, 3], [1, 1, 1]) == [4, 4, 4]


def test_the_audit_finds_a_lower_load_that_misses_more_beyond_chance() -> None:
    found = Oracle(below(412)).search(sla())
    probes = [probe for probe in found.probes if probe.stage == "sweep"]
    shares = [0.40, 0.0, 0.01, 0.05, 0.5]
    strange = [replace(p, tally=tally(late=round(1000 * share))) for p, share in zip(probes, shares, strict=True)]
    wrong = audit(strange)
    assert wrong is not None
    assert (wrong.monotone, wrong.at) == (False, 200)
    level = audit([replace(p, tally=tally(late=late)) for p, late in zip(probes, [3, 1, 4, 8, 90], strict=True)])
    assert level is not None
    assert level.monotone, "three late ones or one are the same but for chance"


def test_an_overloaded_window_counts_as_missed_altogether_however_short_it_was() -> None:
    probes = [p for p in Oracle(below(412)).search(sla()).probes if p.stage == "sweep"][:2]
    over, early = tally(growth=200, late=30), tally(late=100, tau=1.0)
    found = audit([replace(probes[0], tally=early), replace(probes[1], tally=over)])
    assert found is not None
    assert found.monotone


# --- several searches ---------------------------------------------------------------------------------------------


def found_at(level: float | None) -> Attempt:
    status = "infeasible" if level is None else "found"
    return Attempt(status, "because", level, level and level * 1.02, level, ())


@pytest.mark.parametrize(
    ("levels", "answer", "low"), [([300, 290, 310], 300, 290), ([300, 290], 290, 290), ([300, None, 280], 280, 280)]
)
def test_several_searches_are_pooled_by_their_median(levels: list[float | None], answer: float, low: float) -> None:
    found = pooled(sla(attempts=len(levels)), [found_at(level) for level in levels])
    assert (found.status, found.level, found.low) == ("found", answer, low)
    assert found.high == pytest.approx(1.02 * max(level for level in levels if level is not None))
    assert ("2 of 3 searches have an answer" in found.reason) == (None in levels)


def test_without_an_answer_in_half_of_the_searches_there_is_none() -> None:
    found = pooled(sla(attempts=3), [found_at(None), found_at(300), found_at(None)])
    assert (found.status, found.level, found.low) == ("infeasible", None, None)


@pytest.mark.parametrize("strategy", ["pa_linear", "pa_binary"])
@pytest.mark.parametrize(("statistic", "rule"), [("percentile", "stable percentile"), ("mean", "stable mean")])
def test_perf_analyzers_searches_hold_the_mean_or_a_percentile_against_the_limit(
    strategy: str, statistic: str, rule: str
) -> None:
    oracle = Oracle(below(412))
    oracle.search(sla(strategy=strategy, statistic=statistic, **FIELDS[strategy]))
    assert {ask.rule for ask in oracle.asked} == {rule}


def test_only_perf_analyzers_searches_take_the_mean() -> None:
    with pytest.raises(ValidationError, match="only `pa_linear` and `pa_binary` take the mean"):
        sla(statistic="mean")
