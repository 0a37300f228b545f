"""Closed slices as columns: what every statistic of a window is computed from.

Latency histograms become one sparse table of (slice, bucket, count) rows, so that counts above a value per batch, or
the median per bin, are one pass over the rows instead of a merge of histograms per batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runner.load.engine import Slice
from runner.results.histogram import Histogram, bucket_bounds

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Window:
    """A half-open interval [start, end) in nanoseconds from the first send; its edges are edges of slices."""

    start_ns: int
    end_ns: int

    @property
    def seconds(self) -> float:
        return (self.end_ns - self.start_ns) / 1e9


@dataclass(frozen=True, eq=False)
class Series:
    """Consecutive slices; all arrays but the `cell_*` ones have one element per slice."""

    start_ns: Ints
    end_ns: Ints
    ok: Ints
    failed: Ints
    sent: Ints
    dropped: Ints
    in_flight: Ints
    """Requests in flight at the end of the slice."""
    in_flight_ns: Ints
    latency_sum_ns: Ints
    latency_max_ns: Ints
    cpu_ns: Ints
    stall_max_ns: Ints
    items: Ints
    """What the successes count for; all 0 when the engine was not told."""
    cell_slice: Ints
    """Slice of each row of the latency table."""
    cell_bucket: Ints
    cell_count: Ints

    @classmethod
    def of(cls, slices: Sequence[Slice]) -> Series:
        """Columns of slices in time order."""

        def column(name: str) -> Ints:
            return np.array([getattr(s, name) for s in slices], np.int64)

        histograms = [s.latency for s in slices]
        sizes = [len(h.counts) for h in histograms]
        return cls(
            **{name: column(name) for name in _COLUMNS},
            failed=np.array([sum(s.failed.values()) for s in slices], np.int64),
            cell_slice=np.repeat(np.arange(len(slices), dtype=np.int64), sizes),
            cell_bucket=_concatenated([h.indices for h in histograms]),
            cell_count=_concatenated([h.counts for h in histograms]),
        )

    def __len__(self) -> int:
        return len(self.start_ns)

    def within(self, window: Window) -> Series:
        """The slices that ended in the window: later than its start and not later than its end."""
        keep = (self.end_ns > window.start_ns) & (self.end_ns <= window.end_ns)
        number = np.cumsum(keep) - 1
        rows = keep[self.cell_slice] if len(self.cell_slice) else np.zeros(0, bool)
        return Series(
            **{name: getattr(self, name)[keep] for name in (*_COLUMNS, "failed")},
            cell_slice=number[self.cell_slice[rows]].astype(np.int64),
            cell_bucket=self.cell_bucket[rows],
            cell_count=self.cell_count[rows],
        )

    @property
    def completions(self) -> int:
        return int(self.ok.sum())

    @property
    def seconds(self) -> float:
        """Time covered."""
        return float((self.end_ns - self.start_ns).sum()) / 1e9

    @property
    def mean_ns(self) -> float:
        """Mean latency from the exact sum; nan without completions."""
        return float(self.latency_sum_ns.sum() / self.completions) if self.completions else float("nan")

    @property
    def in_flight_before(self) -> int:
        """Requests in flight when the series begins."""
        if not len(self):
            return 0
        first = int(self.in_flight[0] - self.sent[0] + self.ok[0] + self.failed[0])
        return max(first, 0)

    def latency(self) -> Histogram:
        """All latencies in one histogram."""
        order = np.argsort(self.cell_bucket, kind="stable")
        buckets, first = np.unique(self.cell_bucket[order], return_index=True)
        counts = np.add.reduceat(self.cell_count[order], first) if len(first) else self.cell_count[:0]
        return Histogram(buckets.astype(np.int64), counts.astype(np.int64))

    def parts(self, count: int) -> Ints:
        """Number of the part, 0 … count-1, of each slice when they are cut into `count` runs of equal length.

        By number, not by time: slices are of one length but for the last, and a part may never be empty while there
        are slices enough.
        """
        return np.arange(len(self), dtype=np.int64) * count // max(len(self), 1)

    def totals(self, column: Ints | Floats, parts: Ints, count: int) -> Floats:
        """Sum of a column in each part."""
        return np.bincount(parts, weights=column, minlength=count).astype(np.float64)

    def above(self, value_bucket: int, parts: Ints, count: int) -> Floats:
        """Requests in each part whose latency lies in a higher bucket."""
        rows = self.cell_bucket > value_bucket
        weights = self.cell_count[rows]
        return np.bincount(parts[self.cell_slice[rows]], weights=weights, minlength=count).astype(np.float64)

    def medians_ns(self, parts: Ints, count: int) -> Floats:
        """Median latency of each part; nan where nothing completed."""
        part = parts[self.cell_slice]
        order = np.lexsort((self.cell_bucket, part))
        running = np.cumsum(self.cell_count[order])
        sizes = np.bincount(part, weights=self.cell_count, minlength=count)
        target = np.cumsum(sizes) - sizes + np.ceil(sizes / 2)
        row = np.searchsorted(running, target)
        medians = np.full(count, np.nan)
        filled = np.flatnonzero(sizes)
        medians[filled] = [bucket_bounds(int(b))[1] for b in self.cell_bucket[order][row[filled]]]
        return medians


_COLUMNS = (
    "start_ns",
    "end_ns",
    "ok",
    "sent",
    "dropped",
    "in_flight",
    "in_flight_ns",
    "latency_sum_ns",
    "latency_max_ns",
    "cpu_ns",
    "stall_max_ns",
    "items",
)


def _concatenated(arrays: Sequence[Ints]) -> Ints:
    return np.concatenate(arrays) if arrays else np.empty(0, np.int64)
