"""Two scenarios in turn: the order, the servers, the directories, resuming."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from runner.errors import UsageError
from runner.load.native import NativeEngine
from runner.results.records import Trial
from runner.runtimes.fake import FakeRuntime
from runner.scenario.case import Case
from runner.scenario.loading import LoadedScenario
from runner.scenario.schema import Scenario
from runner.services.fake import FakeServer, Script
from runner.services.kserve import connect
from runner.workflow import Rooms, RunOptions, Silent, run_scenario
from runner.workflow.against import Turn, interleaved, run_against, server_turns
from runner.workflow.comparing import compare_runs
from runner.workflow.order import Planned, plan_points
from tests.unit.scenario_files import loader

MODEL = Path(__file__).parents[2] / "integration" / "resources" / "models" / "identity"
FILE = f"""scenario: 1
name: fake
repository: {{models: {{identity: {{from: {MODEL}}}}}}}
workload: {{model: identity, timeout: 1s, input: {{INPUT0: {{generate: random, shape: [4]}}}}}}
measure: {{profile: reference, requests: 40, drain: 1s, repeats: 2}}
matrix: {{axes: {{load.concurrency: [1, 4]}}}}
"""


# --- the order ----------------------------------------------------------------------------------------------------


def case(name: str) -> Case:
    scenario = Scenario.model_validate({"scenario": 1, "name": "order", "workload": {"model": "m"}})
    return Case(name, {}, scenario, server_key=name[0])


def plan(side: str, points: int, blocks: int) -> tuple[Planned, ...]:
    cases = [case(f"{side}{number}") for number in range(points)]
    return plan_points(cases, {each.id: blocks for each in cases}, seed=3)


def turns(points: int = 3, blocks: int = 6, seed: int = 0) -> tuple[Turn, ...]:
    partners = {f"a{number}": f"b{number}" for number in range(points)}
    return interleaved(plan("a", points, blocks), plan("b", points, blocks), partners, seed)


def test_the_two_sides_of_a_point_follow_each_other_in_every_block() -> None:
    found = turns()
    assert len(found) == 3 * 6 * 2
    assert [turn.planned.block for turn in found] == sorted(turn.planned.block for turn in found)
    for first, second in zip(found[::2], found[1::2], strict=True):
        assert {first.side, second.side} == {"A", "B"}
        assert first.planned.block == second.planned.block
        assert first.planned.case.id[1:] == second.planned.case.id[1:]


def test_which_side_begins_is_drawn_by_lot_from_the_seed() -> None:
    starts = ["".join(turn.side for turn in turns(1, 40, seed)[::2]) for seed in range(2)]
    assert starts[0] != starts[1]
    assert all(10 <= Counter(each)["A"] <= 30 for each in starts)
    assert turns(seed=1) == turns(seed=1)


def test_a_server_does_for_two_pairs_and_never_for_two_blocks() -> None:
    runs = list(server_turns(turns()))
    assert len(runs) == 6 * (3 + 1)
    assert all(len({planned.block for planned in run}) == 1 for _, run in runs)


def test_points_without_a_partner_come_last_in_their_block() -> None:
    found = interleaved(plan("a", 2, 1), plan("b", 2, 1), {"a1": "b0"})
    assert {turn.planned.case.id for turn in found[:2]} == {"a1", "b0"}
    assert [turn.planned.case.id for turn in found[2:]] == ["a0", "b1"]


# --- measuring ----------------------------------------------------------------------------------------------------


@pytest.fixture
def loaded(tmp_path: Path) -> Callable[..., LoadedScenario]:
    return loader(tmp_path / "fake.yaml", FILE)


@pytest.fixture
def options(tmp_path: Path) -> RunOptions:
    return RunOptions(output_dir=tmp_path / "runs", home=tmp_path / "home")


def rooms(server: FakeServer | None = None) -> Rooms:
    served = server or FakeServer()
    return Rooms(FakeRuntime(lambda: served), NativeEngine(), connect)


class Impatient(Silent):
    """Presses Ctrl-C after so many points."""

    def __init__(self, points: int = 10**9) -> None:
        self.left = points
        self.measured: list[tuple[str, int]] = []

    def on_trial(self, trial: Trial) -> None:
        self.measured.append((trial.case_id, trial.block))
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def test_both_runs_share_a_group_and_have_every_block(
    loaded: Callable[..., LoadedScenario], options: RunOptions
) -> None:
    made = rooms()
    a, b = run_against(loaded(), loaded("workload.batch=2"), options, rooms=made)
    assert a.run.manifest.compare_group == b.run.manifest.compare_group == a.directory.name
    for outcome in (a, b):
        assert [t.block for trials in outcome.run.repeats.values() for t in trials] == [0, 1, 0, 1]
        assert outcome.run.manifest.outcome in ("complete", "partial")
        assert (outcome.directory / "points.csv").exists()
    assert {trial.batch for trial in b.run.trials.values()} == {2}
    assert isinstance(made.runtime, FakeRuntime)
    assert len(made.runtime.started) == 2 * 3
    comparison = compare_runs(a.directory, b.directory)
    states = {t.state for outcome in (a, b) for trials in outcome.run.repeats.values() for t in trials}
    if states == {"ok"}:  # a busy machine may invalidate a point of 40 requests
        assert {point.design for point in comparison.points} == {"paired"}
        assert [point.case_a for point in comparison.points] == [case.case_id for case in a.run.cases]
    assert comparison.differences.scenario == ("workload.batch: 1 | 2",)
    assert comparison.differences.rig == ()


def test_the_same_file_against_itself_makes_two_runs(
    loaded: Callable[..., LoadedScenario], options: RunOptions
) -> None:
    one = "matrix.axes={load.concurrency: [1]}"
    a, b = run_against(loaded(one), loaded(one), options, rooms=rooms())
    assert a.directory != b.directory
    assert a.run.manifest.scenario.digest == b.run.manifest.scenario.digest


@pytest.mark.parametrize("after", [1, 4])
def test_both_are_resumed_together(loaded: Callable[..., LoadedScenario], options: RunOptions, after: int) -> None:
    few = "measure.requests=20", "measure.repeats=3", "matrix.axes={load.concurrency: [1]}"
    sides: Any = loaded(*few), loaded(*few, "workload.batch=2")
    first = Impatient(after)
    with pytest.raises(KeyboardInterrupt):
        run_against(*sides, options, first, rooms())
    again = Impatient()
    a, b = run_against(*sides, replace(options, resume=True), again, rooms())
    assert len(first.measured) + len(again.measured) == 6
    assert len(list(options.output_dir.iterdir())) == 2
    for outcome in (a, b):
        assert sorted(t.block for trials in outcome.run.repeats.values() for t in trials) == [0, 1, 2]


def test_one_side_alone_is_not_resumed(loaded: Callable[..., LoadedScenario], options: RunOptions) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_against(loaded(), loaded("workload.batch=2"), options, Impatient(1), rooms())
    with pytest.raises(UsageError, match="one side of a comparison"):
        run_scenario(loaded(), replace(options, resume=True), rooms=rooms())
    with pytest.raises(UsageError, match="no unfinished comparison"):
        run_against(loaded(), loaded("workload.batch=4"), replace(options, resume=True), rooms=rooms())


def test_a_server_that_dies_costs_one_measurement_of_one_side(
    loaded: Callable[..., LoadedScenario], options: RunOptions
) -> None:
    waiting = [FakeServer(script=Script(die_after=20)), FakeServer()]
    made = Rooms(FakeRuntime(lambda: waiting.pop(0) if len(waiting) > 1 else waiting[0]), NativeEngine(), connect)
    a, b = run_against(loaded(), loaded("workload.batch=2"), options, rooms=made)
    states = [t.state for outcome in (a, b) for trials in outcome.run.repeats.values() for t in trials]
    assert states.count("failed") == 1
    assert len(states) == 8
