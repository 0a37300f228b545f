"""What a workload asks of the engine beyond plain requests, and what comes of it: streams, sequences, time parts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from runner.load.engine import Slice
from runner.load.plan import Argmax, Digest, Exact, Sequences, Tolerance, Validate
from runner.load.references import References
from runner.measure.loads import is_open, most_in_flight
from runner.measure.series import Window
from runner.results.distributions import distribution
from runner.results.histogram import Histogram
from runner.results.records import SequenceSummary, StreamSummary, TimeSplit
from runner.scenario.schema import Load, Workload
from runner.scenario.schema import Validate as ValidateSettings
from runner.services.answers import digested, framed
from runner.services.base import Service

OPEN_LOOP_SEQUENCES = 4
"""Where neither the scenario nor the load says how many."""
SEQUENCE_LENGTH = 20
"""Where neither the scenario nor its data say how long a sequence is."""
HISTOGRAMS = ("sequence_latency", "first_response", "inter_response", "last_response", "responses_per_request")


# --- what is asked ------------------------------------------------------------------------------------------------


def plan_extras(
    workload: Workload,
    load: Load,
    service: Service,
    payloads: Sequence[bytes],
    records: Path | None,
    references: References = References(),  # noqa: B008  # frozen
    *,
    streams: Sequence[int] = (),
) -> dict[str, Any]:
    """Fields of the load plan; reference answers are recorded here, before the load.

    Raises:
        ServiceError: the server gives no reference answer.
    """
    return {
        "sequences": sequences_of(workload, load, streams),
        "validate": validate_of(workload, service, payloads, references),
        "records": None if records is None else str(records),
    }


def sequences_of(workload: Workload, load: Load, streams: Sequence[int] = ()) -> Sequences | None:
    """The engine's form of `workload.sequences`; without a length of their own they are as long as their `streams`."""
    asked = workload.sequences
    if asked is None:
        return None
    count = asked.count or (min(most_in_flight(load), OPEN_LOOP_SEQUENCES) if is_open(load) else most_in_flight(load))
    return Sequences(
        count=count,
        length=asked.length or (0 if streams else SEQUENCE_LENGTH),
        variation=asked.variation,
        first_id=asked.first_id,
        id_count=max(asked.ids, count),
    )


def validate_of(
    workload: Workload, service: Service, payloads: Sequence[bytes], references: References
) -> Validate | None:
    """The engine's form of `workload.validate`, with the expected answers of all payloads.

    Raises:
        ServiceError: the server gives no reference answer.
    """
    asked = workload.validate_
    if asked is None:
        return None
    answers = references.answers
    if answers is not None:
        each: Iterable[tuple[bytes, ...]] = ((answer,) for answer in answers)
    else:
        requests = payloads if references.requests is None else references.requests()
        each = (
            service.replies(workload.model, request, stream=workload.streaming, timeout_s=workload.timeout)
            for request in requests
        )
    keep = digested if asked.mode == "digest" else bytes
    # One after the other: of digests no more than one answer is ever held.
    expected = tuple(framed(map(keep, replies)) for replies in each)
    return Validate(expected=expected, every=asked.every, compare=_compare(asked), shared=references.shared)


def _compare(asked: ValidateSettings) -> Exact | Tolerance | Argmax | Digest:
    match asked.mode:
        case "exact":
            return Exact()
        case "tolerance":
            return Tolerance(rtol=asked.rtol, atol=asked.atol)
        case "argmax":
            return Argmax()
        case "digest":
            return Digest()


# --- what is found ------------------------------------------------------------------------------------------------


def inside(slices: Sequence[Slice], window: Window) -> list[Slice]:
    """The slices that ended in the window."""
    return [s for s in slices if window.start_ns < s.end_ns <= window.end_ns]


def extra_histograms(slices: Sequence[Slice], window: Window) -> dict[str, Histogram]:
    """Merged over the window; those that hold something."""
    extras = [s.extra.histograms for s in inside(slices, window)]
    found = {name: [h[name] for h in extras if name in h] for name in HISTOGRAMS}
    return {name: Histogram.merged(parts) for name, parts in found.items() if parts}


def time_split(slices: Sequence[Slice], window: Window) -> TimeSplit | None:
    """Means over the window's successes; None where the engine does not say."""
    part = inside(slices, window)
    ok = sum(s.ok for s in part)
    sums = [sum(getattr(s.extra, f"{name}_ns") for s in part) for name in ("queue", "write", "wait", "read")]
    return TimeSplit(*(total / ok / 1e6 for total in sums)) if ok and any(sums) else None


def sequence_summary(
    slices: Sequence[Slice], window: Window, histograms: dict[str, Histogram]
) -> SequenceSummary | None:
    """None where no sequence ended in the window."""
    extras = [s.extra for s in inside(slices, window)]
    completed, failed = sum(e.sequences for e in extras), sum(e.sequences_failed for e in extras)
    if not completed and not failed:
        return None
    return SequenceSummary(
        completed=completed,
        failed=failed,
        per_s=completed / window.seconds,
        latency=distribution(histograms.get("sequence_latency")),
    )


def stream_summary(slices: Sequence[Slice], window: Window, histograms: dict[str, Histogram]) -> StreamSummary | None:
    """None where no request was answered over a stream."""
    counts = histograms.get("responses_per_request")
    if counts is None:
        return None
    responses = sum(s.extra.responses for s in inside(slices, window))
    return StreamSummary(
        responses=responses,
        per_s=responses / window.seconds,
        per_request=counts.mean_ns,
        first=distribution(histograms.get("first_response")),
        between=distribution(histograms.get("inter_response")),
        last=distribution(histograms.get("last_response")),
    )
