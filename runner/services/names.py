"""Small things that every protocol's client says about names."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """A guess at what was meant."""
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {nearest[0]!r}?" if nearest else f"no name like {name!r} is known"


def version_order(version: str) -> tuple[bool, int, str]:
    """Sort key: numbers as numbers, after words."""
    return (version.isdigit(), int(version) if version.isdigit() else 0, version)
