"""Points of a space: what a file says, conditions, exclusion, the unit cube and back."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from runner.scenario.domains import Choices, Interval, Steps, domain_of, value_key
from runner.scenario.schema_tune import FloatDomain, IntDomain, Pow2Domain
from runner.tune.space import point_key

CONDITIONS = """tune:
  space:
    server.flags.graphs: {choice: [1, 2, 3], when: "server.flags.engine == 'trt' and server.flags.mode != 'y'"}
    server.flags.engine: {choice: [onnx, trt], when: "server.flags.mode != 'x'"}
    server.flags.mode: [x, y, z]
"""


# --- domains ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("domain", "values"),
    [
        (Pow2Domain(pow2=(2, 20)), [2, 4, 8, 16]),
        (IntDomain(int=(1, 8), step=3), [1, 4, 7]),
        (FloatDomain(float=(0, 1), step=0.25), [0.0, 0.25, 0.5, 0.75, 1.0]),
        (FloatDomain(float=(0.5, 2), step=0.5, unit="ms"), ["0.5ms", "1ms", "1.5ms", "2ms"]),
        (IntDomain(int=(10, 30), step=10, unit="/s"), ["10/s", "20/s", "30/s"]),
        ((0, 100, 500), [0, 100, 500]),
        (("b", "a"), ["b", "a"]),
    ],
)
def test_domains_list_their_values_and_find_them_again(domain, values) -> None:
    found = domain_of(domain)
    assert list(found.values()) == values
    assert [found.at(found.place(value)) for value in values] == values
    assert found.count == len(values)
    assert (found.at(0.0), found.at(1.0)) == (values[0], values[-1])


def test_three_ascending_numbers_have_an_order_other_lists_do_not() -> None:
    assert isinstance(domain_of((0, 100, 500)), Steps)
    assert isinstance(domain_of(("1ms", "5ms", "20ms")), Steps)
    assert isinstance(domain_of((100, 0, 500)), Choices)
    assert isinstance(domain_of((True, False)), Choices)


def test_an_interval_rounds_to_what_people_write_and_keeps_its_ends() -> None:
    linear, log = Interval(0.1, 0.7), Interval(1, 10_000, log=True, unit="/s")
    assert (linear.at(0.0), linear.at(1.0), linear.at(1 / 3)) == (0.1, 0.7, 0.3)
    assert log.at(0.5) == "100/s"
    assert log.place("100/s") == pytest.approx(0.5)
    assert log.place("1/h") == 0.0  # outside: the nearest end


def test_a_logarithmic_range_is_even_in_ratios() -> None:
    domain = domain_of(IntDomain(int=(1, 1000), log=True))
    drawn = [domain.at(unit) for unit in np.linspace(0, 1, 2001)]
    assert set(drawn) >= set(range(1, 100))
    assert 0.3 < sum(value < 10 for value in drawn) / len(drawn) < 0.36
    assert all(domain.at(domain.place(value)) == value for value in (1, 2, 77, 999, 1000))


def test_the_files_own_number_between_two_steps_has_a_place() -> None:
    domain = domain_of(Pow2Domain(pow2=(1, 64)))
    assert domain.at(domain.place(5)) == 4
    assert domain.near(5, 0.01) == (4,)
    assert domain.near(8, 0.01) == (4, 16)
    assert domain.near(1, 0.01) == (2,)
    assert domain_of(("a", "b", "c")).near("b", 0.1) == ("a", "c")


def test_values_that_mean_the_same_are_the_same() -> None:
    assert value_key(1) == value_key(1.0) == value_key(np.float64(1.0))
    assert value_key(True) != value_key(1)
    assert value_key([{"count": 1.0}]) == value_key([{"count": 1}])


# --- points -------------------------------------------------------------------------------------------------------


def test_the_current_point_is_what_the_file_says(space_of) -> None:
    space = space_of("tune: {space: {server.flags.threads: [1, 2, 4], server.flags.new: [1, 2]}}\n")
    assert space.current == {"server.flags.threads": 3}
    variables = "vars: {n: {type: int, default: 2}}\n"
    assert space_of(variables + "tune: {space: {vars.n: {int: [1, 4]}}}\n").current == {"vars.n": 2}


def test_conditions_leave_addresses_out_whatever_their_order(space_of) -> None:
    space = space_of(CONDITIONS)
    full = {"server.flags.mode": "z", "server.flags.engine": "trt", "server.flags.graphs": 2}
    assert space.canonical(full) == full
    assert space.canonical({**full, "server.flags.engine": "onnx"}) == {
        "server.flags.mode": "z",
        "server.flags.engine": "onnx",
    }
    assert space.canonical({**full, "server.flags.mode": "x"}) == {"server.flags.mode": "x"}
    assert list(space.canonical(full)) == ["server.flags.graphs", "server.flags.engine", "server.flags.mode"]


def test_the_grid_has_every_point_once(space_of) -> None:
    space = space_of(CONDITIONS)
    points = [point_key(point) for point in space.grid()]
    assert len(points) == len(set(points)) == space.count() == 1 + 2 + (1 + 3)
    assert space_of("tune: {space: {server.flags.s: {float: [0, 1]}}}\n").count() is None


def test_conditions_follow_variables(space_of) -> None:
    head = """scenario: 1
name: t
vars: {batch: {type: int, default: 1}}
workload: {model: m, batch: "${vars.batch}"}
"""
    space = space_of(
        'tune: {space: {vars.batch: [1, 8], server.flags.d: {choice: [5], when: "workload.batch > 4"}}}\n', head
    )
    assert list(space.grid()) == [{"vars.batch": 1}, {"vars.batch": 8, "server.flags.d": 5}]


def test_the_unit_cube_and_back(small_space) -> None:
    random = np.random.default_rng(0)
    for _ in range(100):
        point = small_space.at(random.random(3).tolist())
        places = small_space.place(point)
        assert small_space.at([0.5 if place is None else place for place in places]) == point


def test_neighbours_differ_in_one_choice_and_are_points_of_the_space(small_space) -> None:
    allowed = {point_key(point) for point in small_space.grid()}
    for point in small_space.grid():
        around = list(small_space.neighbours(point, 0.01))
        assert around
        assert {point_key(each) for each in around} <= allowed - {point_key(point)}
    near = list(small_space.neighbours({"load.concurrency": 4, "server.flags.mode": "x"}, 0.01))
    assert {"load.concurrency": 8, "server.flags.mode": "x"} in near
    assert {"load.concurrency": 4, "server.flags.mode": "z", "server.flags.depth": 2} in near


# --- what cannot be run -------------------------------------------------------------------------------------------


def test_points_that_cannot_be_run_say_why(space_of) -> None:
    head = """scenario: 1
name: t
workload: {model: m}
repository: {models: {m: {from: /, config: {max_batch_size: 8}}}}
"""
    space = space_of(
        "tune:\n  space: {workload.batch: {pow2: [1, 16]}, load.concurrency: [1, 64]}\n"
        "  exclude: ['workload.batch * load.concurrency > 200']\n",
        head,
    )
    why = {(p["workload.batch"], p["load.concurrency"]): space.infeasible(p) for p in space.grid()}
    assert why[(1, 64)] is None
    assert why[(4, 64)] == "excluded: workload.batch * load.concurrency > 200"
    assert "a batch of 16 is larger than the model `m` takes" in str(why[(16, 1)])
    assert "no valid scenario: expected at least 1" in str(space.infeasible({"load.concurrency": 0}))


def test_several_models_and_maps_are_dimensions_too(space_of) -> None:
    groups = "[[{kind: KIND_CPU, count: 1}], [{kind: KIND_CPU, count: 2}]]"
    head = "scenario: 1\nname: t\nworkload: {model: m}\nrepository: {models: {m: {from: /}}}\n"
    space = space_of(f"tune: {{space: {{repository.models.m.config.instance_group: {groups}}}}}\n", head)
    points = list(space.grid())
    assert len(points) == 2
    assert all(space.infeasible(point) is None for point in points)
    assert [round(place[0], 2) for place in map(space.place, points)] == [0.25, 0.75]
    assert len(list(itertools.islice(space.neighbours(points[0], 0.1), 5))) == 1
