"""The second table at the end of a run: where the mean latency went, and what limits the points."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runner.report.tabular import number_text, shortened
from runner.results.breakdown import TOLERANCE, Breakdown, breakdown
from runner.results.diagnosis import Diagnosis, diagnose
from runner.results.run import Point, Run

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

MAX_ROWS = 8
"""A longer run shows the fastest point of each diagnosis; stages.csv has all of them."""
MAX_MODELS = 3
NAME_LENGTHS = (14, 6)
EXPENDABLE = ("residual", "other", "client", "network")
"""Columns that a narrow terminal loses, in this order."""


@dataclass(frozen=True)
class Row:
    """A point that can be explained."""

    point: Point
    table: Breakdown
    diagnosis: Diagnosis

    @property
    def key(self) -> tuple[str, str]:
        """Points with the same key have the same explanation."""
        return self.diagnosis.label, self.diagnosis.model

    @property
    def per_s(self) -> float:
        summary = self.point.trial.summary if self.point.trial else None
        return summary.inferences_per_s.value if summary else 0.0


Column = tuple[str, Callable[[Row], str]]


def print_stages(run: Run, places: Sequence[tuple[str, Callable[[Point], str]]], console: Console) -> None:
    """Nothing where no point says enough."""
    rows = list(_rows(run))
    if not rows:
        return
    fastest = _fastest(rows)
    shown = rows if len(rows) <= MAX_ROWS else [row for row in rows if row in fastest.values()]
    table, lacking = _fitting([_of_point(*place) for place in places], shown, console)
    console.print("", _title(len(shown), len(rows)), sep="\n")
    console.print(table, width=max(console.width, _width(table, console)), crop=False)
    keys = [row.key for row in rows]
    for line in (*_legend(shown, lacking), *(_explained(row, keys.count(key)) for key, row in fastest.items())):
        console.print(line)


def _of_point(name: str, cell: Callable[[Point], str]) -> Column:
    return name, lambda row: cell(row.point)


def _rows(run: Run) -> Iterator[Row]:
    for point in run.points():
        table = breakdown(point.trial) if point.trial else None
        found = diagnose(point.trial) if point.trial else None
        if table is not None and found is not None:
            yield Row(point, table, found)


def _fastest(rows: Sequence[Row]) -> dict[tuple[str, str], Row]:
    """The point with the highest throughput of each diagnosis: what limits is clearest there."""
    found: dict[tuple[str, str], Row] = {}
    for row in rows:
        if row.key not in found or row.per_s > found[row.key].per_s:
            found[row.key] = row
    return found


def _title(shown: int, count: int) -> str:
    which = "" if shown == count else f", fastest of each kind of {count} points"
    return f"where a request's time goes, ms (means of the whole load{which})"


# --- the table ----------------------------------------------------------------------------------------------------


def _fitting(places: Sequence[Column], rows: Sequence[Row], console: Console) -> tuple[Table, Sequence[str]]:
    """The fullest table that fits, and the columns that it lacks for want of room.

    Model names are as long as they fit; many models share one column; then columns are left out, numbers never cut.
    """
    forms = [_columns(places, _model_columns(rows, length)) for length in NAME_LENGTHS]
    together = _columns(places, [("compute", _computing(None))])
    if len(_models(rows, "server")) > MAX_MODELS:
        forms = []
    fewer = [EXPENDABLE[:count] for count in range(len(EXPENDABLE) + 1)]
    candidates: list[tuple[list[Column], tuple[str, ...]]] = [(form, ()) for form in forms]
    candidates += [([each for each in together if each[0] not in lacking], lacking) for lacking in fewer]
    tables = [(_table(columns, rows), lacking) for columns, lacking in candidates]
    return next((found for found in tables if _width(found[0], console) <= console.width), tables[-1])


def _columns(places: Sequence[Column], models: Sequence[Column]) -> list[Column]:
    return [
        *places,
        ("mean", lambda row: number_text(row.table.total_ms)),
        ("client", lambda row: number_text(row.table.sum_ms("client"))),
        ("network", lambda row: number_text(row.table.sum_ms("network"))),
        ("queue", lambda row: number_text(row.table.sum_ms("server", stages=("queue",)))),
        *models,
        ("other", lambda row: number_text(row.table.sum_ms("server", stages=OTHER))),
        ("residual", lambda row: f"{round(row.table.residual_share, 3) + 0:.1%}"),
        ("limit", lambda row: row.diagnosis.label.removesuffix("-bound")),
    ]


OTHER = ("cache", "scheduling", "overlap")
COMPUTE = ("compute_input", "compute_infer", "compute_output")


def _model_columns(rows: Sequence[Row], length: int) -> list[Column]:
    """What each model computes; in parentheses what is inside another column."""
    own = [(shortened(model, length), _computing(model)) for model in _models(rows, "server")]
    inside = [(f"({shortened(model, length)})", _inside(model)) for model in _models(rows, "inside")]
    return [*own, *inside]


def _models(rows: Sequence[Row], where: str) -> list[str]:
    parts = (part for row in rows for part in row.table.parts)
    return list(dict.fromkeys(p.model for p in parts if p.where == where and p.stage == "compute_infer"))


def _computing(model: str | None) -> Callable[[Row], str]:
    return lambda row: number_text(row.table.sum_ms("server", model=model, stages=COMPUTE))


def _inside(model: str) -> Callable[[Row], str]:
    return lambda row: number_text(row.table.sum_ms("inside", model=model))


def _table(columns: Sequence[Column], rows: Sequence[Row]) -> Table:
    """No column is narrower than what stands in it: rich would cut numbers."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False, collapse_padding=True)
    cells = [[cell(row) for row in rows] for _, cell in columns]
    for (name, _), column in zip(columns, cells, strict=True):
        widest = max(map(len, (name, *column)))
        table.add_column(name, justify="left" if name == "limit" else "right", no_wrap=True, min_width=widest)
    for row in zip(*cells, strict=True):
        table.add_row(*row)
    return table


def _width(table: Table, console: Console) -> int:
    unlimited = console.options.update(width=100_000)
    return console.measure(table, options=unlimited).minimum


# --- the words ----------------------------------------------------------------------------------------------------


def _legend(rows: Sequence[Row], lacking: Sequence[str]) -> Iterator[str]:
    yield "mean = client + network + queue + models + other + residual"
    if lacking:
        yield f"too narrow for: {', '.join(lacking)}"
    if any(part.stage == "overlap" for row in rows for part in row.table.parts):
        yield "other is below 0 where times overlap: of models beside each other, or of a model and its answer's way on"
    if any(part.where == "inside" for row in rows for part in row.table.parts):
        yield "(…) is inside the time of the model whose code calls it, and not added"
    if any(_lost(row) for row in rows):
        yield "requests failed or were not answered: models count what they did for them, so their times are too high"
    worst = max((abs(row.table.residual_share) for row in rows), default=0.0)
    if worst > TOLERANCE:
        yield f"the rows leave up to {worst:.0%} of a mean unexplained: the two clocks disagree, so do not trust them"


def _lost(row: Row) -> bool:
    counts = row.point.trial.counts if row.point.trial else None
    return counts is not None and (counts.unfinished > 0 or any(counts.failed.values()))


def _explained(row: Row, count: int) -> str:
    others = f" (and {count - 1} more point{'s' if count > 2 else ''})" if count > 1 else ""
    return f"{row.diagnosis.label}: {row.diagnosis.text}{others}"
