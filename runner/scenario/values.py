"""Reading plain values by address."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from runner.scenario.predicate import Lookup


def lookup_in(plain: dict[str, Any]) -> Lookup:
    """A lookup over plain values; a variable is its value."""

    def look_up(address: str) -> Any:
        segments = address.split(".")
        value = _find(plain, segments)
        is_variable = len(segments) == 2 and segments[0] == "vars"
        return value["default"] if is_variable else value

    return look_up


def _find(value: Any, segments: Sequence[str]) -> Any:
    """Follow the longest key at every map, as everywhere; KeyError when there is none."""
    if not segments:
        return value
    if isinstance(value, list) and segments[0].isdecimal() and int(segments[0]) < len(value):
        return _find(value[int(segments[0])], segments[1:])
    for count in range(len(segments), 0, -1):
        key = ".".join(segments[:count])
        if isinstance(value, dict) and key in value:
            return _find(value[key], segments[count:])
    raise KeyError(".".join(segments))
