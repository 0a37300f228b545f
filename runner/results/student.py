"""Student's t, for whoever makes an interval."""

from __future__ import annotations


def student_t(confidence: float, degrees: float) -> float:
    """Two-sided quantile: 12.7 for one degree of freedom and 95 %, 2.78 for four, 1.96 for infinitely many."""
    from scipy import special

    return float(special.stdtrit(degrees, 1 - (1 - confidence) / 2))
