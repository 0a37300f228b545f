"""What differs between two nested values, address by address."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

_SHOWN = 5


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


def changed_values(recorded: Path, resolved: str, but: str = "") -> str:
    """In words, in what a resolved scenario differs from that in the file `recorded`; addresses in `but` left aside."""
    try:
        before, after = (flat(yaml.safe_load(text)) for text in (recorded.read_text("utf-8"), resolved))
    except (OSError, ValueError, yaml.YAMLError) as error:
        return f"the digests differ, and {recorded.name} cannot be compared ({error})"
    found = [each for each in changes(before, after) if not but or not each.startswith(f"{but}.")]
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ("; ".join(found[:_SHOWN]) or "same values, written differently") + more
