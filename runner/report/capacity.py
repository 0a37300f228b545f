"""Capacity searches in tables: the answer as columns of its point, every load that was tried at the end of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from runner.report.column import Column
from runner.report.tabular import number_text
from runner.results.capacity import Attempt, Capacity, Over, Probe
from runner.results.metric import Cell
from runner.results.run import Point, Run
from runner.results.sentence import capacity_sentence, level_text

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def _of(value: Callable[[Capacity], Cell]) -> Callable[[Point], Cell]:
    def cell(point: Point) -> Cell:
        found = point.trial.capacity if point.trial else None
        return None if found is None else value(found)

    return cell


def _levels(over: Over, value: Callable[[Capacity], Cell]) -> Callable[[Point], Cell]:
    return _of(lambda found: value(found) if found.over == over else None)


CAPACITY: tuple[Column, ...] = (
    Column(
        "capacity_status",
        "",
        "found, at least (nothing above was missed), infeasible, unconfirmed, no answer, or hint (a knee)",
        _of(lambda c: c.status),
    ),
    Column(
        "capacity_per_s",
        "1/s",
        "requests per second at the answer; over rate the rate itself, over concurrency those answered",
        _of(lambda c: c.level if c.over == "rate" else c.per_s),
    ),
    Column(
        "capacity_low",
        "1/s",
        "the lowest answer of the searches, each confirmed; over concurrency empty",
        _levels("rate", lambda c: c.low),
    ),
    Column(
        "capacity_high",
        "1/s",
        "the lowest rate above the answer that did not pass, the highest of the searches; over concurrency empty",
        _levels("rate", lambda c: c.high),
    ),
    Column(
        "capacity_concurrency",
        "requests",
        "requests in flight at the answer; over rate empty",
        _levels("concurrency", lambda c: c.level),
    ),
    Column("capacity_limit_ms", "ms", "limit on the latency", _of(lambda c: c.limit_ms)),
    Column("capacity_percentile", "", "percentile that keeps below the limit", _of(lambda c: c.percentile)),
    Column("capacity_searches", "", "independent searches", _of(lambda c: len(c.attempts))),
    Column("capacity_loads", "", "loads that were tried", _of(lambda c: sum(len(a.probes) for a in c.attempts))),
    Column("capacity_strategy", "", "how was searched", _of(lambda c: c.strategy)),
    Column("capacity_reason", "", "how the search ended", _of(lambda c: c.reason)),
)
"""After the parameters, in runs with a capacity search."""


def capacity_columns(run: Run) -> tuple[Column, ...]:
    """What a search adds to a row, where some point is searched for."""
    return CAPACITY if any(trial.capacity for trial in run.trials.values()) else ()


# --- console ------------------------------------------------------------------------------------------------------


def print_capacities(run: Run, console: Console) -> None:
    """A sentence and the loads of each search; nothing where there is none."""
    for point in run.points():
        found = point.trial.capacity if point.trial else None
        if found is not None:
            console.print("", f"{point.case.case_id}: {capacity_sentence(found)}", sep="\n")
            for line in _lines(found):
                console.print(line)
            console.print(_table(found))


def _lines(capacity: Capacity) -> Iterator[str]:
    several = len(capacity.attempts) > 1
    for number, attempt in enumerate(capacity.attempts, 1):
        name = f"search {number}" if several else "the search"
        level = f"{level_text(attempt.level, capacity.over)}, " if several else ""
        yield f"{name}: {attempt.status}, {level}{attempt.reason}{_remarks(attempt, capacity.over)}"


def _remarks(attempt: Attempt, over: Over) -> str:
    parts = []
    if attempt.unresolved:
        parts.append(f"unresolved at {', '.join(level_text(level, over) for level in attempt.unresolved)}")
    if attempt.second_opinion is not None:
        parts.append(f"Kneedle says {attempt.second_opinion:g}")
    if attempt.audit is not None and not attempt.audit.monotone:
        parts.append("misses do not rise with the load")
    return "".join(f"; {part}" for part in parts)


def _table(capacity: Capacity) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, collapse_padding=True)
    several = len(capacity.attempts) > 1
    headers = ("stage", "load", "verdict", "missed", f"p{capacity.percentile:g} ms", "answers/s", "window s")
    for index, header in enumerate((*(("search",) if several else ()), *headers)):
        table.add_column(header, justify="left" if header in ("stage", "verdict") else "right", no_wrap=index > 0)
    for number, attempt in enumerate(capacity.attempts, 1):
        for probe in attempt.probes:
            table.add_row(*([str(number)] if several else []), *_cells(probe))
    return table


def _cells(probe: Probe) -> tuple[str, ...]:
    tally = probe.tally
    head = (probe.stage, level_text(probe.level, probe.over), probe.verdict)
    if tally is None:
        return (*head, "-", "-", "-", "-")
    share = tally.missed / tally.requests if tally.requests else 0.0
    return (
        *head,
        f"{share:.2%}",
        number_text(tally.quantile_ms),
        number_text(tally.delivered_per_s),
        f"{tally.window_s:.0f}",
    )
