"""The seam between measurement and whatever makes the load."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from runner.load.plan import LoadPlan
from runner.results.histogram import Histogram


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


@dataclass(frozen=True, kw_only=True)
class LoadResult:
    """Totals of a whole load, warm-up and drain included: what a server's own counters must equal."""

    started_unix_ns: int
    elapsed_ns: int
    stopped_ns: int
    slices: tuple[Slice, ...]
    """Every slice, those already shown to `on_slices` included."""
    sent: int
    ok: int
    failed: dict[str, int]
    dropped: int
    unfinished: int
    examples: dict[str, str]
    reconnects: int
    workers: int


class Engine(Protocol):
    """Keeps a load on a service. Contract suite: `tests/contracts/engine.py`."""

    def run(
        self,
        plan: LoadPlan,
        payloads: Sequence[bytes],
        on_slices: Callable[[Sequence[Slice]], bool | None] | None = None,
    ) -> LoadResult:
        """Run until the plan ends or `on_slices`, called with the newly closed slices, returns True."""
        ...
