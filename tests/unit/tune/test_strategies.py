"""Every strategy keeps the contract, and those that learn learn."""

from __future__ import annotations

import sys

import pytest

from runner.errors import RigError, UsageError
from runner.scenario.schema_tune import Strategy as Written
from runner.tune.base import Observation
from runner.tune.space import point_key
from runner.tune.strategies import make_strategy
from tests.contracts.strategy import Make, StrategyContract, keys, run

KINDS = ("grid", "random", "halton", "sobol", "tpe", "nsga2", "neighbourhood")


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    return request.param


class TestStrategies(StrategyContract):
    @pytest.fixture
    def make(self, kind, small_space, goals) -> Make:
        def build(start=(), seed=0):
            written = Written.model_validate({"kind": kind, "seed": seed, "start": start})
            return make_strategy(small_space, goals, written)

        return build

    def test_another_seed_is_another_study(self, make: Make, kind: str) -> None:
        same = keys(run(make(seed=1), 10)) == keys(run(make(seed=2), 10))
        assert same == (kind == "grid")


BIG = """tune:
  space:
    load.concurrency: {int: [1, 1000], log: true}
    server.flags.threads: {pow2: [1, 64]}
    server.flags.share: {float: [0, 1]}
    server.flags.mode: [x, y, z]
"""


def quality(point) -> float:
    """Best, 1, with 30 in flight, 16 threads, share 0.4 and mode z."""
    from math import exp, log

    hill = (log(point["load.concurrency"] / 30) / 4) ** 2 + (log(point["server.flags.threads"] / 16) / 3) ** 2
    return exp(-hill - 2 * (point.get("server.flags.share", 0) - 0.4) ** 2 - 0.4 * (point["server.flags.mode"] != "z"))


@pytest.mark.parametrize("kind", ["tpe", "neighbourhood"])
def test_strategies_that_learn_beat_chance(space_of, kind: str) -> None:
    space = space_of(BIG)
    goals = _goals(space)

    def best(kind: str, seed: int) -> float:
        strategy = make_strategy(space, goals, Written(kind=kind, seed=seed))
        found = []
        for _ in range(40):
            (asked,) = strategy.ask()
            found.append(quality(asked.point))
            strategy.tell(Observation(asked.number, asked.point, "measured", (found[-1],)))
        return max(found)

    learnt, by_chance = (sorted(best(each, seed) for seed in range(3))[1] for each in (kind, "random"))
    assert 1 - learnt < 0.7 * (1 - by_chance)


@pytest.mark.parametrize("kind", ["tpe", "nsga2", "neighbourhood"])
def test_points_that_miss_a_constraint_are_left_alone(space_of, kind: str) -> None:
    """Throughput grows with what is in flight, but beyond 40 the constraint is missed; ignored, all would go there."""
    space = space_of(BIG)
    strategy = make_strategy(space, _goals(space), Written(kind=kind, seed=2))
    loads = []
    for _ in range(60):
        (asked,) = strategy.ask()
        load = asked.point["load.concurrency"]
        missed = {"latency.p99 <= 40ms": load / 40 - 1} if load > 40 else {}
        strategy.tell(Observation(asked.number, asked.point, "measured", (float(load),), missed))
        loads.append(load)
    assert max(load for load in loads if load <= 40) >= 34
    assert sum(load > 80 for load in loads[30:]) <= 10


def test_a_grid_of_too_many_points_is_refused(space_of) -> None:
    space = space_of("tune: {space: {load.concurrency: {int: [1, 20001]}}}\n")
    with pytest.raises(UsageError, match="at most 10,000 points of a grid, got 20,001"):
        make_strategy(space, _goals(space), Written(kind="grid"))


def test_tpe_without_optuna_says_what_to_install(small_space, goals, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(RigError, match="needs optuna") as caught:
        make_strategy(small_space, goals, Written(kind="tpe"))
    assert "scenario-runner[tune]" in str(caught.value.hint)


def test_the_grid_is_in_the_order_of_the_file(small_space, goals) -> None:
    told = run(make_strategy(small_space, goals, Written(kind="grid")), 100)
    in_order = [point_key(point) for point in small_space.grid()]
    assert keys(told) == [keys(told)[0], *(key for key in in_order if key != keys(told)[0])]


def _goals(space):
    from runner.tune.objectives import Goals

    return Goals.of(space.loaded.scenario.tune)
