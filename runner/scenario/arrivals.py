"""Files of send times: gaps in microseconds, timestamps in seconds, or perf_analyzer's JSON with `timestamp`s in
milliseconds; whatever is wrong has a line number, or the number of its step."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from pathlib import Path
from typing import Any

MAX_LINES = 10_000_000
_MAX_NS = 1 << 60
_INTEGER = re.compile(r"[0-9]{1,18}")
_DECIMAL = re.compile(r"[0-9]{1,18}(\.[0-9]{1,18})?")


Form = Callable[[Path, Callable[[str], int]], tuple[list[int], str]]


class ArrivalsError(ValueError):
    """A file of send times that makes no schedule; `line` counts from 1, 0 is the file as a whole."""

    def __init__(self, path: Path, line: int, message: str) -> None:
        super().__init__(f"{path}:{line}: {message}" if line else f"{path}: {message}")
        self.path, self.line, self.message = path, line, message


@dataclass(frozen=True)
class Arrivals:
    """What a file says, in nanoseconds, and what it is, so that a result can name its schedule."""

    values_ns: tuple[int, ...]
    sha256: str


def read_intervals(path: Path) -> Arrivals:
    """Gaps between sends, at least one of them above 0."""
    found = _read(path, _gap, _from_lines)
    if not any(found.values_ns):
        raise ArrivalsError(path, 0, "expected at least one gap above 0")
    return found


def read_timestamps(path: Path) -> Arrivals:
    """Send times, ascending, counted from the first."""
    if path.suffix.lower() == ".json":
        return _ascending(path, _read(path, _time, _from_json))
    return _ascending(path, _read(path, _time, _from_lines))


def _ascending(path: Path, found: Arrivals) -> Arrivals:
    first, previous = found.values_ns[0], found.values_ns[0]
    for at in found.values_ns:
        if at < previous:
            line = 0 if path.suffix.lower() == ".json" else _line_of(path, at, previous)
            raise ArrivalsError(path, line, "expected ascending times, got one before its predecessor")
        previous = at
    if previous - first > _MAX_NS:
        raise ArrivalsError(path, 0, "expected at most 36 years from the first to the last time")
    return Arrivals(tuple(at - first for at in found.values_ns), found.sha256)


def _gap(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise ValueError(f"expected a whole number of microseconds, got {_shown(text)}")
    if int(text) * 1000 > _MAX_NS:
        raise ValueError(f"expected at most 36 years, got {_shown(text)}")
    return int(text) * 1000


def _time(text: str) -> int:
    if not _DECIMAL.fullmatch(text):
        raise ValueError(f"expected seconds such as 0.25, got {_shown(text)}")
    return int(Decimal(text) * 1_000_000_000)


def _shown(text: str) -> str:
    return f'"{text}"' if len(text) <= 40 else f'"{text[:37]}…"'


def _read(path: Path, parse: Callable[[str], int], form: Form) -> Arrivals:
    try:
        state = path.stat()
    except OSError as error:
        raise ArrivalsError(path, 0, f"cannot be read: {error.strerror}") from None
    return _cached(path, state.st_mtime_ns, state.st_size, parse, form)


@lru_cache(maxsize=8)
def _cached(path: Path, _mtime_ns: int, _size: int, parse: Callable[[str], int], form: Form) -> Arrivals:
    """Points of a matrix share their file; its time and size are part of the key, so that a changed one is read."""
    try:
        values, digest = form(path, parse)
    except OSError as error:
        raise ArrivalsError(path, 0, f"cannot be read: {error.strerror}") from None
    if not values:
        raise ArrivalsError(path, 0, "expected at least one line with a number, got none")
    return Arrivals(tuple(values), digest)


def _from_lines(path: Path, parse: Callable[[str], int]) -> tuple[list[int], str]:
    """One value a line, and the digest of the file."""
    digest, values = hashlib.sha256(), list[int]()
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            digest.update(raw)
            values += _values(path, number, raw, parse)
    return values, digest.hexdigest()


def _from_json(path: Path, _parse: Callable[[str], int]) -> tuple[list[int], str]:
    """`timestamp` of every step under `data`, in milliseconds, and the digest of the file."""
    content = path.read_bytes()
    try:
        steps = json.loads(content)["data"]
        flat = [step for each in steps for step in (each if isinstance(each, list) else [each])]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise ArrivalsError(path, 0, 'expected {"data": [{…, "timestamp": [0]}, …]}') from None
    values = [_milliseconds(path, step, number) for number, step in enumerate(flat)]
    return values, hashlib.sha256(content).hexdigest()


def _milliseconds(path: Path, step: Any, number: int) -> int:
    """perf_analyzer writes the one number as a list."""
    value = step.get("timestamp") if isinstance(step, dict) else None
    value = value[0] if isinstance(value, list) and len(value) == 1 else value
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value * 1e6 <= _MAX_NS:
        raise ArrivalsError(path, 0, f"data[{number}].timestamp: expected milliseconds, got {json.dumps(value)}")
    return round(value * 1_000_000)


def _values(path: Path, number: int, raw: bytes, parse: Callable[[str], int]) -> list[int]:
    """The value of one line; blank lines and comments after `#` have none."""
    text = raw.decode("utf-8", "replace").partition("#")[0].strip()
    if not text:
        return []
    if number > MAX_LINES:
        raise ArrivalsError(path, number, f"expected at most {MAX_LINES:,} lines")
    try:
        return [parse(text)]
    except ValueError as error:
        raise ArrivalsError(path, number, str(error)) from None


def _line_of(path: Path, at: int, previous: int) -> int:
    """Line of the first value `at` that follows `previous`."""
    last = None
    for number, raw in enumerate(path.read_bytes().splitlines(), 1):
        for value in _values(path, number, raw, _time):
            if value == at and last == previous:
                return number
            last = value
    return 0
