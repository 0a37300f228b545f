"""Studies in a comparison: which measurement stands for a point, and which points belong together.

A study measures its best points twice. The search picked what was measured best, and so also what was lucky; only the
confirmation says what such a point is worth, so it stands for the point wherever there is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import yaml

from runner.results.comparison import LeftOut, Where
from runner.results.matching import Match, match_points, matched
from runner.results.run import PlannedCase, Run
from runner.scenario.domains import value_key
from runner.units import counted, whole_number

FILE, WINNER = "the file itself", "the winner"
_LUCKY = "measured once, by the search that chose from many: the best of many measurements looks better than it is"


@dataclass(frozen=True)
class _Side:
    """What one of the two runs has to compare."""

    name: Where
    cases: tuple[PlannedCase, ...]
    """One for each point, with the values of the scenario where a point says nothing about an address."""
    roles: Mapping[str, str]
    """Role -> case id."""
    confirmed: frozenset[str]
    left_out: tuple[LeftOut, ...] = ()

    def case(self, case_id: str) -> PlannedCase:
        return next(case for case in self.cases if case.case_id == case_id)


def match_runs(a: Run, b: Run) -> tuple[list[Match], list[LeftOut]]:
    """The points that belong together, and those that have no partner.

    Of two studies the files themselves and the winners belong together, whatever their values; all other points, and
    those of a study and a run, by their parameters.
    """
    if a.study is None and b.study is None:
        return match_points(a.cases, b.cases)
    addresses = {address for run in (a, b) for address in _addresses(run)}
    sides = _side("A", a, addresses), _side("B", b, addresses)
    by_role = list(_by_role(*sides))
    by_parameters, left_out = match_points(sides[0].cases, sides[1].cases)
    known = {(match.a.case_id, match.b.case_id) for match in by_role}
    others = [match for match in by_parameters if (match.a.case_id, match.b.case_id) not in known]
    matches = [_with_luck(match, *sides) for match in (*by_role, *others)]
    return matches, [*_without_partner(left_out, known), *sides[0].left_out, *sides[1].left_out]


def _addresses(run: Run) -> Iterator[str]:
    yield from (address for case in run.cases for address in case.parameters)
    if run.study is not None:
        yield from run.study.started.tune["space"]


def _side(name: Where, run: Run, addresses: Iterable[str]) -> _Side:
    scenario = _resolved(run)
    said = {address: value for address in addresses if (value := _at(scenario, address)) is not None}
    if run.study is None:
        return _Side(name, tuple(_filled(case, said) for case in run.cases), {}, frozenset())
    log = run.study
    contenders = log.confirming.contenders if log.confirming is not None else {}
    confirmed = {number: case_id for case_id, number in contenders.items() if _is_usable(run, case_id)}
    searched = {each.number: each.case_id for each in log.observed if each.outcome == "measured" and each.case_id}
    chosen = {number: confirmed.get(number, case_id) for number, case_id in searched.items()}
    winner = log.concluded.winner if log.concluded is not None else None
    roles = {role: chosen[number] for role, number in ((FILE, 0), (WINNER, winner)) if number in chosen}
    cases = {case.case_id: case for case in run.cases}
    others = len(log.observed) - len(chosen)
    left_out = [LeftOut(name, counted(others, "point"), "not measured in full by the study")] if others else []
    return _Side(
        name,
        tuple(_filled(cases[case_id], said) for case_id in chosen.values()),
        roles,
        frozenset(confirmed.values()),
        tuple(left_out),
    )


def _resolved(run: Run) -> Any:
    try:
        return yaml.safe_load((run.path / "resolved.yaml").read_text("utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return None  # then only what the points themselves say is known


def _at(tree: Any, address: str) -> Any:
    """The value at an address of a resolved scenario; None where it has none."""
    for part in address.split("."):
        if isinstance(tree, list):
            index = whole_number(part)
            tree = tree[index] if index is not None and index < len(tree) else None
        else:
            tree = tree.get(part) if isinstance(tree, dict) else None
    return tree


def _filled(case: PlannedCase, said: Mapping[str, Any]) -> PlannedCase:
    return replace(case, parameters={**said, **case.parameters})


def _is_usable(run: Run, case_id: str) -> bool:
    return any(trial.state == "ok" for trial in run.repeats.get(case_id, ()))


# --- pairs --------------------------------------------------------------------------------------------------------


def _by_role(a: _Side, b: _Side) -> Iterator[Match]:
    for role in (FILE, WINNER):
        if role in a.roles and role in b.roles:
            one, other = a.case(a.roles[role]), b.case(b.roles[role])
            shared = one.parameters.keys() & other.parameters.keys()
            match = matched(one, other, {each for each in shared if _is_same(one, other, each)})
            differing = [
                f"{each} differs: {one.parameters[each]} | {other.parameters[each]}"
                for each in sorted(shared - match.parameters.keys())
            ]
            yield replace(match, role=role, notes=(*differing, *match.notes))


def _is_same(one: PlannedCase, other: PlannedCase, address: str) -> bool:
    return value_key(one.parameters[address]) == value_key(other.parameters[address])


def _with_luck(match: Match, a: _Side, b: _Side) -> Match:
    """A note where one side was confirmed and the other has only what its search chose by."""
    is_confirmed = [match.a.case_id in a.confirmed, match.b.case_id in b.confirmed]
    is_study = [bool(a.roles), bool(b.roles)]
    lucky = [
        name
        for name, sure, study, other in zip("AB", is_confirmed, is_study, is_confirmed[::-1], strict=True)
        if study and not sure and other
    ]
    return replace(match, notes=(*match.notes, *(f"{name}: {_LUCKY}" for name in lucky)))


def _without_partner(left_out: Sequence[LeftOut], known: Iterable[tuple[str, str]]) -> Iterator[LeftOut]:
    """One line for all points of a side with the same reason: a study has many that nobody else has."""
    in_roles = {("A", a) for a, _ in known} | {("B", b) for _, b in known}
    found: dict[tuple[Where, str], list[str]] = {}
    for each in left_out:
        if (each.side, each.case_id) not in in_roles:
            found.setdefault((each.side, each.reason), []).append(each.case_id)
    for (side, reason), case_ids in found.items():
        yield LeftOut(side, case_ids[0] if len(case_ids) == 1 else counted(len(case_ids), "point"), reason)
