"""`run A --against B`: both scenarios measured in turn, so that whatever drifts hits both alike.

A block is every point of both sides once, the two measurements of a point next to each other; block n has the seed n on
both sides. One server at a time: an idle one would hold memory and, on a GPU, clocks and streams of its own. A server
is changed when the side changes and where a block begins, so that start-to-start differences are part of the interval;
the order inside a pair alternates along a block (AB BA AB …, its start drawn by lot), so that a server does for two
pairs.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from typing import TYPE_CHECKING, Literal

from runner.workflow import verbs
from runner.workflow.contract import Observer, Outcome, Rooms, RunOptions, Silent
from runner.workflow.launches import check_takes_effect
from runner.workflow.measuring import measure_server_run, sweep_leftovers
from runner.workflow.order import Planned, is_search, left_over, plan_points, server_runs
from runner.workflow.reporting import reports_whatever_happens
from runner.workflow.requirements import check_requires
from runner.workflow.session import Ceilings, Session, begin, planned_case

if TYPE_CHECKING:
    from runner.results.directory import RunDirectory
    from runner.scenario.case import Case
    from runner.scenario.loading import LoadedScenario

Name = Literal["A", "B"]


@dataclass(frozen=True)
class Turn:
    """One measurement of one side."""

    side: Name
    planned: Planned


def interleaved(
    a: Sequence[Planned], b: Sequence[Planned], partners: Mapping[str, str], seed: int = 0
) -> tuple[Turn, ...]:
    """Both plans as one, block by block; `partners` has the case of B for each of A that has one.

    What has no partner comes at the end of its block.
    """
    blocks = sorted({planned.block for planned in (*a, *b)})
    return tuple(turn for n in blocks for turn in _block(_of_block(a, n), _of_block(b, n), partners, seed, n))


def _of_block(plan: Sequence[Planned], number: int) -> list[Planned]:
    return [planned for planned in plan if planned.block == number]


def _block(
    a: Sequence[Planned], b: Sequence[Planned], partners: Mapping[str, str], seed: int, number: int
) -> Iterator[Turn]:
    first_is_a = random.Random(f"against/{seed}/{number}").random() < 0.5
    theirs = {planned.case.id: planned for planned in b}
    pairs = [(mine, theirs.pop(partners.get(mine.case.id, ""), None)) for mine in a]
    for mine, partner in pairs:
        if partner is not None:
            turns = (Turn("A", mine), Turn("B", partner))
            yield from turns if first_is_a else turns[::-1]
            first_is_a = not first_is_a
    yield from (Turn("A", mine) for mine, partner in pairs if partner is None)
    yield from (Turn("B", planned) for planned in theirs.values())


def server_turns(turns: Iterable[Turn]) -> Iterator[tuple[Name, tuple[Planned, ...]]]:
    """The turns cut where a fresh server is due: at every change of the side, at every block, and as the plan asks."""
    for (side, _), found in groupby(turns, key=lambda turn: (turn.side, turn.planned.block)):
        for run in server_runs([turn.planned for turn in found]):
            yield side, run


@dataclass(frozen=True)
class _Side:
    """One of the two runs while it is being made."""

    session: Session
    cases: tuple[Case, ...]
    plan: tuple[Planned, ...]
    """All of it; what is done already included."""
    left: tuple[Planned, ...]


def run_against(
    a: LoadedScenario,
    b: LoadedScenario,
    options: RunOptions | None = None,
    observer: Observer | None = None,
    rooms: Rooms | None = None,
) -> tuple[Outcome, Outcome]:
    """Measure both scenarios in interleaved blocks, as many as `measure.repeats` says, into a run directory each.

    With `resume` both go on together. Raises what `run_scenario` raises.
    """
    options, observer = options or RunOptions(), observer or Silent()
    cases = verbs.checked_cases(a), verbs.checked_cases(b)
    if rooms is None:
        check_requires(a, options.home)
        check_requires(b, options.home)
    check_takes_effect([*cases[0], *cases[1]])
    _refuse_searches(*cases)
    directories = _directories(a, b, options)
    with ExitStack() as stack:
        writers = [stack.enter_context(directory.writer()) for directory in directories]
        ceilings: Ceilings = {}
        sides = [
            _begun(
                own,
                Session(
                    loaded,
                    options,
                    observer,
                    rooms or verbs.default_rooms(loaded, options, observer),
                    writer,
                    ceilings=ceilings,
                ),
            )
            for loaded, own, writer in zip((a, b), cases, writers, strict=True)
        ]
        for side in sides:
            stack.enter_context(closing(side.session))
        for writer in writers:
            writer.update(compare_group=directories[0].name)
        with _reports(directories, (a, b)):
            _measure(sides[0], sides[1], observer)
        outcomes = [Outcome(directory.path, directory.load()) for directory in directories]
        for writer, outcome in zip(writers, outcomes, strict=True):
            writer.finish("partial" if outcome.problems else "complete")
    return Outcome(directories[0].path, directories[0].load()), Outcome(directories[1].path, directories[1].load())


def _refuse_searches(*cases: Sequence[Case]) -> None:
    """A search chooses each load by the last verdict, so two of them have no pairs of measurements that share what
    happens to the machine; `compare` judges what both found."""
    from runner.errors import UsageError

    if any(is_search(case) for side in cases for case in side):
        raise UsageError(
            "load.kind: a search (kind sla) cannot be measured in turn with another one",
            hint="search with each alone, and `scenario compare` both runs; or measure both in turn at one load, for "
            "example --set 'load={kind: poisson, rate: 80/s}' on both sides",
        )


def _directories(a: LoadedScenario, b: LoadedScenario, options: RunOptions) -> tuple[RunDirectory, RunDirectory]:
    from runner.errors import UsageError
    from runner.results.directory import RunDirectory, digest_of
    from runner.results.resuming import resumable_pair

    digests = [digest_of(loaded.dump()) for loaded in (a, b)]
    if options.resume:
        found = resumable_pair(options.output_dir, digests[0], digests[1])
        if found is None:
            raise UsageError(
                f"nothing to resume: no unfinished comparison of these scenarios in {options.output_dir}",
                hint="give the files and options of the first run, or run without --resume",
            )
        return found
    now = datetime.now(UTC)
    first, second = (
        RunDirectory.create(options.output_dir, loaded.scenario.name, digest, now, loaded.source)
        for loaded, digest in zip((a, b), digests, strict=True)
    )
    return first, second


def _begun(cases: tuple[Case, ...], session: Session) -> _Side:
    loaded = session.loaded
    before = begin(session.writer, loaded, cases, session.options)
    repeats = {case.id: planned_case(case).repeats for case in cases}
    plan = plan_points(cases, repeats, seed=loaded.scenario.measure.seed, order=loaded.scenario.matrix.order)
    left = plan if before is None else left_over(plan, before.finished())
    return _Side(session, cases, plan, left)


def _measure(a: _Side, b: _Side, observer: Observer) -> None:
    sides: dict[Name, _Side] = {"A": a, "B": b}
    total, left = len(a.plan) + len(b.plan), len(a.left) + len(b.left)
    observer.on_run(a.session.writer.directory.path, total, total - left)
    observer.on_server(f"of B: run directory {b.session.writer.directory.path}")
    waiting = {("A", planned.unit) for planned in a.left} | {("B", planned.unit) for planned in b.left}
    turns = interleaved(a.plan, b.plan, _partners(a.cases, b.cases), a.session.loaded.scenario.measure.seed)
    if left:
        sweep_leftovers(a.session)
    for name, run in server_turns(turn for turn in turns if (turn.side, turn.planned.unit) in waiting):
        observer.on_server(f"of {name}, block {run[0].block}")
        measure_server_run(run, sides[name].plan, sides[name].session)


def _partners(a: Sequence[Case], b: Sequence[Case]) -> dict[str, str]:
    from runner.results.matching import match_points

    matches, _ = match_points([planned_case(case) for case in a], [planned_case(case) for case in b])
    return {match.a.case_id: match.b.case_id for match in matches}


@contextmanager
def _reports(directories: Sequence[RunDirectory], loaded: Sequence[LoadedScenario]) -> Iterator[None]:
    with ExitStack() as stack:
        for directory, each in zip(directories, loaded, strict=True):
            stack.enter_context(reports_whatever_happens(directory, each.scenario))
        yield
