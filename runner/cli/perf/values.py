"""Values of options: a text to a value; whatever is wrong is a `ValueError` that says what was expected."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Parser = Callable[[str], Any]

MOST_IN_FLIGHT = 100_000
_TIME = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(ms|s|us)?")
_SCALE_S = {"s": 1.0, "ms": 1e-3, "us": 1e-6}


@dataclass(frozen=True)
class Levels:
    """`start:end:step`; without an end there is one level, and an end of 0 is none."""

    start: float
    end: float | None = None
    step: float = 1

    @property
    def unbounded(self) -> bool:
        """Goes on until a latency limit is reached."""
        return self.end == 0

    @property
    def count(self) -> int:
        """How many levels there are; the first one always: an end below the start changes nothing."""
        last = max(self.start, self.start if self.end is None else self.end)
        return math.floor((last - self.start) / self.step + 1e-9) + 1

    @property
    def values(self) -> tuple[float, ...]:
        """Each level."""
        # Multiples of the step, because sums of it would collect rounding errors.
        return tuple(self.start + n * self.step for n in range(self.count))


@dataclass(frozen=True)
class Numbered:
    """A model, and its version where one is given."""

    model: str
    version: str | None = None


def whole(least: int = 0, most: int = 2**62) -> Parser:
    """A whole number."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]{1,20}", text) or not least <= int(text) <= most:
            limit = f" of at least {least}" if most == 2**62 else f" from {least} to {most}"
            raise ValueError(f"expected a whole number{limit}")
        return int(text)

    return parse


def number(least: float = 0.0, *, above: bool = False) -> Parser:
    """A number, whole or not."""

    def parse(text: str) -> float:
        value = _float(text)
        if value is None or value < least or (above and value == least):
            raise ValueError(f"expected a number {'above' if above else 'of at least'} {least:g}")
        return value

    return parse


def choice(*words: str, fold: bool = False) -> Parser:
    """One of a few words; with `fold` in whatever case."""

    def parse(text: str) -> str:
        word = text.lower() if fold else text
        if word not in words:
            raise ValueError(f"expected {', '.join(words[:-1])} or {words[-1]}")
        return word

    return parse


def text(value: str) -> str:
    """Anything but nothing."""
    if not value:
        raise ValueError("expected a value, got an empty text")
    return value


def version(value: str) -> str | None:
    """A model version; -1, as some clients write it, leaves the choice to the server."""
    if value == "-1":
        return None
    if not re.fullmatch(r"[0-9]{1,18}", value):
        raise ValueError("expected a whole number such as 3")
    return value


def percentile(value: str) -> float | None:
    """Percent; -1 stands for the mean."""
    found = _float(value)
    if found == -1:
        return None
    if found is None or not 0 < found < 100:
        raise ValueError("expected a number above 0 and below 100, such as 95 or 99.9, or -1 for the mean")
    return found


def seconds(value: str) -> float:
    """A duration in seconds, or with a unit."""
    match = _TIME.fullmatch(value)
    if match is None or not float(match[1]):
        raise ValueError("expected seconds such as 0.5, or 200ms")
    return float(match[1]) * _SCALE_S[match[2] or "s"]


def levels(value: str) -> Levels:
    """`start:end:step` of requests in flight."""
    found = _whole_levels(value)
    if max(found.start, found.end or 0) > MOST_IN_FLIGHT:
        raise ValueError(f"expected at most {MOST_IN_FLIGHT} in flight")
    return found


def _whole_levels(value: str) -> Levels:
    return _levels(value, lambda part: int(part) if re.fullmatch(r"[0-9]{1,9}", part) else None, "1:8:2")


def rates(value: str) -> Levels:
    """`start:end:step` of numbers."""
    return _levels(value, _float, "100:500:50")


def ramp(value: str) -> Levels:
    """As `levels`, with an end that is reached in whole steps."""
    found = levels(value)
    if found.end is None:
        raise ValueError("expected <start:end:step>, with an end, for example 1:16:5")
    if found.end < found.start:
        raise ValueError(f"expected an end of at least the start, {found.start:g}")
    if (found.end - found.start) % found.step:
        raise ValueError(f"expected whole steps of {found.step:g} from {found.start:g} to {found.end:g}")
    return found


def id_range(value: str) -> Levels:
    """`start` or `start:end` of sequence ids."""
    found = _whole_levels(value)
    if value.count(":") > 1:
        raise ValueError("expected <start:end>, for example 1:1000")
    if found.end is not None and found.end <= found.start:
        raise ValueError(f"expected an end above the start, {found.start:g}")
    return found


def shape(value: str) -> tuple[str, tuple[int, ...]]:
    """`NAME:3,224,224`; names may contain colons."""
    name, colon, sizes = value.rpartition(":")
    if not colon or not name or not re.fullmatch(r"[1-9][0-9]{0,8}(,[1-9][0-9]{0,8})*", sizes):
        raise ValueError("expected an input and its sizes above 0, without the batch: NAME:3,224,224")
    return name, tuple(int(size) for size in sizes.split(","))


def header(value: str) -> tuple[str, str]:
    """`Name:value`."""
    name, colon, content = value.partition(":")
    if not colon or not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name):
        raise ValueError("expected a header as <name:value>")
    return name, content.strip()


def parameter(value: str) -> tuple[str, bool | int | str]:
    """`name:value:type`; texts may contain colons."""
    name, _, rest = value.partition(":")
    content, colon, kind = rest.rpartition(":")
    if not name or not colon or kind.lower() not in ("bool", "int", "string"):
        raise ValueError("expected <name:value:type> with the type bool, int or string")
    match kind.lower():
        case "bool" if content.lower() in ("true", "false"):
            return name, content.lower() == "true"
        case "int" if re.fullmatch(r"[+-]?[0-9]{1,18}", content):
            return name, int(content)
        case "string":
            return name, content
    raise ValueError(f"expected a value of type {kind.lower()}, got {content!r}")


def models(value: str) -> tuple[Numbered, ...]:
    """`modelA:3,modelB`."""
    parts = ["".join(part.split()).partition(":") for part in value.split(",")]
    if not all(name for name, _, _ in parts):
        raise ValueError("expected models separated by commas: modelA:3,modelB")
    found = tuple(Numbered(name, version(number) if colon else None) for name, colon, number in parts)
    if len({each.model for each in found}) < len(found):
        raise ValueError("expected each model once: without a version its versions count together")
    return found


def readable_file(value: str) -> str:
    """A file that is there."""
    if not Path(value).is_file():
        raise ValueError("expected a file that can be read")
    return value


def source(value: str) -> str:
    """`random`, `zero`, or a file or folder that is there."""
    if value not in ("random", "zero") and not Path(value).exists():
        raise ValueError("expected random, zero, a folder, or a JSON file that is there")
    return value


def _levels(value: str, parse: Callable[[str], float | None], example: str) -> Levels:
    parts = [parse(part) for part in value.split(":")]
    found = [part for part in parts if part is not None and part >= 0]
    if len(found) < len(parts) or len(parts) > 3:
        raise ValueError(f"expected <start:end:step> with numbers of at least 0, for example {example}")
    if not found[0] or (len(found) == 3 and not found[2]):
        raise ValueError(f"expected a {'step' if found[0] else 'start'} above 0")
    return Levels(*found)


def _float(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
