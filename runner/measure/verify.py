"""A trial made again from its raw record, and every number of it that comes out differently.

Floating-point sums may differ in their last digits between machines, so numbers are equal to one part in 10^9; counts
and histograms are equal or they are not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from runner.load.engine import Slice
from runner.measure.raw import Raw, judged_again, read_raw
from runner.measure.stop_again import stop_differences
from runner.results.codec import encode
from runner.results.differences import flat
from runner.results.histogram import Histogram
from runner.results.records import Counts, Trial
from runner.results.verification import Discrepancy

TOLERANCE = 1e-9
JOURNAL = "journal.jsonl"


def name_of(trial: Trial) -> str:
    """A trial as it is named in what was found."""
    if trial.probe is not None:
        return f"{trial.case_id} load {trial.probe.number} of search {trial.probe.attempt + 1}"
    kind = "anchor" if trial.anchor else "repeat"
    return f"{trial.case_id} {kind} {trial.repeat}"


def verify_trial(trial: Trial, folder: Path) -> Iterator[Discrepancy]:
    """Everything that the raw record of a measured trial contradicts."""
    point = name_of(trial)
    if trial.raw is None:
        yield Discrepancy(JOURNAL, point, "raw", "the name of a raw record", "none")
        return
    try:
        found = list(_contradictions(trial, read_raw(folder / trial.raw), point))
    except OSError as error:
        yield Discrepancy(trial.raw, point, "file", "the raw record", error.strerror or str(error))
    except ValueError as error:
        yield Discrepancy(trial.raw, point, "content", "a raw record", str(error))
    except (TypeError, LookupError, AttributeError, ArithmeticError) as error:
        # Well-formed, but not what a measurement leaves behind: whatever was changed, it shows first where it is used.
        damage = f"damaged: {type(error).__name__}: {error}"
        yield Discrepancy(trial.raw, point, "content", "a raw record", damage)
    else:
        yield from found


def _contradictions(trial: Trial, raw: Raw, point: str) -> Iterator[Discrepancy]:
    file = trial.raw or ""
    yield from _different(trial, judged_again(trial, raw), point)
    yield from (Discrepancy(file, point, *difference) for difference in stop_differences(trial, raw))
    yield from _totals(trial.counts or Counts(0, 0, {}, 0, 0), raw, file, point)


def _different(trial: Trial, again: Trial, point: str) -> Iterator[Discrepancy]:
    """Summary, flags and state as recorded, against the same made again."""
    recorded, expected = _judged_part(trial), _judged_part(again)
    for address in sorted(recorded.keys() | expected.keys()):
        was, should = recorded.get(address), expected.get(address)
        if not same(was, should):
            yield Discrepancy(JOURNAL, point, address, str(should), str(was))
    for name in sorted(trial.histograms.keys() | again.histograms.keys()):
        was, should = _histogram(trial.histograms.get(name)), _histogram(again.histograms.get(name))
        if was != should:
            yield Discrepancy(JOURNAL, point, f"histograms.{name}", repr(should), repr(was))


def _judged_part(trial: Trial) -> dict[str, Any]:
    counted = encode(trial.probe.tally) if trial.probe else None
    judged = {"state": trial.state, "summary": encode(trial.summary), "flags": encode(trial.flags)}
    return flat({**judged, "probe.tally": counted} if counted else judged)


def same(one: Any, other: Any) -> bool:
    """Equal, numbers but for what the order of a sum can do."""
    numbers = all(isinstance(x, int | float) and not isinstance(x, bool) for x in (one, other))
    return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE) if numbers else one == other


def _histogram(text: str | None) -> Histogram | str:
    """By content: another version of zlib writes the same counts in other bytes."""
    try:
        return Histogram.from_hdr_v2(text) if text else Histogram.empty()
    except ValueError as error:
        return str(error)


def _totals(counts: Counts, raw: Raw, file: str, point: str) -> Iterator[Discrepancy]:
    """The slices add up to the whole load: counts exactly, and every success in a histogram."""
    slices = raw.slices
    failed = {code: sum(s.failed.get(code, 0) for s in slices) for s in slices for code in s.failed}
    sums = {
        "sent": (counts.sent, _sum(slices, "sent")),
        "ok": (counts.ok, _sum(slices, "ok")),
        "failed": (sum(counts.failed.values()), sum(failed.values())),
        "dropped": (counts.dropped, _sum(slices, "dropped")),
        "ok in the latency histograms": (counts.ok, sum(s.latency.count for s in slices)),
        "sent = ok + failed + unfinished": (
            counts.sent,
            counts.ok + sum(counts.failed.values()) + counts.unfinished,
        ),
    }
    for name, (recorded, found) in sums.items():
        if recorded != found:
            yield Discrepancy(file, point, f"counts.{name}", str(found), str(recorded))


def _sum(slices: Sequence[Slice], name: str) -> int:
    return sum(getattr(s, name) for s in slices)
