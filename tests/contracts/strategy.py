"""What every `Strategy` of `scenario tune` keeps: subclass `StrategyContract`, provide the fixture `make`.

`make(start=(), seed=0)` gives a fresh strategy over `small_space`; the file's own point is one of its points.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from runner.tune.base import Observation, Proposal, Strategy
from runner.tune.space import Space, point_key

Make = Callable[..., Strategy]


def measured(proposal: Proposal, scale: float = 1.0) -> Observation:
    """A noiseless measurement: more in flight is faster and slower to answer."""
    concurrency = float(proposal.point["load.concurrency"])
    bonus = float(proposal.point.get("server.flags.depth", 0))
    return Observation(proposal.number, proposal.point, "measured", (scale * (concurrency + bonus), 2 * concurrency))


def run(strategy: Strategy, count: int) -> list[Observation]:
    """Ask and tell one at a time, until the space is exhausted or the count is reached."""
    told: list[Observation] = []
    while len(told) < count and (asked := strategy.ask()):
        told.append(measured(asked[0]))
        strategy.tell(told[-1])
    return told


def keys(told: Sequence[Observation | Proposal]) -> list[str]:
    return [point_key(each.point) for each in told]


class StrategyContract:
    """The suite."""

    @pytest.fixture
    def make(self) -> Make:
        raise NotImplementedError

    def test_the_files_own_point_comes_first_then_those_of_start(self, make: Make, small_space: Space) -> None:
        start = ({"load.concurrency": 16}, {"server.flags.mode": "z", "server.flags.depth": 2})
        first = make(start=start).ask(3)
        assert [proposal.number for proposal in first] == [0, 1, 2]
        assert first[0].point == small_space.current
        assert first[1].point == {**small_space.current, "load.concurrency": 16}
        assert first[2].point == {**small_space.current, "server.flags.mode": "z", "server.flags.depth": 2}

    def test_a_finite_space_is_exhausted_and_no_point_comes_twice(self, make: Make, small_space: Space) -> None:
        strategy = make()
        told = run(strategy, 1000)
        assert sorted(keys(told)) == sorted(point_key(point) for point in small_space.grid())
        assert list(strategy.ask(5)) == []
        assert list(strategy.ask()) == []

    def test_every_point_is_one_of_the_space(self, make: Make, small_space: Space) -> None:
        allowed = {point_key(point) for point in small_space.grid()}
        assert set(keys(run(make(seed=3), 8))) <= allowed

    def test_the_same_seed_makes_the_same_study(self, make: Make) -> None:
        assert keys(run(make(seed=4), 15)) == keys(run(make(seed=4), 15))

    @pytest.mark.parametrize("cut", [1, 3, 9, 14])
    def test_a_resumed_study_goes_on_as_if_nothing_had_happened(self, make: Make, cut: int) -> None:
        whole = run(make(seed=5), 25)
        resumed = make(seed=5)
        for observation in whole[:cut]:
            resumed.tell(observation)
        assert keys(run(resumed, 25 - cut)) == keys(whole[cut:])

    def test_what_a_crash_swallowed_is_asked_again_under_its_number(self, make: Make) -> None:
        strategy = make(seed=1)
        for proposal in make(seed=1).ask(4):
            if proposal.number != 2:
                strategy.tell(measured(proposal))
        assert [proposal.number for proposal in strategy.ask(2)] == [2, 4]

    def test_several_may_be_pending_and_finish_in_any_order(self, make: Make) -> None:
        strategy = make()
        batch = strategy.ask(5)
        assert [proposal.number for proposal in batch] == [0, 1, 2, 3, 4]
        for proposal in (batch[3], batch[0], batch[4]):
            strategy.tell(measured(proposal))
        more = strategy.ask(4)
        for proposal in (*more, batch[1], batch[2]):
            strategy.tell(measured(proposal))
        rest = run(strategy, 1000)
        seen = [*keys(batch), *keys(more), *keys(rest)]
        assert len(set(seen)) == len(seen)

    def test_points_that_it_never_proposed_are_noted(self, make: Make, small_space: Space) -> None:
        strategy = make()
        foreign = list(small_space.grid())[3:9]
        for number, point in enumerate(foreign):
            strategy.tell(Observation(1000 + number, point, "measured", (1.0, 2.0)))
        told = run(strategy, 1000)
        assert len(told) == sum(1 for _ in small_space.grid()) - len(foreign)
        assert not set(keys(told)) & {point_key(point) for point in foreign}

    def test_a_foreign_point_outside_the_domains_is_taken_as_it_is(self, make: Make, small_space: Space) -> None:
        strategy = make()
        point = {"load.concurrency": 3, "server.flags.mode": "other"}
        strategy.tell(Observation(77, point, "measured", (9.0, 1.0)))
        assert len(run(strategy, 1000)) == sum(1 for _ in small_space.grid())

    def test_points_without_numbers_do_not_stop_it(self, make: Make) -> None:
        strategy = make()
        outcomes = ("measured", "failed", "infeasible", "pruned")
        told = []
        while asked := strategy.ask():
            outcome = outcomes[len(told) % 4]
            values = (1.0, 3.0) if outcome in ("measured", "pruned") else None
            missed = {"latency.p99 <= 1ms": 0.5} if len(told) % 3 else {}
            told.append(Observation(asked[0].number, asked[0].point, outcome, values, missed, "told so"))
            strategy.tell(told[-1])
        assert len(set(keys(told))) == len(told) > 10

    def test_nothing_but_failures_is_a_study_too(self, make: Make) -> None:
        strategy = make()
        count = 0
        while asked := strategy.ask():
            strategy.tell(Observation(asked[0].number, asked[0].point, "failed", reason="no server"))
            count += 1
        assert count > 10
