"""Every flag: raised when it should be, silent when it should not, with value, limit and a sentence."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runner.load.engine import Slice
from runner.measure.drift import STILL, Drift
from runner.measure.flags import RULES, make_flag, markdown_table
from runner.measure.judge import Evidence, judge, state_of
from runner.measure.series import Window
from runner.measure.settings import EXPLORE, REFERENCE, WindowsRule
from runner.measure.stopping import Spread
from runner.measure.summary import Findings, littles_law_error, summarise
from runner.results.records import Counts, Estimate, Flag, ModelStatistics
from tests.unit.measure.simulate import Requests, ar1, closed_loop, histogram, ordered, single_server, slices

WINDOW = Window(2_000_000_000, 22_000_000_000)
MILD = replace(EXPLORE, throughput=0.5, mean=0.5, percentile_precision={50.0: 0.5})


def findings(cut: list[Slice], window: Window = WINDOW, **settings: Any) -> Findings:
    return summarise(cut, window, batch=8, workers=1, settings=replace(MILD, **settings))


@pytest.fixture(scope="module")
def healthy() -> Findings:
    return findings(slices(single_server(0.02 * ar1(np.random.default_rng(0), 1400, 0.2, 0.1), 4), 22.0))


SERVER = ModelStatistics("m", "1", 1000, 0, 8000, 1000, 0, 0, 0, 0, 0)


def evidence(found: Findings, **changes: Any) -> Evidence:
    known: dict[str, Any] = {
        "findings": found,
        "counts": Counts(1000, 1000, {}, 0, 0),
        "settings": MILD,
        "batch": 8,
        "server": (SERVER,),
        "warmup_per_slot": 25.0,
    }
    return Evidence(**{**known, **changes})


def with_summary(found: Findings, **changes: Any) -> Findings:
    return replace(found, summary=replace(found.summary, **changes))


def only(flags: tuple[Flag, ...]) -> Flag:
    assert len(flags) == 1, flags
    flag = flags[0]
    assert not flag.message[0].islower()
    assert flag.message.endswith(".")
    assert "{" not in flag.message
    return flag


def test_a_healthy_point_has_no_flag(healthy: Findings) -> None:
    assert judge(evidence(healthy)) == ()
    assert state_of(()) == "ok"


def test_the_summary_is_that_of_the_window(healthy: Findings) -> None:
    summary = healthy.summary
    assert (summary.warmup_s, summary.window_s) == (2.0, 20.0)
    assert summary.requests_per_s.value == summary.completions / 20
    assert summary.inferences_per_s.value == 8 * summary.requests_per_s.value
    assert summary.inferences_per_s.low == 8 * (summary.requests_per_s.low or 0)
    assert summary.in_flight_mean == pytest.approx(4)
    assert summary.latency_mean_ms.value == pytest.approx(80, rel=0.02)
    assert [p.q for p in summary.percentiles] == [50, 90, 95, 99]
    assert summary.latency_max_ms >= summary.percentiles[-1].estimate.value
    assert summary.client_cpu_fraction == pytest.approx(0.01)
    assert summary.client_cpu_us_per_request == pytest.approx(1e6 * 0.2 / summary.completions)
    assert healthy.histograms["latency"].count == summary.completions


def test_nothing_to_summarise_is_refused() -> None:
    with pytest.raises(ValueError, match="no request completed"):
        findings(slices(Requests(np.array([0]), np.array([10**11])), 22.0))


@pytest.mark.parametrize("drift", [Drift("trend", 0.12, "throughput"), Drift("step", -0.05, "mean latency")])
def test_drift(healthy: Findings, drift: Drift) -> None:
    flag = only(judge(evidence(replace(healthy, drift=drift))))
    assert (flag.code, flag.value, flag.limit, flag.consequence) == (drift.shape, drift.change, 0.02, "informs")
    assert flag.message.startswith(drift.what.capitalize())


def test_unsteady_and_cold(healthy: Findings) -> None:
    assert only(judge(evidence(healthy, steady=False))).code == "unsteady"
    flag = only(judge(evidence(healthy, warmup_per_slot=0.5)))
    assert (flag.code, flag.value, flag.consequence) == ("cold", 0.5, "informs")


def test_unsteady_says_how_much_would_have_to_go(healthy: Findings) -> None:
    flag = only(judge(evidence(healthy, steady=False, wanted_warmup=0.62)))
    assert (flag.value, flag.limit) == (0.62, 0.5)
    assert "raise measure.window.max" in flag.message


@pytest.mark.parametrize(("share", "words"), [(0.25, "mean latency differs by 25.0%"), (math.inf, "within 10%")])
def test_windows_that_are_never_alike_are_unsteady(healthy: Findings, share: float, words: str) -> None:
    rule = WindowsRule(interval_s=5, requests=None, within=0.1, trials=10, percentile=None)
    known = evidence(healthy, steady=False, settings=replace(MILD, windows=rule), apart=Spread("mean latency", share))
    flag = only(judge(known))
    assert (flag.code, flag.consequence, flag.limit) == ("unsteady", "informs", 0.1)
    assert flag.value == (share if math.isfinite(share) else None)
    assert words in flag.message
    assert "measure.stability.trials" in flag.message


def test_precision_unmet_names_the_worst(healthy: Findings) -> None:
    strict = replace(MILD, throughput=1e-3, mean=1e-5)
    flag = only(judge(evidence(healthy, settings=strict)))
    assert (flag.code, flag.limit) == ("precision_unmet", 1e-5)
    assert "mean latency is known to ±" in flag.message.lower()


def test_precision_unmet_without_any_interval(healthy: Findings) -> None:
    flag = only(judge(evidence(with_summary(healthy, latency_mean_ms=Estimate(80.0)))))
    assert (flag.code, flag.value) == ("precision_unmet", None)
    assert "too few requests" in flag.message


def test_ci_unreliable_by_few_values_beyond_the_percentile() -> None:
    cut = slices(single_server(np.full(1400, 0.02), 4), 22.0)
    found = findings(cut, percentile_precision={99.9: 0.9})
    codes = {flag.code for flag in judge(evidence(found, settings=replace(MILD, percentile_precision={99.9: 0.9})))}
    assert "ci_unreliable" in codes


def test_ci_unreliable_by_correlated_batches(healthy: Findings) -> None:
    flag = only(judge(evidence(replace(healthy, lag1=0.6))))
    assert (flag.code, flag.value, flag.limit) == ("ci_unreliable", 0.6, 0.25)


@pytest.mark.parametrize(
    ("failed", "unfinished", "consequence"),
    [({"UNAVAILABLE": 1}, 0, "informs"), ({"UNAVAILABLE": 1, "timeout": 2}, 0, "invalidates"), ({}, 2, "invalidates")],
)
def test_errors(healthy: Findings, failed: dict[str, int], unfinished: int, consequence: str) -> None:
    lost = sum(failed.values()) + unfinished
    counts = Counts(1000, 1000 - lost, failed, 0, unfinished)
    flag = only(judge(evidence(healthy, counts=counts)))
    assert (flag.code, flag.value, flag.consequence) == ("errors", lost / 1000, consequence)
    assert next(iter(failed), "unfinished") in flag.message


def test_aborted_invalidates(healthy: Findings) -> None:
    flags = judge(evidence(healthy, aborted="7 % of the requests failed"))
    assert only(flags).code == "aborted"
    assert state_of(flags) == "invalid"


# --- Little's law -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batching", [False, True])
def test_littles_law_holds_on_healthy_short_windows(batching: bool) -> None:
    """Concurrency 4 and about 100 requests, one by one or in clumps of 4: never an alarm."""
    for seed in range(80):
        rng = np.random.default_rng(seed)
        if batching:
            done = np.repeat(np.cumsum(0.2 * ar1(rng, 50, 0, 0.2)) * 1e9, 4).astype(np.int64)
            requests = Requests(np.concatenate([np.zeros(4, np.int64), done[:-4]]), done)
        else:
            requests = closed_loop(0.05 * ar1(rng, 200, 0, 0.3), slots=4)
        found = findings(slices(requests, 7.0), Window(2_000_000_000, 7_000_000_000))
        assert 80 <= found.summary.completions <= 130
        assert "littles_law" not in {flag.code for flag in judge(evidence(found))}


def test_littles_law_allows_for_one_long_request_across_the_edge() -> None:
    """Of a request of 0.7 s that ends 0.1 s into the window, 0.6 s were spent in flight before it."""
    service = np.full(140, 0.08)
    service[17] = 0.7  # from 1.36 s to 2.06 s
    found = findings(slices(closed_loop(service, slots=1), 10.0), Window(2_000_000_000, 10_000_000_000))
    assert found.summary.littles_law_error > 0.06
    assert "littles_law" not in {flag.code for flag in judge(evidence(found))}


def test_littles_law_allows_for_one_long_request_that_ends_after_the_window() -> None:
    """Of a request of 0.7 s, 0.6 s were spent in flight in the window, and no latency of the window tells."""
    service = np.full(140, 0.08)
    service[117] = 0.7  # from 9.36 s to 10.06 s
    found = findings(slices(closed_loop(service, slots=1), 11.0), Window(2_000_000_000, 10_000_000_000))
    assert found.summary.latency_max_ms < 81
    assert found.summary.littles_law_error > 0.06
    assert "littles_law" in {flag.code for flag in judge(evidence(found))}
    assert "littles_law" not in {flag.code for flag in judge(evidence(found, longest_ms=700.0))}


def test_littles_law_is_of_the_time_in_flight_not_of_the_time_since_the_intended_send() -> None:
    """A late send lengthens the latency of an open loop; nothing of the request is in flight until then."""
    requests = ordered((np.arange(1000) * 2e7).astype(np.int64), (np.arange(1000) * 2e7 + 1e7).astype(np.int64))
    late_ns = 5_000_000
    late = [
        replace(
            s, latency=histogram(np.full(s.ok, 10_000_000 + late_ns)), latency_sum_ns=s.latency_sum_ns + late_ns * s.ok
        )
        for s in slices(requests, 20.0)
    ]
    found = summarise(late, Window(0, 20_000_000_000), batch=1, workers=1, settings=MILD, is_open=True)
    assert found.summary.latency_mean_ms.value == pytest.approx(15)
    assert found.summary.littles_law_error < 0.001


def test_littles_law_catches_a_window_of_whole_seconds() -> None:
    """64 requests at concurrency 1 take 2.15 s; counted over a window rounded up they seem a third slower."""
    cut = slices(single_server(np.full(64, 0.0336), 1), 2.2)
    last = replace(cut[-1], end_ns=2_150_400_000)
    honest = summarise([*cut[:-1], last], Window(0, 2_150_400_000), batch=1, workers=1, settings=REFERENCE)
    assert honest.summary.littles_law_error < 1e-3
    assert "littles_law" not in {f.code for f in judge(evidence(honest, settings=REFERENCE))}
    rounded = summarise([*cut[:-1], last], Window(0, 3_000_000_000), batch=1, workers=1, settings=REFERENCE)
    flag = next(f for f in judge(evidence(rounded, settings=REFERENCE)) if f.code == "littles_law")
    assert (flag.value, flag.limit, flag.consequence) == (pytest.approx(0.283, abs=0.01), 0.02, "invalidates")


def test_littles_law_on_published_figures() -> None:
    """16 requests reported at 15.99/s with concurrency 1, where their own latencies give 29.7/s."""
    assert littles_law_error(1.0, 15.99, 1 / 29.7) == pytest.approx(0.46, abs=0.01)
    assert littles_law_error(0.0, 0.0, 0.0) == 0


def test_littles_law_is_not_judged_when_failures_hold_slots(healthy: Findings) -> None:
    wrong = with_summary(healthy, littles_law_error=0.5)
    assert only(judge(evidence(wrong))).code == "littles_law"
    assert only(judge(evidence(wrong, counts=Counts(1000, 996, {"timeout": 4}, 0, 0)))).code == "errors"


# --- server -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "seen",
    [
        replace(SERVER, success_count=1001, inference_count=8008),
        replace(SERVER, success_count=999, inference_count=7992),
        replace(SERVER, failure_count=1),
        replace(SERVER, inference_count=1000),
    ],
)
def test_the_server_counted_something_else(healthy: Findings, seen: ModelStatistics) -> None:
    flag = only(judge(evidence(healthy, server=(seen,))))
    assert (flag.code, flag.consequence) == ("mismatch_server_count", "invalidates")


def test_requests_without_an_answer_may_or_may_not_have_been_counted(healthy: Findings) -> None:
    counts = Counts(1000, 998, {"timeout": 1}, 0, 1)
    for success in (998, 999, 1000):
        seen = replace(SERVER, success_count=success, inference_count=8 * success)
        assert only(judge(evidence(healthy, counts=counts, server=(seen,)))).code == "errors"
    too_many = replace(SERVER, success_count=998, failure_count=3, inference_count=8 * 998)
    codes = {f.code for f in judge(evidence(healthy, counts=counts, server=(too_many,)))}
    assert codes == {"errors", "mismatch_server_count"}


def test_a_restart_hides_what_the_counters_say(healthy: Findings) -> None:
    negative = replace(SERVER, success_count=-5)
    flag = only(judge(evidence(healthy, server=(negative,), restarted=("m",))))
    assert flag.code == "server_restarted"
    assert "model m " in flag.message


def test_cache_hits(healthy: Findings) -> None:
    cached = replace(SERVER, cache_hit_count=10, inference_count=7920)
    assert only(judge(evidence(healthy, server=(cached,)))).consequence == "invalidates"
    flag = only(judge(evidence(healthy, server=(cached,), cache_declared=True)))
    assert (flag.code, flag.value, flag.consequence) == ("cached", 10.0, "informs")


def test_without_statistics_the_server_is_not_judged(healthy: Findings) -> None:
    assert judge(evidence(healthy, server=())) == ()


# --- client -------------------------------------------------------------------------------------------------------


def test_a_client_that_was_stopped_for_a_second(healthy: Findings) -> None:
    flag = only(judge(evidence(replace(healthy, longest_stall_s=1.0))))
    assert (flag.code, flag.value, flag.limit) == ("client_limited", 1.0, pytest.approx(0.4))
    assert judge(evidence(replace(healthy, longest_stall_s=0.1))) == ()


def test_a_busy_client(healthy: Findings) -> None:
    flag = only(judge(evidence(with_summary(healthy, client_cpu_fraction=0.97))))
    assert (flag.code, flag.value, flag.limit) == ("client_limited", 0.97, 0.85)


def test_an_engine_near_its_ceiling(healthy: Findings) -> None:
    rate = healthy.summary.requests_per_s.value
    flag = only(judge(evidence(healthy, ceiling_per_s=2 * rate)))
    assert (flag.code, flag.value, flag.limit) == ("client_limited", pytest.approx(2), 3.0)
    assert judge(evidence(healthy, ceiling_per_s=3.1 * rate)) == ()


def test_late_sends_matter_in_an_open_loop_only(healthy: Findings) -> None:
    late = with_summary(healthy, send_lag_p99_ms=5.0)
    assert judge(evidence(late)) == ()
    flag = only(judge(evidence(late, asked_per_s=healthy.offered_per_s)))
    assert (flag.code, flag.value, flag.limit) == ("client_limited", 0.005, pytest.approx(0.0016, rel=0.1))


def test_an_open_loop_that_sends_less_than_asked(healthy: Findings) -> None:
    flag = only(judge(evidence(healthy, asked_per_s=2 * healthy.offered_per_s)))
    assert flag.code == "not_delivered"
    assert judge(evidence(healthy, asked_per_s=healthy.offered_per_s)) == ()


def test_an_open_loop_that_falls_behind() -> None:
    done = np.cumsum(np.full(2600, 0.0105)) * 1e9
    overloaded = ordered((np.arange(2600) * 1e7).astype(np.int64), done.astype(np.int64))
    found = replace(findings(slices(overloaded, 22.0)), drift=STILL)
    assert found.backlog.growth > 0.5
    assert found.backlog.answered_at_most_per_s == pytest.approx(95.2, rel=0.01)
    flag = next(f for f in judge(evidence(found, asked_per_s=100.0)) if f.code == "saturated")
    assert "most 95.46 requests/s were answered" in flag.message
    assert "saturated" not in {f.code for f in judge(evidence(found))}


# --- vocabulary ---------------------------------------------------------------------------------------------------


def test_flags_of_others_are_sorted_in(healthy: Findings) -> None:
    extra = make_flag("ecc", 1.0, 0.0, what="one uncorrected error")
    flags = judge(evidence(healthy, steady=False, extra=(extra,)))
    assert [f.code for f in flags] == ["unsteady", "ecc"]
    assert flags[1].message == "One uncorrected error."


def test_a_value_that_json_cannot_hold_is_left_out() -> None:
    assert make_flag("cold", float("inf"), 1.0).value is None


def test_an_unknown_code_is_refused() -> None:
    with pytest.raises(KeyError):
        make_flag("made_up", None, None)


def test_the_table_in_the_documentation_is_the_vocabulary() -> None:
    text = (Path(__file__).parents[3] / "docs" / "measurement.md").read_text(encoding="utf-8")
    assert markdown_table() in text
    assert all(f"`{code}`" in text for code in RULES)


def test_wrong_outputs_invalidate(healthy: Findings) -> None:
    counts = Counts(1000, 998, {"wrong_output": 2}, 0, 0)
    wrong, *_ = [flag for flag in judge(evidence(healthy, counts=counts)) if flag.code == "wrong_output"]
    assert (wrong.value, wrong.limit, wrong.consequence) == (2.0, 0.0, "invalidates")


def test_requests_that_only_end_sequences_are_not_strangers(healthy: Findings) -> None:
    server = replace(SERVER, success_count=1004, inference_count=8032)
    assert judge(evidence(healthy, counts=Counts(1000, 1000, {}, 0, 0, 4), server=(server,))) == ()
    assert only(judge(evidence(healthy, counts=Counts(1000, 1000, {}, 0, 0, 3), server=(server,)))).code == (
        "mismatch_server_count"
    )
