"""Fronts, hypervolume, patience, screening, importance and drift."""

from __future__ import annotations

import math

import numpy as np
import pytest

from runner.results.records import Estimate
from runner.scenario.schema_tune import Tune
from runner.tune.base import Observation
from runner.tune.constraints import Check
from runner.tune.drift import Anchor, drifts
from runner.tune.front import best_first, choose, hypervolume, is_improvement, pareto_front
from runner.tune.importance import importance
from runner.tune.objectives import Goals, Reading
from runner.tune.screening import pruned

SPACE = {"load.concurrency": (1, 2)}
TWO = Goals.of(Tune(space=SPACE, objectives={"throughput": "max", "latency.p99": "min"}))
ONE = Goals.of(Tune(space=SPACE))


def seen(number: int, *values: float, outcome="measured", **violations: float) -> Observation:
    return Observation(number, {}, outcome, tuple(values) or None, violations)


CLOUD = [
    seen(0, 100, 50),
    seen(1, 120, 60),
    seen(2, 90, 55),  # dominated by 0
    seen(3, 150, 90),
    seen(4, 200, 95, errors=0.5),  # not acceptable
    seen(5, 120, 60),  # as good as 1
    seen(6, 300, 1, outcome="pruned"),
    seen(7, outcome="failed"),
]


def test_the_front_has_what_no_acceptable_point_dominates() -> None:
    assert [each.number for each in pareto_front(CLOUD, TWO.objectives)] == [3, 1, 0]
    assert [each.number for each in pareto_front([seen(0, 5), seen(1, 7), seen(2, 7)], ONE.objectives)] == [1]
    assert pareto_front([CLOUD[4], CLOUD[7]], TWO.objectives) == ()


def test_contenders_come_front_by_front() -> None:
    assert [each.number for each in best_first(CLOUD, TWO.objectives)] == [1, 3, 0, 5, 2]
    assert [each.number for each in best_first(CLOUD, TWO.objectives, 2)] == [1, 3]
    assert [each.number for each in best_first([seen(0, 5), seen(1, 9), seen(2, 7)], ONE.objectives)] == [1, 2, 0]


def test_weights_decide_which_of_a_front_is_chosen() -> None:
    front = [seen(0, 100, 10), seen(1, 180, 20), seen(2, 200, 60)]
    assert choose(front, TWO.objectives).number == 1  # the knee
    fast = {"throughput": "max", "latency.p99": {"direction": "min", "weight": 50}}
    assert choose(front, Goals.of(Tune(space=SPACE, objectives=fast)).objectives).number == 0
    assert choose([], TWO.objectives) is None


def test_the_hypervolume_is_a_share_of_the_box() -> None:
    corners = [seen(0, 0, 0), seen(1, 10, -10)]
    assert hypervolume(corners, TWO.objectives) == 1.0
    half = [seen(2, 5, 0), seen(3, 10, 0)]
    assert hypervolume([seen(2, 5, -5)], TWO.objectives, within=[*corners, *half]) == pytest.approx(0.25)
    assert hypervolume([seen(2, 5, -10), seen(3, 10, -5)], TWO.objectives, within=corners) == pytest.approx(0.75)
    three = {"throughput": "max", "latency.p99": "min", "errors": "min"}
    goals = Goals.of(Tune(space=SPACE, objectives=three))
    box = [seen(0, 0, 0, 0), seen(1, 1, -1, -1)]
    inside = [seen(2, 1, -0.5, -0.5), seen(3, 0.5, -1, -0.5), seen(4, 0.5, -0.5, -1)]
    assert hypervolume(inside, goals.objectives, within=box) == pytest.approx(0.5)
    assert hypervolume([], goals.objectives, within=box) == 0.0


def test_the_hypervolume_of_a_growing_study_never_falls() -> None:
    random = np.random.default_rng(0)
    cloud = [seen(n, *(100 * random.random(2))) for n in range(60)]
    volumes = [hypervolume(cloud[:n], TWO.objectives, cloud) for n in range(1, 61)]
    assert volumes == sorted(volumes)
    assert 0.7 < volumes[-1] <= 1


def test_patience_counts_gains_that_are_worth_something() -> None:
    before = [seen(0, 100, 50), seen(1, 120, 60)]
    assert is_improvement(seen(2, 110, 52), before, TWO.objectives)  # a new part of the front
    assert not is_improvement(seen(2, 120.2, 60), before, TWO.objectives)
    assert not is_improvement(seen(2, 90, 55), before, TWO.objectives)
    assert not is_improvement(seen(2, 300, 9, errors=1.0), before, TWO.objectives)
    assert is_improvement(seen(0, 1, 1), [], TWO.objectives)


def test_before_anything_is_acceptable_smaller_misses_are_improvements() -> None:
    before = [seen(0, 100, 50, p99=0.5), seen(1, outcome="failed")]
    assert is_improvement(seen(2, 90, 40, p99=0.3), before, TWO.objectives)
    assert not is_improvement(seen(2, 90, 40, p99=0.6), before, TWO.objectives)
    assert is_improvement(seen(2, 90, 40), before, TWO.objectives)
    assert not is_improvement(seen(2, outcome="failed"), before, TWO.objectives)


# --- screening ----------------------------------------------------------------------------------------------------


def probe(rate: tuple[float, float | None], p99: tuple[float | None, float], *checks: Check) -> Reading:
    low, high = rate
    best, worst = p99
    return Reading((Estimate(low, low, high), Estimate(worst, best, worst)), checks)


def test_a_clear_loser_ends_with_its_probe() -> None:
    finished = [seen(0, 100, 50), seen(1, 300, 40, errors=1.0), seen(2, outcome="failed")]
    reason = pruned(probe((60, 80), (65, 90)), finished, TWO, 0.2)
    assert "point 0 is better in every objective by more than 20%" in str(reason)
    assert pruned(probe((60, 90), (65, 90)), finished, TWO, 0.2) is None  # within the margin of its interval
    assert pruned(probe((60, 80), (40, 90)), finished, TWO, 0.2) is None  # perhaps better in the other objective
    assert pruned(probe((60, None), (65, 90)), finished, TWO, 0.2) is None  # nobody knows
    assert pruned(probe((60, 80), (65, 90)), [], TWO, 0.2) is None


def test_a_constraint_that_is_missed_beyond_doubt_ends_a_probe() -> None:
    check = Check("latency.p99 <= 50ms", 0.6, 0.4, False)
    assert "misses `latency.p99 <= 50ms` by 60%" in str(pruned(probe((500, 500), (1, 1), check), [], TWO, 0.2))
    doubtful = Check("latency.p99 <= 50ms", 0.6, 0.1, False)
    assert pruned(probe((500, 500), (1, 1), doubtful), [], TWO, 0.2) is None


# --- importance and drift -----------------------------------------------------------------------------------------


def test_importance_finds_what_mattered(space_of) -> None:
    space = space_of(
        "tune: {space: {load.concurrency: {pow2: [1, 64]}, server.flags.mode: [x, y, z], server.flags.share: "
        "{float: [0, 1]}, server.flags.depth: {int: [1, 4], when: \"server.flags.mode == 'z'\"}}}\n"
    )
    random = np.random.default_rng(1)
    told = []
    for number in range(80):
        point = space.at(random.random(4).tolist())
        value = 10 * math.log2(point["load.concurrency"]) + 20 * (point["server.flags.mode"] == "y") + random.normal()
        told.append(Observation(number, point, "measured", (value,)))
    shares = importance(space.dimensions, told, ONE.objectives)["throughput"]
    assert list(shares)[:2] == ["load.concurrency", "server.flags.mode"]
    assert shares["load.concurrency"] > 0.5 > shares["server.flags.mode"] > 0.05
    assert max(shares["server.flags.share"], shares["server.flags.depth"]) < 0.05
    assert sum(shares.values()) <= 1 + 1e-9
    assert importance(space.dimensions, told[:5], ONE.objectives) == {}


def test_noise_gives_no_importance(space_of) -> None:
    space = space_of("tune: {space: {load.concurrency: {pow2: [1, 64]}, server.flags.mode: [x, y, z]}}\n")
    found = []
    for seed in range(20):
        random = np.random.default_rng(seed)
        told = [Observation(n, space.at(random.random(2).tolist()), "measured", (random.normal(),)) for n in range(40)]
        found += importance(space.dimensions, told, ONE.objectives)["throughput"].values()
    assert sum(found) / len(found) < 0.06


def anchor(after: int, rate: float) -> Anchor:
    return Anchor(after, (Estimate(rate, rate * 0.99, rate * 1.01), Estimate(10.0, 9.9, 10.1)))


def test_drift_is_what_anchors_show_beyond_chance() -> None:
    rate, p99 = drifts([anchor(0, 100), anchor(20, 101), anchor(40, 92)], TWO.objectives)
    assert (rate.drifted, rate.after) == (True, (20, 40))
    assert rate.change == pytest.approx(92 / 101 - 1)
    assert "moved by -8.9% between points 20 and 40" in rate.words
    assert not p99.drifted
    assert not drifts([anchor(0, 100), anchor(20, 101.2)], TWO.objectives)[0].drifted
    assert drifts([anchor(0, 100)], TWO.objectives) == ()
