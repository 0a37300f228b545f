"""Runs rows of the validation table and says how they came out."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from runner.errors import RigError, RunnerError, UsageError
from runner.load.engine import Engine
from runner.measure.selftest.bench import Bench, Check, RowError
from runner.measure.selftest.rows import Row

Verdict = Literal["pass", "fail", "busy", "not here"]
LATE_MEAN_MS = 0.5
LATE_P99_MS = 3.0
"""A scripted server that answers later than this after its own deadlines proves nothing about the engine."""


@dataclass(frozen=True)
class RowResult:
    """A row's checks; `late_*`: the worst lateness of its scripted servers, which is the error of this bench."""

    row: Row
    checks: tuple[Check, ...]
    seconds: float
    late_mean_ms: float = 0.0
    late_p99_ms: float = 0.0
    problem: str | None = None

    @property
    def quiet(self) -> bool:
        """The machine left the scripted servers the CPU that they needed."""
        return self.late_mean_ms <= LATE_MEAN_MS and self.late_p99_ms <= LATE_P99_MS

    def verdict(self, check: Check) -> Verdict:
        """A figure that is off on a machine that is busy is neither proved nor disproved."""
        if check.ok is None:
            return "not here"
        if check.ok:
            return "pass"
        return "fail" if self.quiet else "busy"

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Of the checks, and `fail` where the row could not be run to its end."""
        problem: tuple[Verdict, ...] = ("fail",) if self.problem else ()
        return (*(self.verdict(check) for check in self.checks), *problem)


def chosen(numbers: Sequence[int], full: bool, rows: Sequence[Row]) -> list[Row]:
    """Of `rows` those with these numbers, else those of the quick or the full run.

    Raises:
        UsageError: a number without a row, or whose row is checked elsewhere.
    """
    runnable = {row.number: row for row in rows if row.run is not None}
    for number in numbers:
        if number not in runnable:
            known = ", ".join(map(str, runnable))
            raise UsageError(f"--rows: row {number} cannot be run here", hint=f"these can: {known}")
    if numbers:
        return [runnable[number] for number in sorted(set(numbers))]
    return [row for row in runnable.values() if full or row.quick]


def run_rows(
    rows: Sequence[Row], engine: Engine, *, full: bool, on_row: Callable[[Row], None] = lambda _: None
) -> Iterator[RowResult]:
    """One result after the other."""
    with tempfile.TemporaryDirectory(prefix="scenario-selftest-") as folder:
        bench = Bench(engine, full, Path(folder))
        for row in rows:
            on_row(row)
            yield _run(row, bench)


def _run(row: Row, bench: Bench) -> RowResult:
    assert row.run is not None
    began, before = time.monotonic(), len(bench.trials)
    checks: Sequence[Check] = ()
    problem = None
    try:
        checks = row.run(bench)
    except (RunnerError, RowError) as error:
        problem = str(error)
    reports = [report for _, _, report in bench.trials[before:]]
    result = RowResult(row, tuple(checks), time.monotonic() - began, problem=problem)
    return replace(
        result,
        late_mean_ms=max((r["late_mean_ms"] for r in reports), default=0.0),
        late_p99_ms=max((r["late_p99_ms"] for r in reports), default=0.0),
    )


def conclude(results: Sequence[RowResult]) -> None:
    """Nothing, when every row passed.

    Raises:
        RunnerError: a row failed on a machine that was quiet enough to tell.
        RigError: some rows could not be told, because the machine was busy.
    """
    verdicts = [(result.row.number, verdict) for result in results for verdict in result.verdicts]
    failed = sorted({number for number, verdict in verdicts if verdict == "fail"})
    busy = sorted({number for number, verdict in verdicts if verdict == "busy"})
    if failed:
        raise RunnerError(
            f"the self-test failed in row {_joined(failed)}",
            hint="repeat it with --rows; if it fails again, report the table: numbers from this machine are in doubt",
        )
    if busy:
        raise RigError(
            f"row {_joined(busy)} could not be told: the scripted servers themselves were late",
            hint="this machine was too busy to prove anything; repeat the self-test when nothing else runs",
        )


def _joined(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


# --- shown --------------------------------------------------------------------------------------------------------

_MARKS: dict[Verdict, str] = {"pass": "pass", "fail": "FAIL", "busy": "busy", "not here": "–"}


def table(result: RowResult) -> str:
    """A row as lines of text."""
    late = (
        f", servers late by {result.late_mean_ms:.2f} ms, p99 {result.late_p99_ms:.1f} ms" if result.late_p99_ms else ""
    )
    lines = [f"{result.row.number:>2}  {result.row.system} ({result.seconds:.1f} s{late})"]
    for check in result.checks:
        tolerance = f" [{check.tolerance}]" if check.tolerance else ""
        lines.append(
            f"    {_MARKS[result.verdict(check)]:<4}  {check.what}: {check.got}, expected {check.expected}{tolerance}"
        )
    if result.problem:
        lines.append(f"    FAIL  {result.problem}")
    return "\n".join(lines)


def markdown(results: Sequence[RowResult]) -> str:
    """All checks as a table for documentation."""
    lines = ["| # | what | expected | tolerance | measured | verdict |", "|---|---|---|---|---|---|"]
    for result in results:
        for check in result.checks:
            cells = (
                str(result.row.number),
                check.what,
                check.expected,
                check.tolerance,
                check.got,
                _MARKS[result.verdict(check)],
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def as_json(results: Sequence[RowResult]) -> list[dict[str, Any]]:
    """For machines."""
    return [
        {
            "row": result.row.number,
            "system": result.row.system,
            "seconds": round(result.seconds, 3),
            "late_mean_ms": result.late_mean_ms,
            "late_p99_ms": result.late_p99_ms,
            "problem": result.problem,
            "checks": [
                {
                    "what": c.what,
                    "expected": c.expected,
                    "got": c.got,
                    "tolerance": c.tolerance,
                    "verdict": result.verdict(c),
                }
                for c in result.checks
            ],
        }
        for result in results
    ]
