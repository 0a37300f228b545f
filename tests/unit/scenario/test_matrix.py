"""Axes to cases: order, ids, servers, skipped points, and matrices that make no sense."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from runner.errors import ScenarioError
from runner.scenario.matrix import case_id, expand
from runner.scenario.points import AxisError, count_of, points_of
from runner.scenario.schema import FloatAxis, IntAxis, Pow2Axis
from runner.scenario.tree import from_plain, option_place

BASE = "scenario: 1\nname: t\nworkload: {model: m}\n"


def cases(desk, text, **options):
    return expand(desk.load(BASE + text, **options))


def refused(desk, text, **options):
    loaded = desk.load(BASE + text, **options)
    with pytest.raises(ScenarioError) as caught:
        expand(loaded)
    return caught.value.diagnostics


def test_the_first_axis_is_outermost(desk):
    found = cases(desk, "matrix: {axes: {workload.batch: [1, 2], load.concurrency: [4, 8]}}\n")
    assert [tuple(case.parameters.items()) for case in found] == [
        (("workload.batch", batch), ("load.concurrency", concurrency)) for batch in (1, 2) for concurrency in (4, 8)
    ]
    assert [(case.scenario.workload.batch, case.scenario.load.concurrency) for case in found] == [
        (1, 4),
        (1, 8),
        (2, 4),
        (2, 8),
    ]
    assert all(case.skipped is None for case in found)


def test_without_axes_there_is_one_case(desk):
    loaded = desk.load(BASE)
    (only,) = expand(loaded)
    assert only.parameters == {}
    assert only.scenario == loaded.scenario
    assert only.id.startswith("base-")


def points(axis, plain):
    node = from_plain(plain, option_place("axis", str(plain), Path()))
    return [value.value for point in points_of("x", axis, node) for value in point.values()]


@pytest.mark.parametrize(
    ("axis", "values"),
    [
        (Pow2Axis(pow2=(1, 16)), [1, 2, 4, 8, 16]),
        (Pow2Axis(pow2=(1, 24)), [1, 2, 4, 8, 16]),
        (Pow2Axis(pow2=(4, 4)), [4]),
        (IntAxis(int=(1, 4)), [1, 2, 3, 4]),
        (IntAxis(int=(1, 8), step=3), [1, 4, 7]),
        (IntAxis(int=(-1, 1)), [-1, 0, 1]),
        (FloatAxis(float=(0.0, 0.5), step=0.1), [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]),
        (FloatAxis(float=(0.0, 1.0), step=0.4), [0.0, 0.4, 0.8]),
        (FloatAxis(float=(0.0, 1.0), points=5), [0.0, 0.25, 0.5, 0.75, 1.0]),
        (FloatAxis(float=(1.0, 1000.0), points=4, log=True), [1.0, 10.0, 100.0, 1000.0]),
        (FloatAxis(float=(2.0, 3.0), points=2), [2.0, 3.0]),
    ],
)
def test_generators(axis, values):
    assert points(axis, axis.model_dump(mode="json")) == values
    assert count_of(axis) == len(values)


def test_an_axis_with_too_many_listed_values(desk):
    text = f"matrix: {{axes: {{measure.seed: [{', '.join(str(each) for each in range(10_001))}]}}}}\n"
    (only,) = desk.mistakes(BASE + text)
    assert (only.code, only.message) == ("E131", "expected at most 10,000 values, got 10,001")


def test_many_wrong_points_are_not_all_listed(desk):
    text = (
        "measure: {window: {min: 0s, max: 9s}}\nmatrix: {axes: {load.concurrency: {int: [1, 99]},"
        " measure.window.min: [0s, 5s], measure.window.max: [9s, 1s, 2s]}}\n"
    )
    assert 2 <= len(refused(desk, text)) <= 4


def test_a_generator_of_too_many_values_is_refused_before_it_is_made():
    axis = FloatAxis(float=(0.0, 1e12), step=1e-6)
    with pytest.raises(AxisError, match="at most 10,000 values"):
        points(axis, axis.model_dump(mode="json"))


def test_several_addresses_change_together(desk):
    text = (
        "matrix: {axes: {size: {zip: {workload.batch: [1, 8], load.concurrency: [16, 2]}}, measure.drain: [1s, 2s]}}\n"
    )
    found = cases(desk, text)
    assert [list(case.parameters.values()) for case in found] == [
        [1, 16, "1s"],
        [1, 16, "2s"],
        [8, 2, "1s"],
        [8, 2, "2s"],
    ]
    assert found[2].scenario.load.concurrency == 2


def test_an_axis_over_a_variable_reaches_everything_that_refers_to_it(desk):
    text = "vars: {n: {type: int, default: 1}}\nload: {concurrency: '${vars.n}'}\nmatrix: {axes: {vars.n: [2, 4]}}\n"
    assert [case.scenario.load.concurrency for case in cases(desk, text)] == [2, 4]


def test_ids_are_readable_stable_and_different(desk):
    axes = "{workload.batch: [1, 8], load.concurrency: [16], measure.drain: [1s], server.flags: [{a: 1}]}"
    text = f"matrix: {{axes: {axes}}}\n"
    found = cases(desk, text)
    assert re.fullmatch(r"b1-c16-d1s-[0-9a-f]{8}", found[0].id)
    assert found[0].id != found[1].id
    assert [case.id for case in cases(desk, text)] == [case.id for case in found]
    assert case_id({"a.num_threads": 4, "b.rate": 0.5}).startswith("nt4-r0.5-")
    assert case_id({"workload.batch": 1}) == "b1-" + case_id({"workload.batch": 1})[-8:]
    assert len(case_id({f"a.long_name_{i}": "value" * 9 for i in range(20)})) <= 50


def test_cases_share_a_server_unless_it_differs(desk):
    text = (
        "repository: {models: {m: {from: model}}}\nvars: {n: {type: int, default: 1}}\n"
        "matrix: {axes: {repository.models.m.args.threads: [1, 2], workload.batch: [1, 2], load.concurrency: [1, 2]}}\n"
    )
    found = cases(desk, text)
    assert [case.server_key for case in found[:4]] == [found[0].server_key] * 4
    assert [case.server_key for case in found[4:]] == [found[4].server_key] * 4
    assert found[0].server_key != found[4].server_key
    assert len({case.server_key for case in cases(desk, "matrix: {axes: {server.flags.x: [1, 2]}}\n")}) == 2
    assert len({case.server_key for case in cases(desk, "matrix: {axes: {workload.model: [m, n]}}\n")}) == 2
    loads = "server: {load: [m, n]}\nmatrix: {axes: {workload.model: [m, n]}}\n"
    assert len({case.server_key for case in cases(desk, loads)}) == 1


def test_skipped_points_stay_with_the_reason(desk):
    text = (
        "matrix:\n  axes: {workload.batch: [1, 8], load.concurrency: [1, 64]}\n"
        "  skip: ['workload.batch * load.concurrency > 256', load.concurrency == 1 and vars.n == 2]\n"
        "vars: {n: {type: int, default: 2}}\n"
    )
    assert [case.skipped for case in cases(desk, text)] == [
        "load.concurrency == 1 and vars.n == 2",
        None,
        "load.concurrency == 1 and vars.n == 2",
        "workload.batch * load.concurrency > 256",
    ]


def test_a_batch_that_the_model_does_not_take(desk):
    model = "repository: {models: {m: {from: model, config: {max_batch_size: '${vars.n}'}}}}\n"
    text = model + "vars: {n: {type: int, default: 4}}\n"
    (only,) = desk.mistakes(BASE + text + "matrix: {axes: {workload.batch: [4, 8, 16]}}\n")[:1]
    assert (only.code, only.line, only.column) == ("E150", 6, 37)
    (only,) = refused(desk, text + "matrix: {axes: {vars.n: [4, 8], workload.batch: [8]}}\n")
    assert (only.code, only.message) == ("E150", "a batch of 8 is larger than the model `m` takes, which is 4")
    assert "repository.models.m.config.max_batch_size" in only.hint
    skipped = "matrix: {axes: {workload.batch: [4, 8]}, skip: [workload.batch > vars.n]}\n"
    assert [case.skipped for case in cases(desk, text + skipped)] == [None, "workload.batch > vars.n"]
    (only,) = desk.mistakes(BASE.replace("{model: m}", "{model: m, batch: 5}") + text)
    assert (only.code, only.column) == ("E150", 29)
    unbatched = text.replace("'${vars.n}'", "0")
    assert len(cases(desk, unbatched)) == 1
    assert desk.mistakes(BASE + unbatched + "matrix: {axes: {workload.batch: [2]}}\n")[0].code == "E150"


def test_more_points_than_anyone_wants(desk):
    text = "matrix: {axes: {workload.batch: {int: [1, 200]}, load.concurrency: {int: [1, 200]}}}\n"
    (only,) = refused(desk, text)
    assert (only.code, only.message) == ("E131", "expected at most 10,000 points, got 40,000")
    assert (only.line, only.column) == (4, 10)


def test_a_value_that_only_fails_beside_another(desk):
    text = (
        "measure: {window: {min: 1s, max: 5s}}\n"
        "matrix: {axes: {measure.window.min: [1s, 4s], measure.window.max: [5s, 2s]}}\n"
    )
    (only,) = refused(desk, text)
    assert (only.code, only.line, only.column) == ("E113", 5, 72)
    assert "at least the `min` of 4s, got 2s" in only.message


def test_a_predicate_that_fails_at_one_point(desk):
    text = "matrix: {axes: {load.concurrency: [1, 2]}, skip: ['8 / (load.concurrency - 2) > 1']}\n"
    (only,) = refused(desk, text)
    assert (only.code, only.line, only.column, only.message) == ("E132", 4, 54, "division by zero")


def test_a_thousand_points_take_seconds(desk):
    text = (
        "repository: {models: {m: {from: model, config: {max_batch_size: 64}}}}\n"
        "matrix: {axes: {workload.batch: {int: [1, 20]}, load.concurrency: {int: [1, 50]}}}\n"
    )
    loaded = desk.load(BASE + text)
    started = time.process_time()
    found = expand(loaded)
    assert len({case.id for case in found}) == 1000
    assert time.process_time() - started < 5.0
