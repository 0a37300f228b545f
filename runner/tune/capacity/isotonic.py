"""Do the shares of late requests rise with the load? Isotonic regression by pooling adjacent violators.

Ayer, Brunk, Ewing, Reid & Silverman, *Annals of Mathematical Statistics* 26 (1955). With dynamic batching they need
not: at low rates a request waits for company, at higher ones batches fill.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from runner.results.capacity import Audit, Probe, Tally
from runner.tune.capacity.verdict import falls_behind

SURE = 3.0
"""Standard errors beyond which a share below one of a lower load is no chance."""


def isotonic(values: Sequence[float], weights: Sequence[float]) -> list[float]:
    """The rising sequence with the least weighted squared distance to `values`."""
    blocks: list[tuple[float, float, int]] = []
    for value, weight in zip(values, weights, strict=True):
        block = (value, weight, 1)
        while blocks and blocks[-1][0] >= block[0]:
            before = blocks.pop()
            total = before[1] + block[1]
            block = ((before[0] * before[1] + block[0] * block[1]) / total, total, before[2] + block[2])
        blocks.append(block)
    return [value for value, _, count in blocks for _ in range(count)]


def audit(probes: Sequence[Probe]) -> Audit | None:
    """Of the probes of one search that counted something; None where there are fewer than two."""
    counted = [
        (p.level, p.tally) for p in probes if p.tally is not None and p.tally.requests and p.verdict != "invalid"
    ]
    if len(counted) < 2:
        return None
    ordered = sorted(counted, key=lambda pair: pair[0])
    shares = [_share(tally) for _, tally in ordered]
    sizes = [max(tally.requests / tally.tau, 1.0) for _, tally in ordered]
    fitted = isotonic(shares, sizes)
    gaps = [abs(share - fit) for share, fit in zip(shares, fitted, strict=True)]
    sure = [gap / _error(fit, size) > SURE for gap, fit, size in zip(gaps, fitted, sizes, strict=True)]
    worst = max(range(len(gaps)), key=gaps.__getitem__)
    return Audit(not any(sure), gaps[worst], ordered[worst][0] if gaps[worst] else None)


def _share(tally: Tally) -> float:
    """Of missed requests; all of them where the queue grows without end, however short the window was."""
    return 1.0 if falls_behind(tally) else tally.missed / tally.requests


def _error(share: float, size: float) -> float:
    """Standard error of a share; never below that of a single miss."""
    return math.sqrt(max(share * (1 - share), 1 / size) / size)
