"""Which measurements in what order: pure, so every property is checked on the list itself."""

from __future__ import annotations

from collections import Counter

import pytest

from runner.scenario.case import Case
from runner.scenario.schema import Scenario
from runner.workflow.order import Planned, left_over, plan_points, server_runs, with_anchors


def case(name: str, server: str = "s", skipped: str | None = None, **isolation: str) -> Case:
    tree = {"scenario": 1, "name": "t", "workload": {"model": "m"}, "server": {"isolation": isolation}}
    return Case(name, {"workload.batch": name}, Scenario.model_validate(tree), server, skipped)


def cases(count: int, **isolation: str) -> list[Case]:
    return [case(f"p{number}", **isolation) for number in range(count)]


def ids(plan: tuple[Planned, ...]) -> list[str]:
    return [each.case.id for each in plan]


def test_a_block_is_every_point_once_in_an_order_of_its_own() -> None:
    points = cases(8)
    plan = plan_points(points, {each.id: 5 for each in points}, seed=3)
    blocks = [[each.case.id for each in plan if each.block == block] for block in range(5)]
    assert all(sorted(block) == sorted(ids(plan)[:8]) for block in blocks)
    assert len({tuple(block) for block in blocks}) == 5
    assert [each.block for each in plan] == sorted(each.block for each in plan)
    assert all(each.repeat == each.block for each in plan)


def test_the_order_depends_on_the_seed_and_on_nothing_else() -> None:
    assert ids(plan_points(cases(8), {}, seed=1)) == ids(plan_points(cases(8), {}, seed=1))
    assert ids(plan_points(cases(8), {}, seed=1)) != ids(plan_points(cases(8), {}, seed=2))
    # A change here makes every interrupted run resume in another order.
    assert ids(plan_points(cases(6), {}, seed=0)) == EXPECTED


EXPECTED = ["p5", "p4", "p1", "p2", "p0", "p3"]


def test_every_place_is_as_likely() -> None:
    """Never ascending only: over 600 seeds each point comes first about as often (chi square, 3 degrees, p 0.001)."""
    first = Counter(ids(plan_points(cases(4), {}, seed=seed))[0] for seed in range(600))
    assert sum((first[f"p{n}"] - 150) ** 2 / 150 for n in range(4)) < 16.3


def test_few_measurements_keep_the_order_of_the_file() -> None:
    assert all(ids(plan_points(cases(3), {}, seed=seed)) == ["p0", "p1", "p2"] for seed in range(20))
    assert any(ids(plan_points(cases(3), {}, seed=seed, order="blocks")) != ["p0", "p1", "p2"] for seed in range(20))
    assert any(ids(plan_points(cases(2), {"p0": 2, "p1": 2}, seed=seed)) != ["p0", "p1"] * 2 for seed in range(20))


def test_the_order_of_the_file_can_be_asked_for() -> None:
    assert ids(plan_points(cases(9), {}, seed=5, order="file")) == [f"p{n}" for n in range(9)]


def test_points_may_be_repeated_differently_and_skipped_ones_are_left_out() -> None:
    points = [case("a"), case("b", skipped="too large"), case("c")]
    plan = plan_points(points, {"a": 3}, order="file")
    assert [(each.case.id, each.repeat) for each in plan] == [("a", 0), ("c", 0), ("a", 1), ("a", 2)]
    assert plan_points([], {}) == ()


def test_points_of_one_server_stay_together_and_servers_take_turns() -> None:
    points = [case(f"p{n}", server=f"s{n % 3}") for n in range(12)]
    orders = set()
    for seed in range(20):
        plan = plan_points(points, {each.id: 2 for each in points}, seed=seed)
        runs = server_runs(plan)
        assert len(runs) == 6
        assert all(len({each.case.server_key for each in run}) == 1 for run in runs)
        orders.add(tuple(run[0].case.server_key for run in runs[:3]))
    assert len(orders) > 1


@pytest.mark.parametrize(
    ("isolation", "servers"),
    [
        ({}, 2),
        ({"between_repeats": "none"}, 1),
        ({"between_repeats": "reload"}, 1),
        ({"between_points": "restart", "between_repeats": "none"}, 8),
        ({"between_points": "reload"}, 2),
    ],
)
def test_a_fresh_server_where_isolation_asks_for_one(isolation: dict[str, str], servers: int) -> None:
    points = cases(4, **isolation)
    assert len(server_runs(plan_points(points, {each.id: 2 for each in points}))) == servers


def test_what_is_left_keeps_its_order() -> None:
    plan = plan_points(cases(6), {}, seed=0)
    assert ids(left_over(plan, {("p4", 0), ("p1", 0), ("p3", 1)})) == [
        name for name in EXPECTED if name not in ("p4", "p1")
    ]


def test_anchors_stand_before_between_and_after() -> None:
    plan = plan_points(cases(5), {}, order="file")
    anchored = with_anchors(plan, case("anchor"), 2, first_number=7)
    assert ids(anchored) == ["anchor", "p0", "p1", "anchor", "p2", "p3", "anchor", "p4", "anchor"]
    assert [each.repeat for each in anchored if each.anchor] == [7, 8, 9, 10]
    assert with_anchors(plan, None, 2) == plan
    assert with_anchors((), case("anchor"), 2) == ()


def test_an_anchor_of_another_server_is_worth_its_restarts() -> None:
    anchored = with_anchors(plan_points(cases(2), {}), case("anchor", server="other"), 1)
    assert len(server_runs(anchored)) == 5
