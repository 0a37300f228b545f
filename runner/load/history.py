"""The slices of a run in bounded memory: once there are too many, neighbours are joined and slices twice as long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

from runner.load.engine import Extra, Slice

MOST_SLICES = 256
"""Enough for every statistic: 20 batches of a drift have six slices each, and MSER-5 sees 25 values or more."""


class History:
    """Consecutive slices, all of one length but the last; none is lost, only their edges become fewer."""

    def __init__(self, most: int = MOST_SLICES) -> None:
        self.slices: list[Slice] = []
        self._most = most
        self._per = 1
        """Slices of the engine in each one that is held."""
        self._in_last = 0

    def extend(self, fresh: Iterable[Slice]) -> None:
        """Add what follows."""
        for slice_ in fresh:
            if self.slices and self._in_last < self._per:
                self.slices[-1] = joined(self.slices[-1], slice_)
                self._in_last += 1
            else:
                self.slices.append(slice_)
                self._in_last = 1
        while len(self.slices) > self._most:
            self._halve()

    def _halve(self) -> None:
        whole = len(self.slices) // 2 * 2
        pairs = [joined(self.slices[n], self.slices[n + 1]) for n in range(0, whole, 2)]
        if whole == len(self.slices):
            self._in_last += self._per
        self.slices = [*pairs, *self.slices[whole:]]
        self._per *= 2


_LAST = ("end_ns", "in_flight")
"""What the later of two neighbours says for both."""


def joined(first: Slice, second: Slice) -> Slice:
    """Two neighbours as one: counts, sums and histograms add up, whatever fields a slice has."""
    values: dict[str, Any] = {}
    for field in fields(Slice):
        one, other = getattr(first, field.name), getattr(second, field.name)
        values[field.name] = _joined(field.name, one, other)
    # In a closed loop service is mostly the very object that latency is, and stays so.
    if first.service is first.latency and second.service is second.latency:
        values["service"] = values["latency"]
    return Slice(**values)


def _joined(name: str, one: Any, other: Any) -> Any:
    if name == "start_ns":
        return one
    if name in _LAST:
        return other
    if "_max" in name:
        return max(one, other)
    if isinstance(one, Extra):
        return _joined_extras(one, other)
    return dict(Counter(one) + Counter(other)) if isinstance(one, dict) else one + other


def _joined_extras(one: Extra, other: Extra) -> Extra:
    histograms = dict(one.histograms)
    for name, histogram in other.histograms.items():
        histograms[name] = histograms[name] + histogram if name in histograms else histogram
    names = (field.name for field in fields(Extra) if field.name != "histograms")
    return Extra(**{name: getattr(one, name) + getattr(other, name) for name in names}, histograms=histograms)
