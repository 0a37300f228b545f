"""HdrHistogram's log format 1.3: one tagged interval per line, in nanoseconds; tools merge and plot it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from runner.results.histogram import Histogram

_HEADER = '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"'


def hlog_head(title: str, started_utc: str) -> list[str]:
    """The first lines of a log; start times of its intervals are seconds after `started_utc`."""
    started = datetime.fromisoformat(started_utc).timestamp()
    return [
        f"#[{title}: values in nanoseconds, maxima in milliseconds]",
        "#[Histogram log format version 1.3]",
        f"#[StartTime: {started:.3f} (seconds since epoch), {started_utc}]",
        _HEADER,
    ]


def interval_line(tag: str, histogram: Histogram, start_s: float, length_s: float, text: str | None = None) -> str:
    """One interval; `text` is the histogram's encoding where that is known already."""
    maximum_ms = histogram.max_ns / 1e6 if histogram.count else 0.0
    return f"Tag={tag},{start_s:.3f},{length_s:.3f},{maximum_ms:.3f},{text or histogram.to_hdr_v2()}"


def read_intervals(path: Path) -> Iterator[tuple[str, Any]]:
    """(tag, histogram) of each interval, and ("comment", value) of each comment line that holds JSON.

    Raises:
        OSError: there is no such file.
        ValueError: a line is none of a log; says which.
    """
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        try:
            if line.startswith("#{"):
                yield "comment", json.loads(line[1:])
            elif line.startswith("Tag="):
                tag, *_, encoded = line.removeprefix("Tag=").split(",")
                yield tag, Histogram.from_hdr_v2(encoded)
            elif not line.startswith(("#[", '"')):
                raise ValueError("neither a comment nor an interval")
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
