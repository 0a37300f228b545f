"""What was sampled in one trial: for each source its times and its series, eight bytes a number."""

from __future__ import annotations

import csv
import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from runner.measure.telemetry.base import Kind, Value
from runner.results.files import make_folder

MAX_SERIES = 2000
"""Of one source: an endpoint that makes up names for ever must not eat the memory of the client."""


@dataclass
class Column:
    """One series; NaN, which never leaves this package, where a reading did not have it."""

    unit: str
    kind: Kind
    detail: bool
    values: array[float] = field(default_factory=lambda: array("d"))


class Track:
    """The readings of one source."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.times_ns: array[int] = array("q")
        """Monotonic, when each reading began."""
        self.columns: dict[str, Column] = {}
        self.absent: dict[str, str] = {}
        """What the last reading lacked, and why."""
        self.refused: str | None = None
        """Why some series were not kept."""
        self.cpu_ns = 0
        """CPU time of the thread that read."""

    def add(self, at_ns: int, values: Mapping[str, Value]) -> None:
        """Keep one reading; an empty one is none."""
        if not values:
            return
        for name, value in values.items():
            column = self.columns.get(name) or self._new(name, value)
            if column is not None:
                column.values.append(value.value)
        self.times_ns.append(at_ns)
        for column in self.columns.values():
            if len(column.values) < len(self.times_ns):
                column.values.append(math.nan)

    def _new(self, name: str, value: Value) -> Column | None:
        if len(self.columns) >= MAX_SERIES:
            self.refused = f"more than {MAX_SERIES} series: choose with measure.telemetry.series"
            return None
        column = Column(value.unit, value.kind, value.detail, array("d", [math.nan]) * len(self.times_ns))
        self.columns[name] = column
        return column

    def series(self, name: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Times and values of one series, where it was read."""
        times, values = np.array(self.times_ns, dtype=np.int64), np.array(self.columns[name].values)
        there = np.isfinite(values)
        return times[there], values[there]


@dataclass(frozen=True, kw_only=True)
class Recording:
    """One trial's tracks, on one monotonic clock."""

    tracks: Sequence[Track]
    period_s: float
    origin_ns: int | None
    """Start of the load on the same clock; None where the two clocks cannot be put together."""
    stopped_ns: int = 0

    def track(self, source: str) -> Track | None:
        return next((track for track in self.tracks if track.source == source), None)

    def write(self, path: Path, origin_ns: int) -> None:
        """All samples as CSV, one number a line in order of time: `t_s` counts from `origin_ns`."""
        make_folder(path.parent)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("t_s", "source", "series", "value"))
            writer.writerows(self._lines(origin_ns))

    def _lines(self, origin_ns: int) -> Iterator[tuple[str, str, str, str]]:
        readings = ((at_ns, track, n) for track in self.tracks for n, at_ns in enumerate(track.times_ns))
        for at_ns, track, n in sorted(readings, key=lambda reading: reading[0]):
            t_s = f"{(at_ns - origin_ns) / 1e9:.6f}"
            for name, column in track.columns.items():
                if math.isfinite(value := column.values[n]):
                    yield t_s, track.source, name, repr(value)
