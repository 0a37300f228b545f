"""The slices of a run in bounded memory: once there are too many, neighbours are joined and slices twice as long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from runner.load.engine import Slice

MOST_SLICES = 256
"""Enough for every statistic: 20 batches of a drift have six slices each, and MSER-5 sees 25 values or more."""


class History:
    """Consecutive slices, all of one length but the last; none is lost, only their edges become fewer."""

    def __init__(self, most: int = MOST_SLICES) -> None:
        self.slices: list[Slice] = []
        self._most = most
        self._per = 1
        """Slices of the engine in each one that is held."""
        self._in_last = 0

    def extend(self, fresh: Iterable[Slice]) -> None:
        """Add what follows."""
        for slice_ in fresh:
            if self.slices and self._in_last < self._per:
                self.slices[-1] = joined(self.slices[-1], slice_)
                self._in_last += 1
            else:
                self.slices.append(slice_)
                self._in_last = 1
        while len(self.slices) > self._most:
            self._halve()

    def _halve(self) -> None:
        whole = len(self.slices) // 2 * 2
        pairs = [joined(self.slices[n], self.slices[n + 1]) for n in range(0, whole, 2)]
        if whole == len(self.slices):
            self._in_last += self._per
        self.slices = [*pairs, *self.slices[whole:]]
        self._per *= 2


def joined(first: Slice, second: Slice) -> Slice:
    """Two neighbours as one."""
    latency = first.latency + second.latency
    # In a closed loop they are mostly one object, and stay so.
    shared = first.service is first.latency and second.service is second.latency
    return Slice(
        start_ns=first.start_ns,
        end_ns=second.end_ns,
        sent=first.sent + second.sent,
        ok=first.ok + second.ok,
        failed=dict(Counter(first.failed) + Counter(second.failed)),
        dropped=first.dropped + second.dropped,
        in_flight=second.in_flight,
        in_flight_ns=first.in_flight_ns + second.in_flight_ns,
        latency_sum_ns=first.latency_sum_ns + second.latency_sum_ns,
        latency_max_ns=max(first.latency_max_ns, second.latency_max_ns),
        bytes_sent=first.bytes_sent + second.bytes_sent,
        bytes_received=first.bytes_received + second.bytes_received,
        cpu_ns=first.cpu_ns + second.cpu_ns,
        stall_max_ns=max(first.stall_max_ns, second.stall_max_ns),
        latency=latency,
        service=latency if shared else first.service + second.service,
        send_lag=first.send_lag + second.send_lag,
    )
