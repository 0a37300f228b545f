"""Which point of one run belongs to which of another: by the parameters that both have, never by case id.

Files that differ give other case ids to the same point, and an axis that only one of them has cannot tell apart what
the other measured once.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from runner.results.comparison import LeftOut
from runner.results.run import PlannedCase
from runner.scenario.domains import value_key


@dataclass(frozen=True)
class Match:
    """A point that both runs have."""

    a: PlannedCase
    b: PlannedCase
    parameters: dict[str, Any]
    """Those that both have."""
    notes: tuple[str, ...] = ()
    role: str = ""
    """What both are in their studies, where that is why they belong together."""


def match_points(a: Sequence[PlannedCase], b: Sequence[PlannedCase]) -> tuple[list[Match], list[LeftOut]]:
    """Pairs in the order of A, and the points of either side that have no partner or several."""
    shared = _addresses(a) & _addresses(b)
    table_a, table_b = _by_key(a, shared), _by_key(b, shared)
    matches: list[Match] = []
    left_out: list[LeftOut] = []
    for key, cases in table_a.items():
        partners = table_b.pop(key, [])
        if len(cases) == len(partners) == 1:
            matches.append(matched(cases[0], partners[0], shared))
        else:
            left_out += _unmatched("A", cases, partners, "B")
            left_out += _unmatched("B", partners, cases, "A")
    for cases in table_b.values():
        left_out += _unmatched("B", cases, [], "A")
    return matches, left_out


def _addresses(cases: Iterable[PlannedCase]) -> set[str]:
    return {address for case in cases for address in case.parameters}


def _by_key(cases: Sequence[PlannedCase], shared: set[str]) -> dict[Hashable, list[PlannedCase]]:
    table: dict[Hashable, list[PlannedCase]] = {}
    for case in cases:
        table.setdefault(_key({a: v for a, v in case.parameters.items() if a in shared}), []).append(case)
    return table


def _key(parameters: dict[str, Any]) -> str:
    return value_key(parameters)


def matched(a: PlannedCase, b: PlannedCase, shared: set[str]) -> Match:
    """Two points that belong together, by what they have in common at the addresses `shared`."""
    identity = ("model", "protocol", "batch", "load")
    differing = [name for name in identity if getattr(a, name) != getattr(b, name)]
    notes = tuple(f"{name} differs: {getattr(a, name)} | {getattr(b, name)}" for name in differing)
    return Match(a, b, {address: a.parameters[address] for address in a.parameters if address in shared}, notes)


def _unmatched(side: Any, cases: Sequence[PlannedCase], partners: Sequence[PlannedCase], other: str) -> list[LeftOut]:
    if partners:
        reason = f"{len(cases)} points of {side} have the parameters of {len(partners)} of {other}"
    else:
        reason = f"no such point in {other}"
    return [LeftOut(side, case.case_id, reason) for case in cases]
