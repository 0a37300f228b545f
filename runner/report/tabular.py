"""Cells and rows as CSV that spreadsheets, pandas and RFC 4180 readers agree on."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MOST_NAME = 28
"""Letters of a column that is named by an address."""
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def csv_bytes(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], line_end: str = "\r\n") -> bytes:
    """A header and one line per row, UTF-8; a column that a row lacks is an empty cell."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator=line_end)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([cell_text(row.get(column)) for column in columns])
    return out.getvalue().encode("utf-8", "backslashreplace")


def cell_text(value: Any) -> str:
    """One cell: numbers in full precision, true/false, nothing for None, JSON for lists and maps.

    Text that a spreadsheet would run as a formula gets a leading apostrophe: messages come from servers.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def json_bytes(value: Any) -> bytes:
    """Strict JSON: no NaN, stable order, a newline at the end."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "backslashreplace") + b"\n"


def number_text(value: float) -> str:
    """Three or four digits, as much as a measurement can tell."""
    magnitude = abs(value)
    digits = 0 if magnitude >= 1000 else 1 if magnitude >= 100 else 2 if magnitude >= 1 else 3
    return f"{value:.{digits}f}"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns of equal width: the first and the last to the left, numbers between them to the right."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    left = {0, len(widths) - 1}
    return [
        "  "
        + "  ".join(
            cell.ljust(width) if index in left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def shortened(name: str, length: int) -> str:
    """A name that fits, with a mark where it was cut."""
    return name if len(name) <= length else f"{name[: length - 1]}…"


def short_names(addresses: Sequence[str]) -> dict[str, str]:
    """Address -> as many of its last words as tell it from the others."""
    return {address: _short(address, addresses) for address in addresses}


def _short(address: str, others: Sequence[str]) -> str:
    words = address.split(".")
    for count in range(1, len(words)):
        name = ".".join(words[-count:])
        if not name.replace(".", "").isdigit() and sum(other.endswith(f".{name}") for other in others) == 1:
            return name if len(name) <= MOST_NAME else f"{words[-count]}…{words[-1]}"
    return address
