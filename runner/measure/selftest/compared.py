"""Row 18: two runs of one system must not be called different, and a known effect must be found."""

from __future__ import annotations

import numpy as np

from runner.measure.compared_metrics import MARGIN
from runner.measure.selftest.bench import Bench, Check
from runner.results.comparison import MIN_PAIRS
from runner.results.contrasts import judge_difference, paired

COMPARISONS = 100
NOISE = 0.01
"""Between starts of one server."""
EFFECT = 0.03


def comparison(bench: Bench) -> list[Check]:
    """A/A, then +3 %, each in so many blocks as a verdict needs."""
    same, faster = _different(0.0), _different(EFFECT)
    times = f"of {COMPARISONS}, {MIN_PAIRS} blocks"
    return [
        Check("A/A called different", f"≤ 7 {times}", str(same), "", same <= 0.07 * COMPARISONS),
        Check("+3 % called different", f"≥ 90 {times}", str(faster), "", faster >= 0.9 * COMPARISONS),
    ]


def _different(effect: float) -> int:
    rng, found = np.random.default_rng(18), 0
    for _ in range(COMPARISONS):
        a, b = rng.normal(np.log1p(effect), NOISE, MIN_PAIRS), rng.normal(0, NOISE, MIN_PAIRS)
        gain = paired(a.tolist(), b.tolist(), 0.95)
        verdict = judge_difference(gain, MARGIN, gain.p is not None and gain.p <= 0.05)
        found += verdict in ("better", "worse", "different_but_small")
    return found
