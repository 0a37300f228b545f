"""The column reference in docs/results.md, made from the declarations.

To renew it: `python -m runner.report.reference docs/results.md`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from runner.report.capacity import CAPACITY
from runner.report.combined import COLUMNS
from runner.report.points import EXPLANATION, IDENTITY, REPEATS
from runner.report.repeats import POSITION
from runner.report.slo import SLO
from runner.report.stages import STAGE_COLUMNS
from runner.results.metric import Metric
from runner.results.metrics import (
    BREAKDOWN,
    CLIENT,
    COUNTS,
    EXTRA,
    LATENCY,
    SERVER,
    THROUGHPUT,
    WINDOW,
    compute_share,
    model_metrics,
    percentile,
)
from runner.results.telemetry_metrics import GPU, HOST, gpu_metrics, series_metrics

Row = tuple[str, str, str]


def reference() -> dict[str, str]:
    """Name of a block in the document -> its Markdown table."""
    return {
        "points": _table(("column", "unit", "meaning or formula"), _points_rows()),
        "repeats": _table(("column", "unit", "meaning"), ((f"`{c.key}`", c.unit, c.meaning) for c in POSITION)),
        "stages": _table(("column", "unit", "meaning or formula"), _stages_rows()),
        "combined": _table(("column", "from"), ((f"`{name or '(none)'}`", text) for name, text in COLUMNS.items())),
    }


def filled(document: str) -> str:
    """The document with the text between each `<!-- name -->` and `<!-- /name -->` replaced by its table."""
    for name, table in reference().items():
        block = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        document = block.sub(lambda match, table=table: f"{match[1]}{table}{match[2]}", document)  # type: ignore[misc]
    return document


def _points_rows() -> Iterable[Row]:
    yield from ((f"`{c.key}`", c.unit, c.meaning) for c in IDENTITY)
    yield "*address*", "", "one column per address of the matrix, for example `workload.batch`, with its value"
    yield from ((f"`{c.key}`", c.unit, c.meaning + "; only in runs that repeat points") for c in REPEATS)
    yield from ((f"`{c.key}`", c.unit, c.meaning + "; only in runs with a capacity search") for c in CAPACITY)
    yield from ((f"`{c.key}`", c.unit, c.meaning + "; only in runs with `measure.slo`") for c in SLO)
    for metric in (
        *COUNTS,
        *WINDOW,
        *THROUGHPUT,
        *LATENCY,
        *percentile(99.0),
        *(metric for _, metrics in EXTRA for metric in metrics),
        *CLIENT,
        *SERVER,
        compute_share("MODEL"),
        *model_metrics("MODEL"),
        *BREAKDOWN,
        *HOST,
        *GPU,
        *gpu_metrics("N"),
        *series_metrics("SERIES", "counter"),
        *series_metrics("SERIES", "gauge"),
    ):
        yield f"`{metric.key}`", metric.unit, metric.formula + _interval(metric)
    yield from ((f"`{c.key}`", c.unit, c.meaning) for c in EXPLANATION)


def _interval(metric: Metric) -> str:
    return (
        f" (and `{metric.columns[1]}`, `{metric.columns[2]}`: the bounds of its confidence interval)"
        if metric.interval
        else ""
    )


def _stages_rows() -> Iterable[Row]:
    shared = {column.key: column for column in IDENTITY}
    yield from ((f"`{key}`", shared[key].unit, shared[key].meaning) for key in ("case_id", "batch", "concurrency"))
    yield from ((f"`{column.key}`", column.unit, column.formula) for column in STAGE_COLUMNS)


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, tuple("---" for _ in header), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(filled(path.read_text("utf-8")), "utf-8")
