"""Limits on the latency that a measurement is held against, every field decided."""

from __future__ import annotations

from dataclasses import dataclass

from runner.scenario.schema import SloSettings


@dataclass(frozen=True, kw_only=True)
class LimitRule:
    """A limit that a probe of a capacity search is counted against."""

    percentile: float
    """Percent."""
    limit_s: float


@dataclass(frozen=True, kw_only=True)
class SloRule:
    """The objective of a soak; one of the budgets is set."""

    percentile: float
    """Percent."""
    limit_s: float
    window_s: float
    budget_windows: int | None
    """So many windows may miss it."""
    budget_share: float | None
    """This share of the windows so far may, at least one."""


def slo_rule(slo: SloSettings | None) -> SloRule | None:
    """The objective as the scenario has it."""
    if slo is None:
        return None
    windows = slo.budget if isinstance(slo.budget, int) else None
    return SloRule(
        percentile=slo.percentile,
        limit_s=slo.latency,
        window_s=slo.window,
        budget_windows=windows,
        budget_share=None if windows is not None else slo.budget,
    )
