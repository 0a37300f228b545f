"""CPU time of a process with everything below it, cheap enough to ask once a second."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

DISCOVER_EVERY = 10
"""Readings between two looks for new children: looking costs one file for each thread of the tree."""


class ProcessTree:
    """Processes by their roots; time of those that ended is kept, so the sum never falls."""

    def __init__(self, roots: Sequence[int], root: Path = Path("/")) -> None:
        self._proc = root / "proc"
        self._roots = tuple(roots)
        self._seconds: dict[int, float] = {}
        self._readings = 0
        self._tick_s = 1 / os.sysconf("SC_CLK_TCK")

    @property
    def pids(self) -> frozenset[int]:
        """Every process seen so far."""
        return frozenset((*self._roots, *self._seconds))

    def living(self) -> frozenset[int]:
        """The roots and all below them now."""
        return frozenset(pid for root in self._roots for pid in self._tree(root))

    def cpu_s(self) -> float:
        """User and system time of all of them since they began."""
        known = self.pids
        if self._readings % DISCOVER_EVERY == 0:
            known |= self.living()
        self._readings += 1
        for pid in known:
            seconds = self._of(pid)
            if seconds is not None:
                self._seconds[pid] = max(seconds, self._seconds.get(pid, 0.0))
        return sum(self._seconds.values())

    def _of(self, pid: int) -> float | None:
        try:
            # The command name is in parentheses and may hold any character, ")" included.
            fields = (self._proc / f"{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return (int(fields[11]) + int(fields[12])) * self._tick_s

    def _tree(self, pid: int) -> Iterator[int]:
        yield pid
        try:
            threads = os.listdir(self._proc / f"{pid}/task")
        except OSError:
            return
        for thread in threads:
            try:
                children = (self._proc / f"{pid}/task/{thread}/children").read_text().split()
            except OSError:
                continue
            for child in children:
                yield from self._tree(int(child))
