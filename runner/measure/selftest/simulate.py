"""Queueing systems in virtual time, cut into the slices that a load engine would deliver."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from runner.load.engine import Slice
from runner.measure.series import Series
from runner.results.histogram import Histogram

Numbers = npt.NDArray[Any]
SLICE_NS = 100_000_000


def bucket_indices(values: Numbers) -> Numbers:
    """`runner.results.histogram.bucket_index`, for many values at once."""
    values = np.maximum(np.asarray(values, np.int64), 0)
    bits = np.frexp(np.maximum(values, 1).astype(float))[1].astype(np.int64)
    octave = np.maximum(bits - 11, 0)
    return np.where(values < 2048, values, (octave << 10) + (values >> octave))


def histogram(values: Numbers) -> Histogram:
    indices, counts = np.unique(bucket_indices(values), return_counts=True)
    return Histogram(indices.astype(np.int64), counts.astype(np.int64))


@dataclass(frozen=True)
class Requests:
    """Send and completion times in nanoseconds; in order of completion."""

    sent: Numbers
    done: Numbers

    @property
    def latency(self) -> Numbers:
        return self.done - self.sent


def closed_loop(service_s: Numbers, slots: int, servers: int = 1) -> Requests:
    """FIFO queue with `servers` servers and `slots` requests kept in flight: M/D/c when `service_s` is constant."""
    service = (service_s * 1e9).astype(np.int64)
    sent: list[int] = [0] * min(slots, len(service))
    free = [0] * servers
    heapq.heapify(free)
    done = np.empty(len(service), np.int64)
    ready: list[int] = []
    for n, duration in enumerate(service):
        if n >= len(sent):
            sent.append(heapq.heappop(ready))
        finish = max(heapq.heappop(free), sent[n]) + int(duration)
        heapq.heappush(free, finish)
        heapq.heappush(ready, finish)
        done[n] = finish
    return ordered(np.array(sent[: len(service)], np.int64), done)


def single_server(service_s: Numbers, slots: int) -> Requests:
    """`closed_loop` with one server, without a Python loop."""
    done = np.cumsum((service_s * 1e9).astype(np.int64))
    sent = np.concatenate([np.zeros(min(slots, len(done)), np.int64), done[:-slots]])
    return Requests(sent[: len(done)], done)


def open_loop(arrivals_s: Numbers, service_s: Numbers) -> Requests:
    """One FIFO server under arrivals at given times (Lindley's recursion)."""
    finished = np.cumsum(service_s)
    start = np.maximum.accumulate(arrivals_s - (finished - service_s))
    return ordered((arrivals_s * 1e9).astype(np.int64), ((start + finished) * 1e9).astype(np.int64))


def open_loops(arrivals_s: Numbers, service_s: Numbers, servers: int) -> list[Requests]:
    """As many queues at a time as there are rows, each first come first served by `servers` servers.

    Kiefer and Wolfowitz's recursion: a request takes the server that is free first.
    """
    rows, count = arrivals_s.shape
    free, each, done = np.zeros((rows, servers)), np.arange(rows), np.empty_like(arrivals_s)
    for n in range(count):
        first = free.argmin(axis=1)
        done[:, n] = np.maximum(arrivals_s[:, n], free[each, first]) + service_s[:, n]
        free[each, first] = done[:, n]
    sent_ns, done_ns = (arrivals_s * 1e9).astype(np.int64), (done * 1e9).astype(np.int64)
    return [ordered(sent_ns[row], done_ns[row]) for row in range(rows)]


def ordered(sent: Numbers, done: Numbers) -> Requests:
    order = np.argsort(done, kind="stable")
    return Requests(sent[order], done[order])


def until(requests: Requests, end_s: float) -> Requests:
    """Only what was sent before `end_s`."""
    keep = requests.sent < end_s * 1e9
    return Requests(requests.sent[keep], requests.done[keep])


def slices(requests: Requests, end_s: float, slice_ns: int = SLICE_NS, failed: Numbers | None = None) -> list[Slice]:
    """Slices up to `end_s`; `failed` marks requests (in order of completion) that end without success."""
    edges = np.arange(0, int(end_s * 1e9) + 1, slice_ns)
    count = len(edges) - 1
    bad = np.zeros(len(requests.done), bool) if failed is None else failed
    part = (requests.done // slice_ns).astype(np.int64)
    inside = part < count
    good = inside & ~bad
    sent_before = np.searchsorted(np.sort(requests.sent), edges, side="left")
    done_before = np.searchsorted(requests.done, edges, side="left")
    integral = _integral(np.sort(requests.sent), edges) - _integral(requests.done, edges)
    ok = np.bincount(part[good], minlength=count)
    sums = np.bincount(part[good], weights=requests.latency[good], minlength=count)
    first = np.searchsorted(part[good], np.arange(count + 1))
    latencies = requests.latency[good]
    return [
        _slice(
            edges[i],
            edges[i + 1],
            latencies[first[i] : first[i + 1]],
            sent=int(sent_before[i + 1] - sent_before[i]),
            ok=int(ok[i]),
            failed=int((bad & inside & (part == i)).sum()) if failed is not None else 0,
            in_flight=int(sent_before[i + 1] - done_before[i + 1]),
            in_flight_ns=int(integral[i + 1] - integral[i]),
            latency_sum_ns=int(sums[i]),
        )
        for i in range(count)
    ]


def columns(requests: Requests, end_s: float, slice_ns: int = SLICE_NS) -> Series:
    """What `Series.of(slices(…))` would be, without a slice for each of hundreds of searches."""
    edges = np.arange(0, round(end_s * 1e9) + 1, slice_ns)
    count = len(edges) - 1
    requests = until(requests, end_s)
    part = requests.done // slice_ns
    inside = part < count
    sent = np.sort(requests.sent)
    sent_before, done_before = np.searchsorted(sent, edges), np.searchsorted(requests.done, edges)
    latency, part = requests.latency[inside], part[inside]
    cells, counts = np.unique((part << _BUCKET_BITS) + bucket_indices(latency), return_counts=True)
    longest, zeros = np.zeros(count, np.int64), np.zeros(count, np.int64)
    np.maximum.at(longest, part, latency)
    return Series(
        start_ns=edges[:-1],
        end_ns=edges[1:],
        ok=np.bincount(part, minlength=count),
        failed=zeros,
        sent=np.diff(sent_before),
        dropped=zeros,
        in_flight=(sent_before - done_before)[1:],
        in_flight_ns=np.diff(_integral(sent, edges) - _integral(requests.done, edges)),
        latency_sum_ns=np.bincount(part, weights=latency, minlength=count).astype(np.int64),
        latency_max_ns=longest,
        cpu_ns=np.full(count, 1_000_000),
        stall_max_ns=zeros,
        items=zeros,
        cell_slice=cells >> _BUCKET_BITS,
        cell_bucket=cells & ((1 << _BUCKET_BITS) - 1),
        cell_count=counts,
    )


_BUCKET_BITS = 20


def _integral(times: Numbers, edges: Numbers) -> Numbers:
    """Integral over time of how many of `times` have passed, at each edge."""
    position = np.searchsorted(times, edges, side="left")
    total = np.concatenate([[0], np.cumsum(times)])
    integral: Numbers = position * edges - total[position]
    return integral


def _slice(start: int, end: int, latencies: Numbers, *, failed: int, **counts: Any) -> Slice:
    shared = histogram(latencies)
    return Slice(
        start_ns=int(start),
        end_ns=int(end),
        failed={"UNAVAILABLE": failed} if failed else {},
        dropped=0,
        latency_max_ns=int(latencies.max(initial=0)),
        bytes_sent=0,
        bytes_received=0,
        cpu_ns=1_000_000,
        stall_max_ns=0,
        latency=shared,
        service=shared,
        send_lag=Histogram(np.zeros(1, np.int64), np.array([len(latencies)])) if len(latencies) else Histogram.empty(),
        **counts,
    )


def ar1(rng: np.random.Generator, count: int, phi: float = 0.5, sd: float = 0.1) -> Numbers:
    """Noise of unit mean with correlation `phi` between neighbours."""
    from scipy.signal import lfilter

    noise = rng.normal(0, sd * np.sqrt(1 - phi**2), count)
    noise[0] = rng.normal(0, sd)
    found: Numbers = np.maximum(1 + lfilter([1], [1, -phi], noise), 0.05)
    return found


def lognormal(rng: np.random.Generator, count: int, mean: float, sigma: float) -> Numbers:
    return mean * rng.lognormal(-(sigma**2) / 2, sigma, count)
