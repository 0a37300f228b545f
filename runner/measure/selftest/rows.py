"""The validation table: every row with its system, what a perfect tool would show, and where that is checked.

`docs/measurement.md` holds this table; a test keeps the two alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from runner.measure.selftest import client, closed, compared, judged, opened, virtual
from runner.measure.selftest.bench import RunRow


@dataclass(frozen=True)
class Row:
    """One row; `run` None: checked only by the tests that `where` names, or not yet."""

    number: int
    system: str
    expected: str
    tolerance: str
    where: str
    """Tests that check it in virtual time, beside the self-test."""
    run: RunRow | None = None
    quick: bool = False


_RUST = "`engine/tests/virtual_time.rs`"
_RATES = "`test_flag_rates.py`"
_COVERAGE = "`test_coverage.py`"

ROWS = (
    Row(
        1, "null server, closed loop", "ceiling, overhead", "overhead p50 ≤ 0.2 ms", "", closed.null_server, quick=True
    ),
    Row(2, "constant D, a server for each request", "N/D, all in D", "1 %, p99 ≤ D + 2 ms", _RUST, closed.parallel),
    Row(3, "constant D, 1 and 4 servers", "min(N,c)/D, mean D·max(1,N/c)", "1 %", _RUST, closed.queued, quick=True),
    Row(4, "M/D/1 open", "exact mean, p50, p95, p99", "own interval", f"{_RUST}, {_COVERAGE}", opened.queue_md1),
    Row(5, "M/M/1 open", "exact mean, p50, p95, p99", "own interval", f"{_RUST}, {_COVERAGE}", opened.queue_mm1),
    Row(6, "M/M/2 and M/M/4 open", "Erlang C", "own interval", f"{_RUST}, {_COVERAGE}", opened.queue_mmc),
    Row(7, "run length, M/M/1", "no stop far before Daley's number of requests", "half of it", "`test_run_length.py`"),
    Row(
        8,
        "stall L in every P, open loop",
        "mean L²/2P, p95 L/2, p99 0.9 L at L/P = 0.1",
        "3 %",
        _RUST,
        opened.stall,
        quick=True,
    ),
    Row(9, "stall, 1 in flight", "p99 ≈ D, longest ≈ L, labelled closed", "2 ms", _RUST, closed.closed_stall),
    Row(10, "batch server a + b·k up to K", "K/(a + b·K)", "1 %", "", closed.batches),
    Row(11, "arrivals", "exponential, dispersion 1, no slow clock", "95 % of seeds, 0.05, 0.1 %", "", opened.arrivals),
    Row(12, "determinism", "a seed is a schedule", "exact", "", opened.determinism, quick=True),
    Row(13, "errors, timeouts, wrong outputs", "the server's own counts", "exact", _RUST, closed.failures, quick=True),
    Row(14, "3 times slower for 10 s", "cut ≥ 10 s", "bias ≤ 0.5 %", "`test_run_length.py`", judged.slow_start),
    Row(15, "drift 0.5 %/s, step −5 %, load 1.05", "flagged", "95 % of runs", _RATES, judged.misbehaviour),
    Row(
        16, "client stopped; client on a busy core", "`client_limited`", "always", _RATES, client.disturbed, quick=True
    ),
    Row(
        17, "coverage of the 95 % intervals", "90 to 98 %; p99 from 85 %", "200 seeds", _COVERAGE, virtual.coverage_row
    ),
    Row(
        18,
        "A/A comparison, +3 %",
        "≤ 7 % different, ≥ 90 % found",
        "100 comparisons",
        "`test_comparing.py`",
        compared.comparison,
    ),
    # Run by `runner.workflow.selftest`: a search needs rooms that this one does not see.
    Row(19, "capacity search on M/D/1", "within −5 to +1 %", "95 % of runs", "`test_virtual_search.py`"),
    Row(20, "scripted GPU counters", "J within 0.5 %, flags exact", "exact", "`test_fake_nvml.py`"),
    Row(
        21,
        "Little's law, counts, merged histograms",
        "hold",
        "2 %, exact, exact",
        "every trial",
        judged.bookkeeping,
        quick=True,
    ),
)


def markdown_table(rows: Sequence[Row] = ROWS) -> str:
    """The rows as the table of docs/measurement.md."""
    lines = ["| # | system | expected | tolerance | `selftest` | tests |", "|---|---|---|---|---|---|"]
    for row in rows:
        command = "–" if row.run is None else "quick" if row.quick else "`--full`"
        lines.append(
            f"| {row.number} | {row.system} | {row.expected} | {row.tolerance} | {command} | {row.where or '–'} |"
        )
    return "\n".join(lines) + "\n"
