"""Quantities with their unit: `5s`, `200ms`, `64MiB`, `5%`, `50/s`, `250W`; a number without a unit is refused.

Inside the program a quantity is a plain number in the base unit (seconds, bytes, fraction, per second, watts), which
the name of the field says. `format_*` writes the shortest text that parses back to exactly the same number.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

_NUMBER = r"[0-9]{1,18}(?:\.[0-9]{1,40})?"
_MOST_DIGITS = 20
"""Those of 64 bits."""
_QUANTITY = re.compile(rf"\s*(-?{_NUMBER}) ?([%/A-Za-zµ]*)\s*")

TIME: dict[str, Decimal] = {
    "h": Decimal(3600),
    "m": Decimal(60),
    "s": Decimal(1),
    "ms": Decimal("1e-3"),
    "us": Decimal("1e-6"),
    "µs": Decimal("1e-6"),
    "ns": Decimal("1e-9"),
}
BYTES: dict[str, Decimal] = {
    "TiB": Decimal(2**40),
    "GiB": Decimal(2**30),
    "MiB": Decimal(2**20),
    "KiB": Decimal(2**10),
    "TB": Decimal(10**12),
    "GB": Decimal(10**9),
    "MB": Decimal(10**6),
    "kB": Decimal(10**3),
    "KB": Decimal(10**3),
    "B": Decimal(1),
}
PERCENT: dict[str, Decimal] = {"%": Decimal("0.01")}
WATT: dict[str, Decimal] = {"kW": Decimal(1000), "W": Decimal(1), "mW": Decimal("1e-3")}
PER_TIME: dict[str, Decimal] = {"/s": Decimal(1), "/m": 1 / Decimal(60), "/h": 1 / Decimal(3600)}


class UnitError(ValueError):
    """A text is not a quantity of the expected kind; `hint` says how to write it."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True)
class Dimension:
    """A kind of quantity: its name in messages, its units, and how a number without a unit was probably meant."""

    name: str
    units: dict[str, Decimal]
    examples: tuple[str, ...]
    bare: str
    """Unit suggested for a bare number."""

    @property
    def expected(self) -> str:
        return f"{self.name} such as {' or '.join(self.examples)}"


DURATION = Dimension("a duration", TIME, ("5s", "200ms"), "s")
SIZE = Dimension("a size", BYTES, ("64MiB", "8GiB"), "B")
SHARE = Dimension("a share", PERCENT, ("5%", "0.5%"), "%")
RATE = Dimension("a rate", PER_TIME, ("50/s", "0.5/s"), "/s")
POWER = Dimension("a power", WATT, ("250W", "0.7kW"), "W")
DIMENSIONS: dict[str, Dimension] = {unit: kind for kind in (DURATION, SIZE, SHARE, RATE, POWER) for unit in kind.units}
"""Unit -> what it measures; every unit means one thing."""


def _parse(kind: Dimension, value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UnitError(f"expected {kind.expected}, got {_describe(value)}")
    match = _QUANTITY.fullmatch(str(value))
    if match is None:
        raise UnitError(f"expected {kind.expected}, got {_describe(value)}")
    number, unit = match.groups()
    if not unit:
        raise UnitError(f"expected {kind.expected}, got the bare number {number}", _bare_hint(kind, number))
    if unit not in kind.units:
        raise UnitError(f"expected {kind.expected}, got {_describe(value)}", _unit_hint(kind, number, unit))
    if number.startswith("-"):
        raise UnitError(f"expected {kind.expected}, got the negative {value}")
    return Decimal(number) * kind.units[unit]


def _describe(value: object) -> str:
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= 60 else f'"{value[:57]}..."'
    names = {dict: "a map", list: "a list", type(None): "null", bool: str(value).lower()}
    return names.get(type(value), repr(value))


def _bare_hint(kind: Dimension, number: str) -> str:
    if kind is SHARE and Decimal(number) < 1:
        number = _plain(Decimal(number) * 100)
    return f"write {number}{kind.bare}"


def _unit_hint(kind: Dimension, number: str, unit: str) -> str:
    same = [known for known in kind.units if known.lower() == unit.lower()]
    if same:
        return f"write {number}{same[0]}"
    if unit in DIMENSIONS:
        return f"`{unit}` is the unit of {DIMENSIONS[unit].name}; units here: {', '.join(kind.units)}"
    return f"units: {', '.join(kind.units)}"


def _plain(number: Decimal) -> str:
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def parse_seconds(value: object) -> float:
    """Read a duration: `5s` -> 5.0."""
    return float(_parse(DURATION, value))


def parse_bytes(value: object) -> int:
    """Read a size: `1KiB` -> 1024."""
    size = _parse(SIZE, value)
    if size != size.to_integral_value():
        raise UnitError(f"expected a whole number of bytes, got {_describe(value)}")
    return int(size)


def parse_fraction(value: object) -> float:
    """Read a share from 0 to 1: `5%` -> 0.05."""
    share = parse_ratio(value)
    if share > 1:
        raise UnitError(f"expected at most 100%, got {_describe(value)}")
    return share


def parse_ratio(value: object) -> float:
    """Read a share of any size: `150%` -> 1.5."""
    return float(_parse(SHARE, value))


def parse_rate(value: object) -> float:
    """Read a rate per second: `50/s` -> 50.0."""
    return float(_parse(RATE, value))


def parse_watts(value: object) -> float:
    """Read a power: `0.7kW` -> 700.0."""
    return float(_parse(POWER, value))


def parse_quantity(text: str) -> tuple[float, str]:
    """Read any quantity: its number in the base unit and what it measures (`200ms` -> 0.2, "a duration")."""
    match = _QUANTITY.fullmatch(text)
    if match is None or match[2] not in DIMENSIONS:
        raise UnitError(f'"{text}" is not a quantity', f"units: {', '.join(DIMENSIONS)}")
    kind = DIMENSIONS[match[2]]
    return float(Decimal(match[1]) * kind.units[match[2]]), kind.name


def format_seconds(value: float) -> str:
    """Write a duration: 0.2 -> `200ms`."""
    number = Decimal(repr(value))
    for unit in ("s", "ms", "us", "ns"):
        scaled = number / TIME[unit]
        if scaled == scaled.to_integral_value() and (unit == "s" or scaled < 1_000_000):
            return f"{_plain(scaled)}{unit}"
    return f"{_plain(number)}s"


def counted(number: int, what: str) -> str:
    """A number of things: `1 point`, `2,000 points`, `3 addresses`."""
    ending = "" if number == 1 else "es" if what.endswith("s") else "s"
    return f"{number:,} {what}{ending}"


def whole_number(text: str) -> int | None:
    """The number that a text of plain digits is; None for any other text. `str.isdigit` takes `²`, which is no int."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS else None


def rough_duration(seconds: float) -> str:
    """A duration as people say it: `40 s`, `2.5 min`."""
    return f"{seconds / 60:.3g} min" if seconds >= 90 else f"{seconds:.0f} s"


def format_bytes(value: int) -> str:
    """Write a size in the largest unit that divides it: 1024 -> `1KiB`."""
    for unit, scale in BYTES.items():
        if value and value % int(scale) == 0:
            return f"{value // int(scale)}{unit}"
    return f"{value}B"


def format_fraction(value: float) -> str:
    """Write a share: 0.05 -> `5%`."""
    return f"{_plain(Decimal(repr(value)) * 100)}%"


def format_rate(value: float) -> str:
    """Write a rate: 50.0 -> `50/s`."""
    return f"{_plain(Decimal(repr(value)))}/s"


def format_watts(value: float) -> str:
    """Write a power: 250.0 -> `250W`."""
    return f"{_plain(Decimal(repr(value)))}W"


def _validate(parse: Callable[[object], float], value: Any) -> float:
    try:
        return parse(value)
    except UnitError as error:
        raise PydanticCustomError("unit", "{problem}", {"problem": error.message, "hint": error.hint}) from None


def _schema(kind: Dimension) -> dict[str, Any]:
    units = "|".join(re.escape(unit) for unit in kind.units)
    pattern = rf"^\s*{_NUMBER} ?({units})\s*$"
    return {"title": kind.name, "type": "string", "pattern": pattern, "examples": list(kind.examples)}


Seconds = Annotated[
    float,
    BeforeValidator(partial(_validate, parse_seconds)),
    PlainSerializer(format_seconds),
    WithJsonSchema(_schema(DURATION)),
]
"""A duration, written `5s`."""
ByteSize = Annotated[
    int,
    BeforeValidator(partial(_validate, parse_bytes)),
    PlainSerializer(format_bytes),
    WithJsonSchema(_schema(SIZE)),
]
"""A number of bytes, written `64MiB`."""
Fraction = Annotated[
    float,
    BeforeValidator(partial(_validate, parse_fraction)),
    PlainSerializer(format_fraction),
    WithJsonSchema(_schema(SHARE)),
]
"""A number from 0 to 1, written `5%`."""
Ratio = Annotated[
    float,
    BeforeValidator(partial(_validate, parse_ratio)),
    PlainSerializer(format_fraction),
    WithJsonSchema(_schema(SHARE)),
]
"""A number from 0 on, written `150%`."""
Rate = Annotated[
    float,
    BeforeValidator(partial(_validate, parse_rate)),
    PlainSerializer(format_rate),
    WithJsonSchema(_schema(RATE)),
]
"""A number per second, written `50/s`."""
Watts = Annotated[
    float,
    BeforeValidator(partial(_validate, parse_watts)),
    PlainSerializer(format_watts),
    WithJsonSchema(_schema(POWER)),
]
"""A power, written `250W`."""
