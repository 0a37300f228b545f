"""What differs between two nested values, address by address."""

from __future__ import annotations

from typing import Any


def changes(before: dict[str, Any], after: dict[str, Any], between: str = " -> ") -> list[str]:
    """`address: before -> after` for every address of two flat maps whose values differ."""
    return [
        f"{address}: {before.get(address, 'absent')}{between}{after.get(address, 'absent')}"
        for address in sorted(before.keys() | after.keys())
        if before.get(address, ...) != after.get(address, ...)
    ]


def flat(value: Any, address: str = "") -> dict[str, Any]:
    """Address -> value, for every leaf of maps and lists."""
    if isinstance(value, dict) and value:
        parts = [flat(item, f"{address}.{key}" if address else str(key)) for key, item in value.items()]
    elif isinstance(value, list) and value:
        parts = [flat(item, f"{address}.{index}") for index, item in enumerate(value)]
    else:
        return {address: value}
    return {key: item for part in parts for key, item in part.items()}
