"""histograms/<case>.hlog: the latencies of a point in HdrHistogram's own log format, which its tools read."""

from __future__ import annotations

from runner.results.histogram import Histogram
from runner.results.hlog import hlog_head, interval_line
from runner.results.records import Trial

SUFFIX = ".hlog"


def histogram_log(trial: Trial) -> bytes:
    """One tagged interval each for latency, service time and send lag of the measured window; values in nanoseconds."""
    warmup_s, window_s = (trial.summary.warmup_s, trial.summary.window_s) if trial.summary else (0.0, 0.0)
    lines = [
        *hlog_head(trial.case_id, trial.started_utc),
        *(
            interval_line(tag, Histogram.from_hdr_v2(text), warmup_s, window_s, text)
            for tag, text in trial.histograms.items()
        ),
    ]
    return ("\n".join(lines) + "\n").encode("utf-8", "backslashreplace")
