"""Whole comparisons of simulated runs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from runner.errors import UsageError
from runner.measure.compared_metrics import Rules
from runner.measure.comparing import compare
from runner.measure.gate import Gate
from runner.results.comparison import Comparison, Contrast
from runner.results.metric_names import find_metric
from runner.results.records import Counts
from tests.unit.measure.compared_runs import measured, run_of, simulated_pair
from tests.unit.results.sample_run import FLAG, planned, summary

DIFFERENT = ("better", "worse", "different_but_small")


def contrast(comparison: Comparison, metric: str = "inferences_per_s") -> Contrast:
    return next(c for c in comparison.points[0].contrasts if c.metric == metric)


def share_different(effect: float, runs: int, blocks: int, only: str | None = None) -> float:
    rng, found = np.random.default_rng(18), 0
    for _ in range(runs):
        comparison = compare(*simulated_pair(rng, effect, blocks), Rules.of())
        judged = [contrast(comparison, only)] if only else comparison.contrasts()
        found += any(c.verdict in DIFFERENT for c in judged)
    return found / runs


# --- validation row 18 --------------------------------------------------------------------------------------------


def test_a_against_a_is_called_different_in_at_most_7_percent() -> None:
    """Any metric of the whole table counts, over 100 pairs as in the validation plan and over 400 to be sure."""
    assert share_different(0.0, 100, 6) <= 0.07
    assert share_different(0.0, 400, 6) <= 0.07


@pytest.mark.parametrize("effect", [0.03, -0.03])
def test_a_known_effect_of_3_percent_is_found_at_six_blocks(effect: float) -> None:
    assert share_different(effect, 150, 6, "inferences_per_s") >= 0.9


def test_paired_blocks_do_not_see_a_rig_that_drifts() -> None:
    rng = np.random.default_rng(3)
    alarms = [compare(*simulated_pair(rng, drift=0.1), Rules.of()).contrasts() for _ in range(100)]
    assert sum(any(c.verdict in DIFFERENT for c in found) for found in alarms) / 100 <= 0.07


def test_a_run_made_later_on_a_slower_rig_alarms_and_is_only_likely() -> None:
    rng = np.random.default_rng(3)
    alarms = []
    for _ in range(100):
        _, b = simulated_pair(rng)
        later = [measured(96 * float(np.exp(rng.normal(0, 0.01))), n) for n in range(6)]
        alarms.append(contrast(compare(run_of(later, name="later"), b, Rules.of())))
    assert sum(c.verdict in DIFFERENT for c in alarms) > 40
    assert not any(c.certain for c in alarms)


# --- designs ------------------------------------------------------------------------------------------------------


def test_paired_blocks_say_worse_and_which_way() -> None:
    a = run_of([measured(90.0 + n, n) for n in range(6)], "g", "a")
    b = run_of([measured(100.0 + n, n) for n in range(6)], "g", "b")
    comparison = compare(a, b, Rules.of())
    rate, p99 = contrast(comparison), contrast(comparison, "latency_p99_ms")
    assert comparison.points[0].design == "paired"
    assert (rate.verdict, rate.words, rate.certain) == ("worse", "worse", True)
    assert rate.change.value == pytest.approx(-0.0976, abs=1e-3)
    assert (p99.verdict, p99.worse_by > 0.1) == ("worse", True)
    assert rate.p_exact == pytest.approx(0.03125)
    assert contrast(compare(b, a, Rules.of())).verdict == "better"


def test_blocks_of_other_runs_are_no_pairs() -> None:
    a = run_of([measured(90.0 + n, n) for n in range(6)], "g", "a")
    b = run_of([measured(100.0 + n, n) for n in range(6)], "other", "b")
    comparison = compare(a, b, Rules.of())
    assert comparison.points[0].design == "repeats"
    assert contrast(comparison).words == "likely worse"


def test_a_block_with_an_invalid_side_is_no_pair_and_is_said() -> None:
    trials = [measured(100.0 + n, n) for n in range(7)]
    broken = [replace(trials[0], state="invalid", flags=(FLAG,)), *trials[1:]]
    (point,) = compare(run_of(broken, "g", "a"), run_of(trials, "g", "b"), Rules.of()).points
    assert (point.design, point.used_a, point.used_b) == ("paired", 6, 6)
    assert "client_limited" in " ".join(point.notes)


def test_few_blocks_are_only_likely() -> None:
    a = run_of([measured(80.0 + n, n) for n in range(4)], "g", "a")
    b = run_of([measured(100.0 + n, n) for n in range(4)], "g", "b")
    comparison = compare(a, b, Rules.of())
    assert contrast(comparison).words == "likely worse"
    assert "fewer than 6" in " ".join(comparison.points[0].notes)


def test_one_measurement_each_is_judged_by_its_own_interval() -> None:
    comparison = compare(run_of([measured(90.0)]), run_of([measured(100.0)]), Rules.of())
    assert comparison.points[0].design == "within_run"
    assert contrast(comparison).words == "likely worse"
    assert contrast(comparison).p is None
    close = compare(run_of([measured(98.0)]), run_of([measured(100.0)]), Rules.of())
    assert contrast(close).words == "undecided"
    same = compare(run_of([measured(100.0)]), run_of([measured(100.0)]), Rules.of())
    assert contrast(same).words == "likely equivalent"


# --- metrics ------------------------------------------------------------------------------------------------------


def test_no_errors_on_either_side_are_equal_without_a_test() -> None:
    found = contrast(compare(*simulated_pair(np.random.default_rng(1)), Rules.of()), "error_rate")
    assert (found.verdict, found.p, found.note) == ("equivalent", None, "none on either side")


def test_errors_are_compared_as_shares() -> None:
    failing = [measured(100.0, n, counts=Counts(1000, 950 + n, {"timeout": 50 - n}, 0, 0)) for n in range(6)]
    clean = [measured(100.0, n) for n in range(6)]
    found = contrast(compare(run_of(failing, "g"), run_of(clean, "g"), Rules.of()), "error_rate")
    assert found.verdict == "worse"
    assert found.change.value == pytest.approx(0.0475, abs=1e-4)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("p99", "latency_p99_ms"),
        ("latency.p99.9", "latency_p99.9_ms"),
        ("latency_p50_ms", "latency_p50_ms"),
        ("throughput", "inferences_per_s"),
        ("latency.mean", "latency_mean_ms"),
        ("errors", "error_rate"),
        ("server_queue_us", "server_queue_us"),
    ],
)
def test_names_of_metrics(name: str, key: str) -> None:
    assert find_metric(name).key == key


@pytest.mark.parametrize("name", ["in_flight_mean", "nonsense", "p100", ""])
def test_metrics_without_a_direction_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="could be better or worse"):
        find_metric(name)


def test_named_metrics_are_a_family_of_holm_and_grids_one_of_benjamini_and_hochberg() -> None:
    a, b = simulated_pair(np.random.default_rng(2))
    assert compare(a, b, Rules.of(["p50", "p99"])).adjustment == "holm"
    assert compare(a, b, Rules.of()).adjustment == "benjamini_hochberg"
    assert compare(a, b, Rules.of(["p99"])).adjustment == "none"


# --- points -------------------------------------------------------------------------------------------------------


def test_points_are_matched_by_parameters_that_both_have() -> None:
    one, four = planned(1, 1), planned(1, 4)
    renamed = replace(four, case_id="c4", parameters={"load.concurrency": 4})
    a = run_of([], others=[(one, [measured(50.0, case=one)]), (four, [measured(90.0, case=four)])])
    b = run_of([], others=[(renamed, [measured(100.0, case=renamed)])])
    comparison = compare(a, b, Rules.of())
    assert [(p.case_a, p.case_b, p.parameters) for p in comparison.points] == [("b1-c4", "c4", {"load.concurrency": 4})]
    assert [(left.side, left.case_id, left.reason) for left in comparison.left_out] == [
        ("A", "b1-c1", "no such point in B")
    ]


def test_an_axis_that_only_one_side_has_cannot_be_matched() -> None:
    one, eight = planned(1, 4), planned(8, 4)
    renamed = replace(one, case_id="c4", parameters={"load.concurrency": 4})
    a = run_of([], others=[(one, [measured(50.0, case=one)]), (eight, [measured(50.0, case=eight)])])
    comparison = compare(a, run_of([], others=[(renamed, [measured(50.0, case=renamed)])]), Rules.of())
    assert not comparison.points
    assert {left.side for left in comparison.left_out} == {"A", "B"}
    assert "2 points of A have the parameters of 1 of B" in [left.reason for left in comparison.left_out]


def test_invalid_points_are_listed_with_their_reason() -> None:
    broken = run_of([measured(100.0, state="invalid", flags=(FLAG,))])
    comparison = compare(broken, run_of([measured(100.0)]), Rules.of())
    assert not comparison.points
    (left,) = comparison.left_out
    assert (left.side, left.reason) == ("A", "A invalid: client_limited")


def test_another_rig_is_said_first_and_what_was_asked_apart() -> None:
    a = run_of([measured(100.0)], environment={"cpu": {"model": "two"}, "load_average": [9.0]}, labels={"weights": "x"})
    found = compare(a, run_of([measured(100.0)]), Rules.of()).differences
    assert found.rig == ("cpu.model: two | one",)
    assert "labels.weights" not in " ".join(found.rig)
    assert compare(run_of([measured(1.0)]), run_of([measured(1.0)]), Rules.of()).differences.rig == ()


# --- gates --------------------------------------------------------------------------------------------------------


def worse() -> Comparison:
    a = run_of([measured(90.0 + n, n, tail=1.3) for n in range(6)], "g", "a")
    b = run_of([measured(100.0 + n, n) for n in range(6)], "g", "b")
    return compare(a, b, Rules.of())


@pytest.mark.parametrize(
    ("text", "missed"),
    [
        ("worse", True),
        ("better", False),
        ("undecided", False),
        ("worse:p99", True),
        ("worse:errors", False),
        ("latency_p99_ms > 5%", True),
        ("latency.p99 > 80%", False),
        ("throughput > 9% and throughput < 11%", True),
        ("throughput.low > 12%", False),
        ("not equivalent:errors or different:p50", True),
    ],
)
def test_gates(text: str, missed: bool) -> None:
    assert bool(Gate.of(text).missed(worse())) is missed


@pytest.mark.parametrize("text", ["", "worst", "latency_p99_ms >", "worse:nothing", "in_flight_mean > 5%"])
def test_gates_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Gate.of(text)


@pytest.mark.parametrize("text", ["latency_p99_ms > 5ms", "latency_p99_ms"])
def test_gates_with_the_wrong_kind_of_value_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        Gate.of(text).missed(worse())


def test_a_gate_is_missed_where_nothing_could_be_compared() -> None:
    nothing = compare(run_of([]), run_of([measured(1.0)]), Rules.of())
    assert Gate.of("worse").missed(nothing) == ("no point could be compared",)


# --- metrics that nobody measured ---------------------------------------------------------------------------------


def test_a_metric_that_was_named_and_not_measured_is_refused_with_those_of_both_runs() -> None:
    with pytest.raises(UsageError, match="latency_p42_ms was not measured in both runs") as caught:
        compare(run_of([measured(100)]), run_of([measured(100)], name="b"), Rules.of(["throughput", "p42"]))
    hint = caught.value.hint or ""
    assert "both have latency_p50_ms, latency_p95_ms, latency_p99_ms, " in hint
    assert "inferences_per_s" in hint
    assert "gpu_power_w" not in hint, "neither run has it"


def test_one_of_the_usual_metrics_may_be_missing() -> None:
    sparse = [replace(measured(100), summary=summary(percentiles=()))]
    shown = {c.metric for c in compare(run_of(sparse), run_of(sparse, name="b"), Rules.of()).contrasts()}
    assert "inferences_per_s" in shown
    assert "latency_p50_ms" not in shown
