"""Repeats as one: values by hand, coverage by simulation."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import pytest

from runner.results.histogram import Histogram
from runner.results.records import Counts, Distribution, Estimate, Flag, Percentile, SequenceSummary, TimeSplit, Trial
from runner.results.repeats import Spread, over_repeats, pooled
from runner.results.run import PlannedCase
from tests.unit.results.sample_run import CASES, MS, NOTE, failed, histogram, model, summary, trial

HARM = Flag("littles_law", 0.3, 0.02, "invalidates", "Requests in flight and throughput differ.")
MILD = Flag("trend", 0.03, 0.02, "informs", "Throughput moved by +3 %.")


def planned(repeats: int = 5, **changes: Any) -> PlannedCase:
    return replace(CASES[0], repeats=repeats, **changes)


def repeat(number: int, rate: float = 100.0, mean_ms: float = 10.0, **changes: Any) -> Trial:
    return trial(CASES[0], repeat=number, block=number, summary=summary(1, rate, mean_ms), **changes)


def five(*rates: float) -> list[Trial]:
    return [repeat(number, rate) for number, rate in enumerate(rates)]


def codes(found: Trial) -> list[tuple[str, str]]:
    return [(flag.code, flag.consequence) for flag in found.flags]


def test_one_planned_measurement_stays_as_it_is() -> None:
    only = trial(CASES[0])
    assert pooled(planned(1), [only]) == (only, None)
    assert pooled(planned(1), [failed(CASES[0], "gone"), only])[0] is only


def test_the_headline_is_the_median_with_the_t_interval_of_the_repeats() -> None:
    together, spread = pooled(planned(), five(98, 99, 100, 101, 107))
    assert together.summary is not None
    estimate = together.summary.requests_per_s
    # mean 101, s = sqrt((9 + 4 + 1 + 0 + 36) / 4) = 3.5355, t(4, 95 %) = 2.7764, half = 2.7764 * 3.5355 / sqrt(5)
    assert estimate.value == 100
    assert (estimate.low, estimate.high) == pytest.approx((101 - 4.3900, 101 + 4.3900), abs=1e-3)
    assert spread is not None
    assert spread.between == pytest.approx(3.5355 / 101, rel=1e-4)
    # each repeat said ±2 %: standard error 2 % / t(19) = 2 % / 2.0930, relative to the mean
    assert spread.within == pytest.approx(0.02 / 2.0930 * math.sqrt(10215.0 / 10201), rel=1e-3)
    assert (spread.planned, spread.measured, spread.used) == (5, 5, 5)


def test_two_repeats_say_honestly_how_little_they_say() -> None:
    estimate = over_repeats([99.0, 101.0], 0.95)
    assert (estimate.low, estimate.high) == pytest.approx((100 - 12.706, 100 + 12.706), abs=1e-3)
    assert over_repeats([100.0], 0.95) == Estimate(100.0)


def test_the_interval_never_leaves_out_the_median() -> None:
    estimate = over_repeats([*[100.0] * 60, *[0.0] * 40], 0.95)
    assert estimate.value == estimate.high == 100


def test_the_interval_covers_as_it_says() -> None:
    """Five repeats, normal: the truth lies inside in 95 % of 2000 runs (three standard errors are 1.5 %)."""
    draw = random.Random(1)
    estimates = [over_repeats([draw.gauss(100, 2) for _ in range(5)], 0.95) for _ in range(2000)]
    inside = sum(e.low is not None and e.high is not None and e.low <= 100 <= e.high for e in estimates)
    assert inside / 2000 == pytest.approx(0.95, abs=0.015)


def test_a_percentile_is_that_of_all_latencies_together_and_never_an_average() -> None:
    fast = [1.0] * 1000
    slow = [1.0] * 900 + [50.0] * 100
    trials = [
        replace(
            repeat(number),
            histograms={"latency": histogram(*values)},
            summary=replace(summary(), percentiles=(Percentile(95.0, Estimate(at, None, None), 900.0),)),
        )
        for number, (values, at) in enumerate([(fast, 1.0), (fast, 1.0), (slow, 50.0)])
    ]
    together, _ = pooled(planned(3), trials)
    assert together.summary is not None
    [p95] = together.summary.percentiles
    assert p95.estimate.value == pytest.approx(1.0, rel=1e-3)  # 100 of 3000 are slow; the mean of the p95 is 17
    assert p95.n_eff == 2700
    logs = math.log(50) * math.sqrt(2 / 3 * 1 / 3 * 3 / 2)  # standard deviation of 0, 0, ln 50
    half = 4.3027 * logs / math.sqrt(3)
    assert p95.estimate.high == pytest.approx(math.exp(half), rel=1e-3)
    assert p95.estimate.low == pytest.approx(math.exp(-half), rel=1e-3)
    assert Histogram.from_hdr_v2(together.histograms["latency"]).count == 3000


@pytest.mark.parametrize(("n_eff", "bounded"), [(70.0, False), (80.0, True)])
def test_too_few_independent_requests_have_no_upper_bound_even_together(n_eff: float, bounded: bool) -> None:
    """Five times 73.6 are the 368 that a two-sided 95 % interval of the p99 needs."""
    percentiles = (Percentile(99.0, Estimate(30.0, 26.0, None), n_eff),)
    trials = [replace(each, summary=replace(summary(), percentiles=percentiles)) for each in five(*[100] * 5)]
    together, _ = pooled(planned(), trials)
    assert together.summary is not None
    assert (together.summary.percentiles[0].estimate.high is not None) == bounded


def test_counts_and_server_counters_add_up() -> None:
    trials = [
        repeat(0, counts=Counts(10, 8, {"timeout": 2}, 0, 0)),
        repeat(1, counts=Counts(11, 10, {"timeout": 1}, 3, 0)),
    ]
    together, _ = pooled(planned(2), trials)
    assert together.counts == Counts(21, 18, {"timeout": 3}, 3, 0)
    assert [m.model for m in together.server] == ["tiny", "preprocess", "classify"]
    assert together.server[1] == replace(
        model("preprocess", 500, 1985, executions=1200, success=2400), inference_count=2400
    )
    assert together.summary is not None
    assert together.summary.completions == 2000
    assert together.summary.window_s == 20
    assert together.elapsed_s == 24.5


def test_parts_are_weighted_and_distributions_merged() -> None:
    def with_parts(number: int, completions: int, queue_ms: float, sequence_ms: float) -> Trial:
        sequences = SequenceSummary(1, 0, 2.0 + number, Distribution(1, 0, 0, 0, 0, 0, 0))
        whole = replace(
            summary(), completions=completions, time_split=TimeSplit(queue_ms, 0, 1, 0), sequences=sequences
        )
        hdr = Histogram.from_values([int(sequence_ms * MS)]).to_hdr_v2()
        return replace(repeat(number), summary=whole, histograms={"latency": histogram(9), "sequence_latency": hdr})

    together, _ = pooled(planned(2), [with_parts(0, 100, 1.0, 10), with_parts(1, 300, 2.0, 30)])
    assert together.summary is not None
    assert together.summary.time_split == TimeSplit(1.75, 0, 1, 0)
    sequences = together.summary.sequences
    assert sequences is not None
    assert (sequences.completed, sequences.per_s) == (2, 2.5)
    assert sequences.latency is not None
    assert sequences.latency.mean_ms == pytest.approx(20, rel=1e-3)


def test_an_invalid_repeat_is_left_out_and_named() -> None:
    trials = five(100, 100, 100, 100, 60)
    trials[4] = replace(trials[4], state="invalid", flags=(HARM, MILD))
    trials[1] = replace(trials[1], flags=(MILD,))
    together, spread = pooled(planned(), trials)
    assert together.state == "ok"
    assert together.summary is not None
    assert together.summary.requests_per_s.low == 100
    assert spread == Spread(5, 5, 4, 0.0, pytest.approx(0.02 / 2.093, rel=1e-3))  # type: ignore[arg-type]
    assert codes(together) == [("trend", "informs"), ("littles_law", "informs")]
    assert together.flags[0].message == "In 2 of 5 repeats: throughput moved by +3 %."
    assert together.flags[1].message.startswith("In 1 of 5 repeats, left out here: requests in flight")


@pytest.mark.parametrize(("planned_repeats", "valid", "state"), [(5, 3, "ok"), (5, 2, "invalid"), (2, 1, "invalid")])
def test_below_two_and_half_of_the_repeats_the_point_is_invalid(planned_repeats: int, valid: int, state: str) -> None:
    trials = five(*[100] * planned_repeats)
    for number in range(valid, planned_repeats):
        trials[number] = replace(trials[number], state="invalid", flags=(HARM,))
    together, spread = pooled(planned(planned_repeats), trials)
    assert together.state == state
    assert spread is not None
    assert spread.used == (valid if state == "ok" else planned_repeats), "numbers are shown all the same"
    assert ("littles_law", "invalidates" if state == "invalid" else "informs") in codes(together)


def test_missing_repeats_are_said_and_too_many_forbid() -> None:
    few, _ = pooled(planned(), five(100, 101, 102))
    assert few.state == "ok"
    assert codes(few) == [("aborted", "informs")]
    assert (few.flags[0].value, few.flags[0].limit) == (3, 5)
    fewer, _ = pooled(planned(), [*five(100, 101), failed(CASES[0], "the server died\nlast words")])
    assert fewer.state == "invalid"
    assert codes(fewer) == [("aborted", "invalidates")]
    assert "the last one that failed: the server died;" in fewer.flags[0].message
    none, spread = pooled(planned(), [failed(CASES[0], "gone")])
    assert (none.state, none.failure) == ("failed", "gone")
    assert spread == Spread(5, 0, 0, None, None)


def test_precision_is_judged_between_the_repeats() -> None:
    """±2 % within each repeat is good enough, but they differ: what was asked for is not reached."""
    asked = {"throughput": 0.03, "mean": 0.05, "p95": 0.05}
    noted = [replace(each, flags=(NOTE,)) for each in five(95, 98, 100, 102, 105)]
    together, _ = pooled(planned(precision=asked), noted)
    assert codes(together) == [("precision_unmet", "informs")]
    assert together.flags[0].value == pytest.approx(0.0472, abs=1e-3)
    assert together.flags[0].message.startswith("Throughput is known to ±4.7")
    assert "over 5 repeats" in together.flags[0].message
    assert together.summary is not None
    assert not together.summary.precision_met
    alike, _ = pooled(planned(precision=asked), [replace(each, flags=(NOTE,)) for each in five(*[100] * 5)])
    assert alike.flags == (), "a single repeat's interval is nobody's concern"


def test_labels_that_differ_belong_to_no_row() -> None:
    trials = [repeat(n, labels={"weights": "random", "digest": str(n)}) for n in range(2)]
    assert pooled(planned(2), trials)[0].labels == {"weights": "random"}
