"""What `scenario perf` was asked to show of a run, in perf_analyzer's own forms."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class PerfWishes:
    """Outputs beside the run directory; their paths can be written, which was checked before the load."""

    csv: Path | None = None
    """`-f`: one row for each level, with perf_analyzer's columns."""
    verbose_csv: bool = False
    """`--verbose-csv`: further columns, for example of the GPU."""
    profile_export: Path | None = None
    """`--profile-export-file`: JSON with the times of every request."""
    percentile: float | None = None
    """Percent that stability was judged by; None: the mean."""
    verbosity: int = 0
    """How often `-v` was given."""
    protocol: Literal["grpc", "http"] = "http"
    """Names the client's own share of the latency: marshalling, or sending and receiving."""
    levels: Literal["concurrency", "request_rate", "periodic"] = "concurrency"
    """What the rows differ in: requests in flight, the rate that was asked for, or a ramp."""
    streaming: bool = False
    """Requests went over bidirectional streams."""
    collect_metrics: bool = False
    """`--collect-metrics`: GPU figures are asked for."""
