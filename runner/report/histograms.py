"""histograms/<case>.hlog: the latencies of a point in HdrHistogram's own log format, which its tools read."""

from __future__ import annotations

from datetime import datetime

from runner.results.histogram import Histogram
from runner.results.records import Trial

SUFFIX = ".hlog"
_HEADER = '"StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram"'


def histogram_log(trial: Trial) -> bytes:
    """One tagged interval each for latency, service time and send lag of the measured window; values in nanoseconds."""
    started = datetime.fromisoformat(trial.started_utc).timestamp()
    warmup_s, window_s = (trial.summary.warmup_s, trial.summary.window_s) if trial.summary else (0.0, 0.0)
    lines = [
        f"#[{trial.case_id}: values in nanoseconds, maxima in milliseconds]",
        "#[Histogram log format version 1.3]",
        f"#[StartTime: {started:.3f} (seconds since epoch), {trial.started_utc}]",
        _HEADER,
        *(_interval(tag, text, warmup_s, window_s) for tag, text in trial.histograms.items()),
    ]
    return ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")


def _interval(tag: str, text: str, start_s: float, length_s: float) -> str:
    histogram = Histogram.from_hdr_v2(text)
    maximum_ms = histogram.max_ns / 1e6 if histogram.count else 0.0
    return f"Tag={tag},{start_s:.3f},{length_s:.3f},{maximum_ms:.3f},{text}"
