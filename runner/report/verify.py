"""The reports on disk against the same made again from the journal, cell by cell where they are tables."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from runner.report.write import report_files
from runner.results.differences import flat
from runner.results.run import Run
from runner.results.verification import Discrepancy

FORMATS = ("csv", "json")


def reports_of(run: Run, more: Iterable[tuple[str, bytes]] = ()) -> list[tuple[str, bytes]]:
    """Every report that the run has, as it should be; those of formats that were not asked for are not missed.

    `more` are those that the caller makes itself.
    """
    known = {artefact.path for artefact in run.manifest.artefacts}
    every = (*report_files(run, FORMATS), *more)
    return [(name, data) for name, data in every if name in known or (run.path / name).is_file()]


def verify_report(run: Run, name: str, expected: bytes) -> Iterator[Discrepancy]:
    """Every difference of one file."""
    path = run.path / name
    try:
        found = path.read_bytes()
    except OSError as error:
        yield Discrepancy(name, "", "file", f"{len(expected)} bytes", error.strerror or str(error))
        return
    if found != expected:
        yield from _differences(Path(name), found, expected)


def _differences(name: Path, found: bytes, expected: bytes) -> Iterator[Discrepancy]:
    try:
        cells = _cells(name.suffix, found), _cells(name.suffix, expected)
    except (ValueError, csv.Error) as error:
        yield Discrepancy(str(name), "", "content", "a file of this kind", str(error))
        return
    is_other = False
    for address in sorted(cells[0].keys() | cells[1].keys()):
        got, should = cells[0].get(address, "absent"), cells[1].get(address, "absent")
        if got != should:
            is_other = True
            point, _, field = address.partition(" ")
            yield Discrepancy(str(name), point, field, _shown(should), _shown(got))
    if not is_other:
        yield Discrepancy(str(name), "", "bytes", f"{len(expected)} bytes", f"{len(found)} bytes written differently")


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def _cells(suffix: str, data: bytes) -> dict[str, Any]:
    """`point column` -> value."""
    text = data.decode("utf-8")
    if suffix == ".json":
        return _json_cells(json.loads(text))
    if suffix == ".csv":
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
        return {f"{_row_name(n, row)} {column}": cell for n, row in enumerate(rows) for column, cell in row.items()}
    return {f"line {number}": line for number, line in enumerate(text.splitlines(), 1)}


def _row_name(number: int, row: dict[str, Any]) -> str:
    return str(row.get("case_id") or f"row-{number}") + (f"/{row['model']}" if row.get("compute_share") else "")


def _json_cells(document: Any) -> dict[str, Any]:
    points = document.pop("points", []) if isinstance(document, dict) else []
    cells = {f"document {address}": value for address, value in flat(document).items()}
    for point in points:
        cells |= {f"{point.get('case_id')} {address}": value for address, value in flat(point).items()}
    return cells
