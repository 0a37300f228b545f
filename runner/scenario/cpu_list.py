"""Lists of processors as the kernel writes them: `0-3,8`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import groupby

_PART = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
EXPECTED = "a list of CPUs such as 0-7 or 0,2,4"


def parse_cpus(text: str) -> tuple[int, ...]:
    """`0-3,8` -> (0, 1, 2, 3, 8), in order and each once.

    Raises:
        ValueError: it is no such list, or names none.
    """
    found: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part.strip())
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if first > last:
            raise ValueError(f'expected {EXPECTED}, got "{text}"')
        found.update(range(first, last + 1))
    return tuple(sorted(found))


def format_cpus(cpus: Iterable[int]) -> str:
    """(0, 1, 2, 3, 8) -> `0-3,8`."""
    return ",".join(_spans(sorted(set(cpus))))


def _spans(cpus: list[int]) -> Iterator[str]:
    # Within a span of neighbours the value and its place grow alike.
    for _, group in groupby(enumerate(cpus), key=lambda pair: pair[1] - pair[0]):
        span = [cpu for _, cpu in group]
        yield f"{span[0]}-{span[-1]}" if len(span) > 1 else str(span[0])
