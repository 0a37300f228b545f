"""Which measurements a run consists of and in what order: one flat list, made before anything is measured.

Points in ascending order confound the load with the temperature of the rig, and repeats that follow each other share
whatever happens to the machine just then. So a *block* is all points once, in an order of its own; repeat r of every
point is in block r. The order depends on nothing but the matrix and `measure.seed`: a resumed run finds it again.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Literal, TypeVar

from runner.errors import UsageError
from runner.scenario.diagnostics import did_you_mean
from runner.scenario.schema import SlaLoad
from runner.scenario.secrets import masked

if TYPE_CHECKING:
    from runner.measure.settings import MeasureSettings
    from runner.measure.tally import Judge
    from runner.scenario.case import Case
    from runner.scenario.schema import Anchor

T = TypeVar("T")

Order = Literal["blocks", "file"]
FEW = 3
"""Up to so many measurements the order of the file is kept: there is nothing to confound, and people expect it."""


@dataclass(frozen=True)
class Probing:
    """What makes a measurement a probe of a search: its own settings, a judge, and a name for its files."""

    name: str
    settings: MeasureSettings
    judge: Judge


@dataclass(frozen=True)
class Planned:
    """One measurement to come."""

    case: Case
    repeat: int = 0
    block: int = 0
    anchor: bool = False
    """Measured only to see whether the rig drifts; `repeat` counts the anchors then."""
    probing: Probing | None = None
    """This is one load of a capacity search."""

    @property
    def unit(self) -> tuple[str, int]:
        """What a resumed run keeps: a repeat of a point."""
        return self.case.id, self.repeat


def plan_points(
    cases: Sequence[Case], repeats: Mapping[str, int], *, seed: int = 0, order: Order | None = None
) -> tuple[Planned, ...]:
    """Every repeat of every case that is not skipped, block by block.

    Args:
        cases: The matrix in its order.
        repeats: Case id -> how often it is measured; 1 where it is not named.
        seed: Of the random order; each block has its own.
        order: `file` keeps the order of the matrix in each block; None chooses by the number of measurements.
    """
    measured = [case for case in cases if case.skipped is None]
    times = {case.id: repeats.get(case.id, 1) for case in measured}
    shuffled = order == "blocks" or (order is None and sum(times.values()) > FEW)
    blocks = (
        _block([case for case in measured if times[case.id] > number], number, seed if shuffled else None)
        for number in range(max(times.values(), default=0))
    )
    return tuple(planned for block in blocks for planned in block)


def _block(cases: Sequence[Case], number: int, seed: int | None) -> Iterator[Planned]:
    """All points once; those that share a server stay together, or every other point would restart it."""
    # A text as seed goes through SHA-512: the same order on every machine, and no likeness between seeds.
    random_ = None if seed is None else random.Random(f"order/{seed}/{number}")
    for group in _shuffled(server_groups(cases), random_):
        for case in _shuffled(group, random_):
            yield Planned(case, number, number)


def _shuffled(items: Sequence[T], random_: random.Random | None) -> list[T]:
    result = list(items)
    if random_ is not None:
        random_.shuffle(result)
    return result


def server_groups(cases: Sequence[Case]) -> list[tuple[Case, ...]]:
    """Cases that can share a server, in the order in which each configuration first appears; skipped ones left out."""
    measured = [case for case in cases if case.skipped is None]
    first = {case.server_key: index for index, case in reversed(list(enumerate(measured)))}
    ordered = sorted(measured, key=lambda case: first[case.server_key])
    return [tuple(group) for _, group in groupby(ordered, key=lambda case: case.server_key)]


def left_over(plan: Iterable[Planned], finished: Collection[tuple[str, int]]) -> tuple[Planned, ...]:
    """What a resumed run still has to measure, in the order of the plan."""
    return tuple(planned for planned in plan if planned.unit not in finished)


def with_anchors(
    plan: Sequence[Planned], anchor: Case | None, every: int, *, first_number: int = 0
) -> tuple[Planned, ...]:
    """The plan with the anchor point before it, after every `every` measurements, and at its end."""
    if anchor is None or not plan:
        return tuple(plan)
    parts = [plan[start : start + every] for start in range(0, len(plan), every)]
    found: list[Planned] = []
    for number, part in enumerate(parts):
        found += [Planned(anchor, first_number + number, part[0].block, anchor=True), *part]
    return (*found, Planned(anchor, first_number + len(parts), plan[-1].block, anchor=True))


def server_runs(plan: Sequence[Planned]) -> list[tuple[Planned, ...]]:
    """The plan cut where a fresh server is due: another configuration, or what `server.isolation` asks for."""
    runs: list[list[Planned]] = []
    for planned in plan:
        if not runs or needs_fresh_server(runs[-1][-1], planned):
            runs.append([])
        runs[-1].append(planned)
    return [tuple(run) for run in runs]


def needs_fresh_server(before: Planned, now: Planned) -> bool:
    """Whether `now` may not be measured on the server that `before` ran on."""
    searched = is_search(before.case) or is_search(now.case)
    return searched or before.case.server_key != now.case.server_key or isolation(before, now) == "restart"


def is_search(case: Case) -> bool:
    """Its load is not given but looked for, on servers of its own."""
    return isinstance(case.scenario.load, SlaLoad)


def needs_reload(before: Planned, now: Planned) -> bool:
    """Whether the models are to be loaded anew between two measurements on one server."""
    return isolation(before, now) == "reload"


def isolation(before: Planned, now: Planned) -> Literal["none", "reload", "restart"]:
    """What separates two measurements that follow each other; the stricter setting where a block begins."""
    asked = now.case.scenario.server.isolation
    if before.block == now.block:
        return asked.between_points
    strictness = ("none", "reload", "restart")
    return max(asked.between_points, asked.between_repeats, key=strictness.index)


def anchor_case(cases: Sequence[Case], anchor: Anchor | None) -> Case | None:
    """The point of the matrix that `matrix.anchor.at` picks.

    Raises:
        UsageError: it picks none, or several.
    """
    if anchor is None:
        return None
    axes = list(dict.fromkeys(address for case in cases for address in case.parameters))
    for address in anchor.at:
        if address not in axes:
            hint = did_you_mean(address, axes) or "name axes of the matrix"
            raise UsageError(f"matrix.anchor.at: `{address}` is no axis of the matrix", hint=hint)
    picked = [case for case in cases if case.skipped is None and _agrees(case.parameters, anchor.at)]
    if len(picked) != 1:
        shown = ", ".join(f"{address}={masked(address, value)}" for address, value in anchor.at.items())
        raise UsageError(
            f"matrix.anchor.at: expected one point of the matrix, got {len(picked)} with {shown}",
            hint=f"name a value for each of {', '.join(axes)}" if picked else "take values that the axes have",
        )
    return picked[0]


def _agrees(parameters: Mapping[str, object], at: Mapping[str, object]) -> bool:
    return all(parameters.get(address) == masked(address, value) for address, value in at.items())
