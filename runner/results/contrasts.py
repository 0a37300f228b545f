"""Is A another number than B? Effects with intervals and p-values from paired blocks, from repeats, or from one trial.

Everything works on differences: of logarithms where a ratio is meant (latencies, rates), of the values themselves for
shares of requests. Paired blocks cancel what drifts between them (Georges, Buytaert & Eeckhout, OOPSLA 2007; Kalibera
& Jones, ISMM 2013); the interval is Student's, the second p-value is the exact one of all sign flips (Fisher, *The
Design of Experiments*, §21), which assumes only that A and B could have changed places inside a block. Equivalence:
two one-sided tests (Schuirmann, *J. Pharmacokin. Biopharm.* 15, 1987). Families of contrasts: Holm, *Scand. J.
Statist.* 6 (1979); Benjamini & Hochberg, *J. R. Statist. Soc. B* 57 (1995).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from runner.results.comparison import Verdict
from runner.results.records import Estimate
from runner.results.student import student_t

Floats = npt.NDArray[np.float64]

MOST_FLIPPED = 20
"""Sign flips are enumerated up to so many pairs (a million sums); beyond, Student's p-value speaks alone."""


@dataclass(frozen=True)
class Effect:
    """A - B with its interval; `low` and `high` are None where the data support none."""

    value: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    """Two-sided, of the test that belongs to the interval."""
    p_exact: float | None = None
    """Two-sided, of all sign flips of the pairs."""


def paired(a: Sequence[float], b: Sequence[float], confidence: float) -> Effect:
    """Mean of the differences inside the blocks, with Student's interval; at least two pairs."""
    differences = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    n, value = len(differences), float(differences.mean())
    error = float(differences.std(ddof=1)) / math.sqrt(n)
    return _student(value, error, n - 1, confidence, sign_flip_p(differences))


def unpaired(a: Sequence[float], b: Sequence[float], confidence: float) -> Effect:
    """Welch's interval of the difference of two means (Biometrika 34, 1947); at least two values on each side."""
    parts = [float(np.var(side, ddof=1)) / len(side) for side in (a, b)]
    value, variance = float(np.mean(a) - np.mean(b)), sum(parts)
    spread = sum(part**2 / (len(side) - 1) for part, side in zip(parts, (a, b), strict=True))
    degrees = variance**2 / spread if spread > 0 else len(a) + len(b) - 2
    return _student(value, math.sqrt(variance), degrees, confidence)


def from_errors(value: float, errors: Sequence[float | None], confidence: float) -> Effect:
    """A difference of two numbers with standard errors; a missing one leaves it without interval."""
    if any(error is None for error in errors):
        return Effect(value)
    return _student(value, math.hypot(*(error for error in errors if error is not None)), math.inf, confidence)


def log_error(estimate: Estimate, confidence: float) -> float | None:
    """Standard error of an estimate's logarithm, from its interval (delta method); None where a bound is missing."""
    if estimate.low is None or estimate.high is None or min(estimate.low, estimate.value) <= 0:
        return None
    return math.log(estimate.high / estimate.low) / (2 * student_t(confidence, math.inf))


def _student(value: float, error: float, degrees: float, confidence: float, p_exact: float | None = None) -> Effect:
    from scipy import special

    half = student_t(confidence, degrees) * error
    distance = abs(value) / error if error > 0 else math.inf if value else 0.0
    p = 2 * float(special.stdtr(degrees, -distance))
    return Effect(value, value - half, value + half, p, p_exact)


def sign_flip_p(differences: Floats) -> float | None:
    """Share of all sign patterns whose sum is at least as far from 0 as the one observed; 2/2^k at the least."""
    if len(differences) > MOST_FLIPPED:
        return None
    sums = np.zeros(1)
    for difference in differences:
        sums = np.concatenate([sums + difference, sums - difference])
    # Sums of the same numbers in another order differ in their last digits.
    seen = abs(float(differences.sum())) - 1e-12 * float(np.abs(differences).sum())
    return float(np.mean(np.abs(sums) >= seen))


# --- families -----------------------------------------------------------------------------------------------------


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values: the chance of any false alarm in the family stays at the level."""
    m = len(p_values)
    return _stepwise(p_values, [m - rank for rank in range(m)], lambda p: np.maximum.accumulate(p))


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values: the expected share of false alarms among the alarms stays at the level."""
    m = len(p_values)
    return _stepwise(p_values, [m / (rank + 1) for rank in range(m)], lambda p: np.minimum.accumulate(p[::-1])[::-1])


def _stepwise(p_values: Sequence[float], factors: Sequence[float], monotone: Callable[[Floats], Floats]) -> list[float]:
    order = np.argsort(p_values, kind="stable")
    scaled = np.asarray(p_values, np.float64)[order] * np.asarray(factors, np.float64)
    adjusted = np.empty(len(scaled))
    adjusted[order] = np.minimum(monotone(scaled), 1.0)
    return [float(p) for p in adjusted]


# --- verdicts -----------------------------------------------------------------------------------------------------


def judge_difference(gain: Effect, margin: float, different: bool) -> Verdict:
    """The verdict on a difference that is counted so that more is better for A.

    `different` is the test's word, adjusted for its family; `margin` is the smallest difference that matters.
    """
    if gain.low is None or gain.high is None:
        return "undecided"
    if different and abs(gain.value) > margin:
        return "better" if gain.value > 0 else "worse"
    if different:
        return "different_but_small"
    return "equivalent" if -margin <= gain.low and gain.high <= margin else "undecided"


def judge_within_run(gain: Effect, margin: float) -> Verdict:
    """The verdict where nobody knows what another start would have given: the whole interval must clear the margin."""
    if gain.low is None or gain.high is None:
        return "undecided"
    if gain.low > margin:
        return "better"
    if gain.high < -margin:
        return "worse"
    return "equivalent" if -margin <= gain.low and gain.high <= margin else "undecided"
