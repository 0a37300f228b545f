"""What became of the service-level objective of a soak."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SloOutcome:
    """Windows of a soak counted against its objective."""

    percentile: float
    """So many percent of the requests of a window have to be answered within the limit."""
    limit_ms: float
    window_s: float
    windows: int
    """That were over when the soak ended."""
    violated: int
    """Windows that missed the objective."""
    allowed: int
    """As many violated windows as the budget left room for in the end."""
    requests: int
    """In all windows: answered, failed and dropped."""
    missed: int
    """Late, failed and dropped ones."""
    worst: float
    """Largest share of missed requests in a window."""
    exhausted: str | None = None
    """Why the soak ended; None while the budget held."""
