"""The repeats of a point as one: what every table shows for it.

Within one start of a server everything is correlated: memory layout, autotuned kernels, clocks. So the spread that
counts is the one between starts, and an interval comes from the values of the repeats, one value each (Kalibera &
Jones, ISMM 2013; Hoefler & Belli, SC 2015, rules 5 to 7). Counts and server counters add up, rates are medians, and a
percentile is that of all latencies together: percentiles are never averaged.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from runner.results.distributions import distribution
from runner.results.histogram import Histogram
from runner.results.records import (
    Counts,
    Estimate,
    Flag,
    Percentile,
    SequenceSummary,
    StreamSummary,
    Summary,
    TimeSplit,
    Trial,
    half_width,
)
from runner.results.student import student_t
from runner.results.together import loads_together, models_together, splits_together

if TYPE_CHECKING:
    from runner.results.run import PlannedCase

BATCHES = 20
"""Batch means behind the interval of one repeat, about: what turns its half-width back into a standard error."""


@dataclass(frozen=True)
class Spread:
    """What repeating showed of the throughput."""

    planned: int
    measured: int
    """Repeats with a number, valid or not."""
    used: int
    """Repeats that the pooled numbers come from."""
    between: float | None
    """Standard deviation of the repeats' throughputs, relative to their mean."""
    within: float | None
    """Standard error inside a repeat, relative to the same mean: the part of `between` that longer windows cure."""


def pooled(case: PlannedCase, trials: Sequence[Trial]) -> tuple[Trial, Spread | None]:
    """One trial that stands for the repeats of a case (at least one); the trial itself where only one was planned.

    Invalid repeats are left out as long as the valid ones are two and half of those planned. Below that the point is
    invalid, and its numbers come from whatever was measured.
    """
    if case.repeats <= 1:
        return trials[-1], None
    measured = [trial for trial in trials if trial.summary is not None]
    if not measured:
        return trials[-1], Spread(case.repeats, 0, 0, None, None)
    valid = [trial for trial in measured if trial.state == "ok"]
    enough = len(valid) >= max(2, math.ceil(case.repeats / 2))
    used = valid if enough else measured
    summary = _summary(case, used)
    flags = (*_united(trials, used), *_shortfall(case, trials, measured, enough), *_imprecise(case, summary, len(used)))
    together = replace(
        used[0],
        state="ok" if enough else "invalid",
        repeat=0,
        block=0,
        elapsed_s=sum(trial.elapsed_s for trial in trials),
        counts=_counts(used),
        summary=summary,
        server=models_together(model for trial in used for model in trial.server),
        bls=models_together(model for trial in used for model in trial.bls),
        whole=loads_together([trial.whole for trial in used if trial.whole is not None]),
        flags=flags,
        errors={code: text for trial in reversed(trials) for code, text in trial.errors.items()},
        labels={key: value for key, value in used[0].labels.items() if all(t.labels.get(key) == value for t in used)},
        histograms={name: histogram.to_hdr_v2() for name, histogram in _histograms(used).items()},
    )
    return together, _spread(case, measured, used)


# --- numbers ------------------------------------------------------------------------------------------------------


def over_repeats(values: Sequence[float], confidence: float) -> Estimate:
    """Median, with the t-interval of the mean over the repeats, widened where it would leave out the median."""
    middle = statistics.median(values)
    if len(values) < 2:
        return Estimate(middle)
    half = student_t(confidence, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    mean = statistics.fmean(values)
    return Estimate(middle, max(min(mean - half, middle), 0.0), max(mean + half, middle))


def _summary(case: PlannedCase, used: Sequence[Trial]) -> Summary:
    summaries = [trial.summary for trial in used if trial.summary is not None]
    histograms = _histograms(used)

    def estimate(of: Callable[[Summary], Estimate]) -> Estimate:
        return over_repeats([of(summary).value for summary in summaries], case.confidence)

    def median(of: Callable[[Summary], float]) -> float:
        return statistics.median(of(summary) for summary in summaries)

    send_lag = histograms.get("send_lag", Histogram.empty())
    offered = [summary.offered_per_s for summary in summaries if summary.offered_per_s is not None]
    result = Summary(
        warmup_s=median(lambda s: s.warmup_s),
        window_s=sum(summary.window_s for summary in summaries),
        completions=sum(summary.completions for summary in summaries),
        failures=sum(summary.failures for summary in summaries),
        requests_per_s=estimate(lambda s: s.requests_per_s),
        inferences_per_s=estimate(lambda s: s.inferences_per_s),
        latency_mean_ms=estimate(lambda s: s.latency_mean_ms),
        latency_max_ms=max(summary.latency_max_ms for summary in summaries),
        percentiles=tuple(_percentiles(summaries, histograms.get("latency"), case.confidence)),
        in_flight_mean=median(lambda s: s.in_flight_mean),
        littles_law_error=max(summary.littles_law_error for summary in summaries),
        send_lag_p99_ms=send_lag.quantile(0.99) / 1e6 if send_lag.count else median(lambda s: s.send_lag_p99_ms),
        client_cpu_us_per_request=median(lambda s: s.client_cpu_us_per_request),
        client_cpu_fraction=median(lambda s: s.client_cpu_fraction),
        steady=all(summary.steady for summary in summaries),
        precision_met=True,
        stop_reason="; ".join(dict.fromkeys(summary.stop_reason for summary in summaries)),
        time_split=_time_split(summaries),
        sequences=_sequences(summaries, histograms),
        stream=_stream(summaries, histograms),
        offered_per_s=statistics.median(offered) if offered else None,
    )
    return replace(result, precision_met=not list(_missed(case, result)))


def _percentiles(summaries: Sequence[Summary], latency: Histogram | None, confidence: float) -> Iterator[Percentile]:
    if latency is None or not latency.count:
        return
    for q in sorted({p.q for summary in summaries for p in summary.percentiles}):
        own = [p for summary in summaries for p in summary.percentiles if p.q == q]
        yield _percentile(q, own, latency.quantile(q / 100) / 1e6, confidence)


def _percentile(q: float, own: Sequence[Percentile], value_ms: float, confidence: float) -> Percentile:
    """The percentile of all latencies together; its interval is t over the logarithms of the repeats' own values.

    Logarithms, because the spread of a tail grows with it. No upper bound where all repeats together hold too few
    independent requests for one: then no value lies beyond the percentile with enough confidence.
    """
    n_eff = sum(p.n_eff for p in own)
    if len(own) < 2 or value_ms <= 0:
        return Percentile(q, Estimate(value_ms), n_eff)
    logs = [math.log(max(p.estimate.value, 1e-6)) for p in own]
    half = student_t(confidence, len(own) - 1) * statistics.stdev(logs) / math.sqrt(len(own))
    supported = n_eff >= math.log((1 - confidence) / 2) / math.log(q / 100)
    high = value_ms * math.exp(min(half, 600.0)) if supported else None
    return Percentile(q, Estimate(value_ms, value_ms * math.exp(-half), high), n_eff)


def _spread(case: PlannedCase, measured: Sequence[Trial], used: Sequence[Trial]) -> Spread:
    estimates = [trial.summary.requests_per_s for trial in used if trial.summary is not None]
    mean = statistics.fmean(estimate.value for estimate in estimates)
    between = statistics.stdev(e.value for e in estimates) / mean if len(estimates) > 1 and mean else None
    factor = student_t(case.confidence, BATCHES - 1)
    errors = [(e.high - e.low) / 2 / factor for e in estimates if e.low is not None and e.high is not None]
    within = math.sqrt(statistics.fmean(error**2 for error in errors)) / mean if errors and mean else None
    return Spread(case.repeats, len(measured), len(used), between, within)


# --- parts --------------------------------------------------------------------------------------------------------


def _histograms(used: Sequence[Trial]) -> dict[str, Histogram]:
    names = dict.fromkeys(name for trial in used for name in trial.histograms)
    return {
        name: Histogram.merged(Histogram.from_hdr_v2(t.histograms[name]) for t in used if name in t.histograms)
        for name in names
    }


def _counts(used: Sequence[Trial]) -> Counts | None:
    counts = [trial.counts for trial in used if trial.counts is not None]
    if not counts:
        return None
    codes = dict.fromkeys(code for each in counts for code in each.failed)
    return Counts(
        sent=sum(each.sent for each in counts),
        ok=sum(each.ok for each in counts),
        failed={code: sum(each.failed.get(code, 0) for each in counts) for code in codes},
        dropped=sum(each.dropped for each in counts),
        unfinished=sum(each.unfinished for each in counts),
        closing=sum(each.closing for each in counts),
    )


def _time_split(summaries: Sequence[Summary]) -> TimeSplit | None:
    parts = [(summary.time_split, summary.completions) for summary in summaries if summary.time_split is not None]
    return splits_together(parts) if sum(weight for _, weight in parts) else None


def _sequences(summaries: Sequence[Summary], histograms: dict[str, Histogram]) -> SequenceSummary | None:
    found = [summary.sequences for summary in summaries if summary.sequences is not None]
    if not found:
        return None
    return SequenceSummary(
        completed=sum(each.completed for each in found),
        failed=sum(each.failed for each in found),
        per_s=statistics.median(each.per_s for each in found),
        latency=distribution(histograms.get("sequence_latency")),
    )


def _stream(summaries: Sequence[Summary], histograms: dict[str, Histogram]) -> StreamSummary | None:
    found = [summary.stream for summary in summaries if summary.stream is not None]
    if not found:
        return None
    return StreamSummary(
        responses=sum(each.responses for each in found),
        per_s=statistics.median(each.per_s for each in found),
        per_request=statistics.median(each.per_request for each in found),
        first=distribution(histograms.get("first_response")),
        between=distribution(histograms.get("inter_response")),
        last=distribution(histograms.get("last_response")),
    )


# --- flags --------------------------------------------------------------------------------------------------------


def _united(trials: Sequence[Trial], used: Sequence[Trial]) -> Iterator[Flag]:
    """Each code once, with the number of repeats that raised it; of repeats that are left out it only informs.

    `precision_unmet` of a single repeat is about an interval that nobody sees any more.
    """
    raised = [(flag, trial in used) for trial in trials for flag in trial.flags if flag.code != "precision_unmet"]
    # What counts comes first, and of that what harms most: its values and its sentence are the ones shown.
    raised.sort(key=lambda each: (not each[1], each[0].consequence != "invalidates"))
    for code in dict.fromkeys(flag.code for flag, _ in raised):
        times = sum(flag.code == code for flag, _ in raised)
        worst, counts = next(each for each in raised if each[0].code == code)
        where = f"In {times} of {len(trials)} repeats{'' if counts else ', left out here'}"
        message = f"{where}: {_continued(worst.message)}"
        yield replace(worst, consequence=worst.consequence if counts else "informs", message=message)


def _continued(sentence: str) -> str:
    """A sentence after a colon; `GPU` keeps its capitals."""
    return sentence if sentence[1:2].isupper() else sentence[:1].lower() + sentence[1:]


def _shortfall(case: PlannedCase, trials: Sequence[Trial], measured: Sequence[Trial], enough: bool) -> Iterator[Flag]:
    """Repeats that are missing: said always, forbidding only where too few are left."""
    missing = case.repeats - len(measured)
    if not missing:
        return
    failures = [trial.failure for trial in trials if trial.failure]
    why = f"; the last one that failed: {failures[-1].splitlines()[0]}" if failures else ""
    yield Flag(
        "aborted",
        float(len(measured)),
        float(case.repeats),
        "informs" if enough else "invalidates",
        f"Only {len(measured)} of {case.repeats} repeats were measured{why}; `scenario run --resume` goes on.",
    )


def _imprecise(case: PlannedCase, summary: Summary, repeats: int) -> Iterator[Flag]:
    missed = list(_missed(case, summary))
    if not missed:
        return
    what, width, limit = max(missed, key=lambda each: each[1] / each[2] if each[2] else each[1])
    known = f"known to ±{width:.2%} over {repeats} repeats" if math.isfinite(width) else "known to no precision"
    yield Flag(
        "precision_unmet",
        width if math.isfinite(width) else None,
        limit,
        "informs",
        f"{what[:1].upper()}{what[1:]} is {known} where {limit:.2%} was asked for; raise measure.repeats, look for "
        "what differs between starts of the server, or ask for less with measure.precision.",
    )


def _missed(case: PlannedCase, summary: Summary) -> Iterator[tuple[str, float, float]]:
    """(what, half-width, limit) of what was asked for and not reached between the repeats."""
    known = {"throughput": summary.requests_per_s, "mean": summary.latency_mean_ms}
    known |= {f"p{p.q:g}": p.estimate for p in summary.percentiles}
    for what, limit in case.precision.items():
        width = half_width(known[what]) if what in known else 0.0
        if width > limit:
            yield ("mean latency" if what == "mean" else what), width, limit
