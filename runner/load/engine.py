"""The seam between measurement and whatever makes the load."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from runner.errors import LoadError
from runner.load.plan import ClosedLoop, LoadPlan
from runner.results.histogram import Histogram


@dataclass(frozen=True, kw_only=True)
class Extra:
    """What a slice holds beyond counts and latencies; all zero where nobody asked for it."""

    sequences: int = 0
    """Whose requests were all answered."""
    sequences_failed: int = 0
    """Ended by a failed request."""
    closing: int = 0
    """Requests that only end a sequence; no other count holds them."""
    responses: int = 0
    """Of streams, with an output."""
    queue_ns: int = 0
    """Intended to first byte sent; queue + write + wait + read is the sum of the latencies of successes."""
    write_ns: int = 0
    """First to last byte sent; 0 up to 16 KiB, which one write takes."""
    wait_ns: int = 0
    """Last byte sent to the first word of the answer."""
    read_ns: int = 0
    """First word of the answer to its end."""
    histograms: Mapping[str, Histogram] = field(default_factory=dict)
    """sequence_latency, first_response, inter_response, last_response (ns), responses_per_request (responses)."""


@dataclass(frozen=True, kw_only=True)
class Slice:
    """What completed in one short half-open interval, with decoded histograms; fields as in `_engine.Slice`."""

    start_ns: int
    end_ns: int
    sent: int
    ok: int
    failed: dict[str, int]
    dropped: int
    in_flight: int
    in_flight_ns: int
    latency_sum_ns: int
    latency_max_ns: int
    bytes_sent: int
    bytes_received: int
    cpu_ns: int
    stall_max_ns: int
    latency: Histogram
    service: Histogram
    send_lag: Histogram
    items: int = 0
    """What the successful requests count for together; 0 from an engine that was not told."""
    extra: Extra = field(default_factory=Extra)


@dataclass(frozen=True, kw_only=True)
class LoadResult:
    """Totals of a whole load, warm-up and drain included: what a server's own counters must equal."""

    started_unix_ns: int
    elapsed_ns: int
    stopped_ns: int
    slices: tuple[Slice, ...]
    """The slices that `on_slices` was not shown; all of them without it, joined with their neighbours in a long run."""
    sent: int
    ok: int
    failed: dict[str, int]
    dropped: int
    unfinished: int
    examples: dict[str, str]
    reconnects: int
    workers: int


@dataclass(frozen=True)
class Adjust:
    """An answer of the callback: keep so many requests in flight from now on."""

    concurrency: int


OnSlices = Callable[[Sequence[Slice]], bool | Adjust | None]
"""Called with the newly closed slices; True stops the load."""


def checked_concurrency(plan: LoadPlan, wish: Adjust) -> int:
    """The number that a callback asks for; only a closed loop has one."""
    if not isinstance(plan.schedule, ClosedLoop):
        raise LoadError(f"only a closed loop has a concurrency to change, not a load of kind {plan.schedule.kind}")
    if wish.concurrency < 1:
        raise LoadError(f"expected a concurrency of at least 1, got {wish.concurrency}")
    return wish.concurrency


class Engine(Protocol):
    """Keeps a load on a service. Contract suite: `tests/contracts/engine.py`."""

    def run(
        self,
        plan: LoadPlan,
        payloads: Sequence[bytes],
        on_slices: OnSlices | None = None,
    ) -> LoadResult:
        """Run until the plan ends or `on_slices`, called with the newly closed slices, returns True.

        `Adjust` from it changes the concurrency of a closed loop that is running.
        """
        ...
