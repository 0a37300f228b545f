"""A measured point is judged: evidence in, flags out. What the flags mean is declared in `flags.py`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from runner.measure.flags import RULES, Consequence, make_flag
from runner.measure.intervals import MAX_LAG1
from runner.measure.settings import MeasureSettings
from runner.measure.stopping import Spread
from runner.measure.summary import Findings, unmet
from runner.results.records import Counts, Flag, ModelStatistics, TrialState

LITTLES_LAW_LIMIT = 0.02
ERROR_RATE_LIMIT = 0.001
TAIL_LIMIT = 10.0
CPU_LIMIT = 0.85
CEILING_RATIO = 3.0
LONG_STALL_S = 0.2
LONG_STALL_SHARE = 0.02
LATE_S = 0.001
LATE_SHARE = 0.02
DRIFT_LIMIT = 0.02


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What is known about a point when it is judged."""

    findings: Findings
    counts: Counts
    settings: MeasureSettings
    batch: int
    items: int | None = None
    """Inferences of all successes, where requests hold different numbers of them."""
    steady: bool = True
    """The verdict of the rule that looks for a steady state."""
    wanted_warmup: float | None = None
    """Share of the trial that MSER-5 would drop."""
    apart: Spread | None = None
    """What differs most between windows that should be alike."""
    warmup_per_slot: float = math.inf
    aborted: str | None = None
    """Why the trial stopped early, or None."""
    server: Sequence[ModelStatistics] = ()
    """Differences over the trial, the called model first."""
    restarted: Sequence[str] = ()
    """Models whose counters went backwards."""
    cache_declared: bool = False
    ceiling_per_s: float | None = None
    """Requests per second that the engine reaches with a transport that answers at once."""
    longest_ms: float | None = None
    """Longest latency of the requests that were in flight in the window, also of those that ended after it."""
    asked_per_s: float | None = None
    """Rate that an open loop should offer; None in a closed loop and for a replay."""
    is_open: bool = False
    """Requests leave at their times: late ones and dropped ones can be told."""
    stationary: bool = True
    """The load is the same all the time, so that a drift in the window means something."""
    extra: Sequence[Flag] = ()
    """Flags raised by whoever collects other evidence."""


def judge(evidence: Evidence) -> tuple[Flag, ...]:
    """Every flag of a point, in the order of the vocabulary."""
    found = [flag for check in _CHECKS for flag in check(evidence)]
    order = list(RULES)
    return tuple(sorted((*found, *evidence.extra), key=lambda flag: order.index(flag.code)))


def state_of(flags: Sequence[Flag]) -> TrialState:
    """A measured point is invalid when any flag invalidates it."""
    return "invalid" if any(flag.consequence == "invalidates" for flag in flags) else "ok"


def _steadiness(e: Evidence) -> Iterator[Flag]:
    drift = e.findings.drift
    if not e.steady:
        yield _unsteady(e)
    if drift.found and e.stationary:
        yield make_flag(drift.shape, drift.change, DRIFT_LIMIT, what=drift.what)
    if e.warmup_per_slot < 1:
        yield make_flag("cold", e.warmup_per_slot, 1.0)


def _unsteady(e: Evidence) -> Flag:
    rule, summary = e.settings.windows, e.findings.summary
    if rule is not None:
        what = f"no three windows in a row lie within {rule.within:.0%} of each other"
        if e.apart is not None and math.isfinite(e.apart.share):
            what += f": {e.apart.what} differs by {e.apart.share:.1%} in the last three"
        share = e.apart.share if e.apart else None
        return make_flag("unsteady", share, rule.within, what=what, remedy="raise measure.stability.trials or interval")
    what = (
        f"no steady state was found in {summary.warmup_s:.3g} s of warm-up and {summary.window_s:.3g} s of measurement"
    )
    return make_flag(
        "unsteady", e.wanted_warmup, e.settings.warmup_max_fraction, what=what, remedy="raise measure.window.max"
    )


def _precision(e: Evidence) -> Iterator[Flag]:
    missed = unmet(e.findings, e.settings)
    bounded = [m for m in missed if math.isfinite(m[1])]
    if bounded:
        what, width, limit = bounded[0]
        yield make_flag("precision_unmet", width, limit, what=what)
    elif missed:
        what, _, limit = missed[0]
        yield Flag(
            "precision_unmet",
            None,
            limit,
            "informs",
            f"There are too few requests for an interval of {what} where ±{limit:.2%} was asked for; "
            "raise measure.window.max, or ask for less with measure.precision.",
        )
    yield from _interval_quality(e)


def _interval_quality(e: Evidence) -> Iterator[Flag]:
    tails = [(p.n_eff * (1 - p.q / 100), p.q) for p in e.findings.targets]
    weakest, q = min(tails, default=(math.inf, 0.0))
    if weakest < TAIL_LIMIT:
        words = f"the interval of p{q:g} rests on {weakest:.2g} independent values beyond it, not on {TAIL_LIMIT:g}"
        yield make_flag("ci_unreliable", weakest, TAIL_LIMIT, what=words)
    elif e.findings.lag1 > MAX_LAG1:
        words = f"neighbouring batches are still correlated ({e.findings.lag1:.2f}), so intervals are too narrow"
        yield make_flag("ci_unreliable", e.findings.lag1, MAX_LAG1, what=words)


def _failures(e: Evidence) -> Iterator[Flag]:
    counts = e.counts
    failed = sum(counts.failed.values()) + counts.unfinished
    if failed:
        rate = failed / max(counts.sent, 1)
        by_code = {**counts.failed, **({"unfinished": counts.unfinished} if counts.unfinished else {})}
        worst = ", ".join(f"{code} {n}" for code, n in sorted(by_code.items(), key=lambda item: -item[1])[:3])
        mild: Consequence = "informs" if rate <= ERROR_RATE_LIMIT else "invalidates"
        yield make_flag("errors", rate, ERROR_RATE_LIMIT, mild, failed=failed, sent=counts.sent, worst=worst)
    wrong = counts.failed.get("wrong_output", 0)
    if wrong:
        words = f"{wrong} sampled answers were not the expected ones; the first is under errors"
        yield make_flag("wrong_output", float(wrong), 0.0, what=words)
    if e.aborted:
        yield make_flag("aborted", None, None, why=e.aborted)


def _littles_law(e: Evidence) -> Iterator[Flag]:
    """Exact but for requests that straddle an edge of the window: the limit leaves room for those.

    |N T - sum R| is the age of the requests in flight at the end minus that at the start, at most E times the longest
    latency for E requests in flight at an edge: E/n of N T where all take equally long and move in step (a batching
    server), more by the ratio of the longest to the mean where they do not. Failures hold slots without a latency;
    their own flag speaks for them.
    """
    summary = e.findings.summary
    if sum(e.counts.failed.values()) or e.counts.unfinished:
        return
    longest_ms = max(summary.latency_max_ms, e.longest_ms or 0.0)
    spread = max(1.5, longest_ms / summary.latency_mean_ms.value)
    limit = max(LITTLES_LAW_LIMIT, spread * e.findings.edge_requests / summary.completions)
    if summary.littles_law_error > limit:
        yield make_flag("littles_law", summary.littles_law_error, limit)


def _server(e: Evidence) -> Iterator[Flag]:
    if e.restarted:
        yield make_flag("server_restarted", None, None, model=", ".join(e.restarted))
        return
    if not e.server:
        return
    yield from _server_counts(e, e.server[0])
    hits = sum(model.cache_hit_count for model in e.server)
    if hits:
        yield make_flag("cached", float(hits), 0.0, "informs" if e.cache_declared else "invalidates")


def _server_counts(e: Evidence, called: ModelStatistics) -> Iterator[Flag]:
    """Equal when everything was answered; a request without an answer may or may not have reached the server."""
    counts = e.counts
    seen = called.success_count + called.failure_count
    if called.success_count < counts.ok or seen > counts.sent + counts.closing:
        words = f"{called.success_count} successes and {called.failure_count} failures where the client counted "
        words += f"{counts.ok} successes of {counts.sent} sent"
        yield make_flag("mismatch_server_count", float(seen), float(counts.sent), what=words)
    elif e.items is not None:
        # Which of the failed and unanswered requests the server ran is not known, and they differ in size.
        if called.success_count == counts.ok and called.inference_count != e.items and not called.cache_hit_count:
            words = f"{called.inference_count} inferences where the client counted {e.items}"
            yield make_flag("mismatch_server_count", float(called.inference_count), float(e.items), what=words)
    elif not called.cache_hit_count and called.inference_count != called.success_count * e.batch:
        words = f"{called.inference_count} inferences in {called.success_count} requests of batch {e.batch}"
        expected = float(called.success_count * e.batch)
        yield make_flag("mismatch_server_count", float(called.inference_count), expected, what=words)


def _client(e: Evidence) -> Iterator[Flag]:
    """The first of the client's symptoms, the most telling one first."""
    summary = e.findings.summary
    long_stall = max(LONG_STALL_S, LONG_STALL_SHARE * summary.window_s)
    if e.findings.longest_stall_s > long_stall:
        words = f"an engine thread was away from its work for {e.findings.longest_stall_s:.2g} s"
        yield make_flag("client_limited", e.findings.longest_stall_s, long_stall, what=words)
    elif summary.client_cpu_fraction > CPU_LIMIT:
        words = f"engine threads were busy {summary.client_cpu_fraction:.0%} of the time"
        yield make_flag("client_limited", summary.client_cpu_fraction, CPU_LIMIT, what=words)
    elif e.ceiling_per_s is not None and e.ceiling_per_s < CEILING_RATIO * summary.requests_per_s.value:
        ratio = e.ceiling_per_s / summary.requests_per_s.value
        words = f"the engine alone reaches only {ratio:.2g} times this rate on this machine"
        yield make_flag("client_limited", ratio, CEILING_RATIO, what=words)
    elif e.is_open or e.asked_per_s is not None:
        yield from _late_sends(e)


def _late_sends(e: Evidence) -> Iterator[Flag]:
    lag_s = e.findings.summary.send_lag_p99_ms / 1e3
    limit = max(LATE_S, LATE_SHARE * e.findings.histograms["latency"].quantile(0.5) / 1e9)
    if lag_s > limit:
        words = f"1 % of the requests were sent more than {lag_s * 1e3:.2g} ms after their time"
        yield make_flag("client_limited", lag_s, limit, what=words)


def _open_loop(e: Evidence) -> Iterator[Flag]:
    yield from _dropped(e)
    if e.asked_per_s is None:
        return
    sent = e.findings.offered_per_s
    if not e.counts.dropped and abs(sent - e.asked_per_s) > _rate_tolerance(e) * e.asked_per_s:
        yield make_flag("not_delivered", sent, e.asked_per_s)
    backlog = e.findings.backlog
    if e.stationary and backlog.saturates(e.asked_per_s):
        yield make_flag("saturated", backlog.growth, DRIFT_LIMIT, answered=backlog.answered_at_most_per_s)


def _rate_tolerance(e: Evidence) -> float:
    return max(0.005, 3 / math.sqrt(max(e.findings.offered_per_s * e.findings.summary.window_s, 1)))


def _dropped(e: Evidence) -> Iterator[Flag]:
    """A request that was never sent has no latency: a few of them flatter the tail, many of them the mean."""
    dropped, due = e.counts.dropped, e.counts.dropped + e.counts.sent
    if not dropped:
        return
    mild: Consequence = "informs" if dropped <= 0.001 * due else "invalidates"
    words = f"{dropped} of {due} requests were dropped because load.max_in_flight others were waiting for answers; "
    words = words[:1].upper() + words[1:] + "lower the rate, or raise load.max_in_flight."
    yield Flag("not_delivered", dropped / due, 0.001, mild, words)


_CHECKS = (_steadiness, _precision, _failures, _littles_law, _server, _client, _open_loop)
