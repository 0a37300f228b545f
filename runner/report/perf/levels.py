"""The levels of a run: one load each, in the order in which they were measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from runner.report.combined import percentile_ms, rate_text
from runner.results.perf_wishes import PerfWishes
from runner.results.records import Summary, Trial
from runner.results.run import Point, Run
from runner.units import parse_rate

PERCENTILES = (50.0, 90.0, 95.0, 99.0)
"""Always reported; the one that stability was judged by comes between them."""


@dataclass(frozen=True)
class Level:
    """One load and what was measured of it."""

    case_id: str
    value: float
    """Requests in flight, or requests per second that were asked for."""
    trial: Trial | None
    """None where there is nothing: skipped, or the run ended before it."""
    reason: str | None = None
    """Why there is no usable number."""

    @property
    def summary(self) -> Summary | None:
        return self.trial.summary if self.trial else None

    @property
    def value_text(self) -> str:
        return rate_text(self.value)


@dataclass(frozen=True)
class Measured:
    """A level that has numbers."""

    level: Level
    trial: Trial
    summary: Summary

    @property
    def inferences_per_s(self) -> float:
        return self.summary.inferences_per_s.value

    @property
    def over_limit(self) -> bool:
        """Tried by a search, and found to miss its limit."""
        return self.trial.probe is not None and self.trial.probe.verdict == "fail"

    def latency_ms(self, percentile: float | None) -> float | None:
        """Of the mean latency, or of a percentile in percent."""
        return self.summary.latency_mean_ms.value if percentile is None else percentile_ms(self.trial, percentile)


def levels(run: Run) -> tuple[Level, ...]:
    """Every level of the run; where a load was searched for, every load that the search tried."""
    return tuple(level for point in run.points() for level in _levels(run, point))


def measured(found: tuple[Level, ...]) -> tuple[Measured, ...]:
    """Those with numbers, flagged ones included."""
    return tuple(Measured(each, each.trial, each.summary) for each in found if each.trial and each.summary)


def percentiles(wishes: PerfWishes) -> tuple[float, ...]:
    """Which latency percentiles are reported, ascending."""
    return tuple(sorted({*PERCENTILES, *((wishes.percentile,) if wishes.percentile is not None else ())}))


def _levels(run: Run, point: Point) -> Iterator[Level]:
    probes = run.probes.get(point.case.case_id, ())
    if not probes:
        # Whoever gave options and no file has nothing to resume.
        reason = "the run ended before this level" if point.state == "missing" else point.reason
        yield Level(point.case.case_id, _asked(point), point.trial, reason)
    for trial in probes:
        assert trial.probe is not None
        yield Level(point.case.case_id, trial.probe.level, trial, trial.failure)


def _asked(point: Point) -> float:
    """What the load asks for; of recorded send times the rate that they came to, of a ramp its end."""
    load, summary = point.case.load, point.trial.summary if point.trial else None
    if "rate" in load:
        return parse_rate(load["rate"])
    offered = summary.offered_per_s if summary else None
    return float(load.get("concurrency", load.get("end", offered or 0.0)))
