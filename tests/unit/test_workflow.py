"""The conductor with a fake runtime (a real gRPC server in this process) and the native engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from runner.errors import RigError, ScenarioError, ServiceError, UsageError
from runner.load.native import NativeEngine
from runner.report import console_table
from runner.results.records import Trial
from runner.runtimes.fake import FakeRuntime
from runner.scenario.loading import LoadedScenario
from runner.scenario.matrix import expand
from runner.services.fake import FakeServer, Script, identity_model
from runner.services.kserve import connect
from runner.workflow import (
    MAX_SERVER_DEATHS,
    Outcome,
    Rooms,
    RunOptions,
    Silent,
    largest_batch,
    plan_scenario,
    reset_scenario,
    run_scenario,
    server_groups,
    session,
    setup_scenario,
    state_of,
)
from tests.unit.scenario_files import loader

MODEL = Path(__file__).parents[1] / "integration" / "resources" / "models" / "identity"
FILE = f"""scenario: 1
name: fake
repository: {{models: {{identity: {{from: {MODEL}}}}}}}
workload: {{model: identity, timeout: 1s, input: {{INPUT0: {{generate: random, shape: [4]}}}}}}
measure: {{profile: reference, requests: 40, drain: 1s}}
matrix: {{axes: {{workload.batch: [1, 2], load.concurrency: [1, 4]}}}}
"""


@pytest.fixture
def loaded(tmp_path: Path) -> Callable[..., LoadedScenario]:
    return loader(tmp_path / "fake.yaml", FILE)


@pytest.fixture
def options(tmp_path: Path) -> RunOptions:
    return RunOptions(output_dir=tmp_path / "runs", home=tmp_path / "home")


def rooms(*servers: FakeServer) -> Rooms:
    """One fake server per start; the last one serves all further starts."""
    waiting = list(servers) or [FakeServer()]
    runtime = FakeRuntime(lambda: waiting.pop(0) if len(waiting) > 1 else waiting[0])
    return Rooms(runtime, NativeEngine(), connect)


class Recorder(Silent):
    """Keeps the names of what it is told."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.trials: list[Trial] = []

    def on_run(self, directory: Path, points: int, done: int) -> None:
        self.events.append(f"run {done}/{points}")

    def on_case(self, case: Any) -> None:
        self.events.append("case")

    def on_trial(self, trial: Trial) -> None:
        self.events.append(trial.state)
        self.trials.append(trial)


def states(outcome: Outcome) -> list[str]:
    return [point.state for point in outcome.run.points()]


def test_every_point_is_measured_on_one_server(loaded: Callable[..., LoadedScenario], options: RunOptions) -> None:
    recorder, made = Recorder(), rooms()
    outcome = run_scenario(loaded(), options, recorder, made)
    assert recorder.events[0] == "run 0/4"
    assert len(recorder.trials) == 4
    assert isinstance(made.runtime, FakeRuntime)
    assert len(made.runtime.started) == 1
    assert all(trial.counts and trial.counts.ok == 40 for trial in recorder.trials)
    assert outcome.run.manifest.outcome in ("complete", "partial")
    assert (outcome.directory / "points.csv").exists()


def test_a_skipped_point_is_listed_not_measured(loaded: Callable[..., LoadedScenario], options: RunOptions) -> None:
    scenario = loaded("matrix.skip=['workload.batch * load.concurrency > 4']")
    outcome = run_scenario(scenario, options, rooms=rooms())
    assert states(outcome)[-1] == "skipped"
    assert len(outcome.run.trials) == 3


def test_isolation_restart_gives_each_point_a_server(
    loaded: Callable[..., LoadedScenario], options: RunOptions
) -> None:
    made = rooms()
    run_scenario(loaded("server.isolation.between_points=restart"), options, rooms=made)
    assert isinstance(made.runtime, FakeRuntime)
    assert len(made.runtime.started) == 4
    assert len({spec.log for spec in made.runtime.started}) == 4


def reloads(made: Rooms) -> list[int]:
    assert isinstance(made.runtime, FakeRuntime)
    return [server.reloads for server in made.runtime.servers]


def test_isolation_reload_loads_the_models_anew_between_points(
    loaded: Callable[..., LoadedScenario], options: RunOptions
) -> None:
    made = rooms()
    outcome = run_scenario(loaded("server.isolation.between_points=reload"), options, rooms=made)
    assert reloads(made) == [3]
    assert {trial.state for trial in outcome.run.trials.values()} <= {"ok", "invalid"}
    assert not any(flag.code == "server_restarted" for trial in outcome.run.trials.values() for flag in trial.flags), (
        "counters start anew before a point, not in it"
    )


def test_repeats_are_blocks_each_on_a_fresh_server(loaded: Callable[..., LoadedScenario], options: RunOptions) -> None:
    recorder, made = Recorder(), rooms()
    run_scenario(loaded("measure.repeats=3"), options, recorder, made)
    assert recorder.events[0] == "run 0/12"
    assert isinstance(made.runtime, FakeRuntime)
    assert len(made.runtime.started) == 3
    blocks = [[trial for trial in recorder.trials if trial.block == block] for block in range(3)]
    assert [len({trial.case_id for trial in block}) for block in blocks] == [4, 4, 4]
    assert [trial.block for trial in recorder.trials] == [trial.repeat for trial in recorder.trials]
    assert [trial.block for trial in recorder.trials] == [0] * 4 + [1] * 4 + [2] * 4


@pytest.mark.parametrize(
    ("between", "starts", "reloaded"), [("none", 1, [0]), ("reload", 1, [2]), ("restart", 3, None)]
)
def test_what_separates_repeats_can_be_chosen(
    loaded: Callable[..., LoadedScenario], options: RunOptions, between: str, starts: int, reloaded: list[int] | None
) -> None:
    made = rooms()
    run_scenario(loaded("measure.repeats=3", f"server.isolation.between_repeats={between}"), options, rooms=made)
    assert isinstance(made.runtime, FakeRuntime)
    assert len(made.runtime.started) == starts
    assert reloads(made) == (reloaded or [0, 0, 0])


def test_resume_measures_only_the_missing_repeats(loaded: Callable[..., LoadedScenario], options: RunOptions) -> None:
    class Impatient(Recorder):
        def on_trial(self, trial: Trial) -> None:
            super().on_trial(trial)
            if len(self.trials) == 6:
                raise KeyboardInterrupt

    scenario, first, second = loaded("measure.repeats=2"), Impatient(), Recorder()
    with pytest.raises(KeyboardInterrupt):
        run_scenario(scenario, options, first, rooms())
    outcome = run_scenario(scenario, replace(options, resume=True), second, rooms())
    assert second.events[0] == "run 6/8"
    units = [(trial.case_id, trial.repeat) for trial in (*first.trials, *second.trials)]
    assert len(set(units)) == len(units) == 8
    assert outcome.run.finished() == set(units)
    assert outcome.run.remaining() == ()
    whole = [(each.case.id, each.repeat) for each in plan_scenario(scenario, options).measurements]
    assert units == whole, "the order is that of the run that was not interrupted"


def test_anchors_are_measured_and_kept_apart(loaded: Callable[..., LoadedScenario], options: RunOptions) -> None:
    recorder = Recorder()
    anchor = "matrix.anchor={every: 2, at: {workload.batch: 2, load.concurrency: 4}}"
    outcome = run_scenario(loaded(anchor), options, recorder, rooms())
    assert recorder.events[0] == "run 0/7"
    assert [trial.anchor for trial in recorder.trials] == [True, False, False, True, False, False, True]
    assert len(outcome.run.anchors) == 3
    assert {(trial.batch, trial.load["concurrency"]) for trial in outcome.run.anchors} == {(2, 4)}
    assert len(outcome.run.trials) == 4


SECRET_AXES = [
    "{workload.headers.Authorization: [hunter2, hunter3]}",
    "{workload.headers: [{Authorization: hunter2}, {Authorization: hunter3}]}",
    "{both: {zip: {load.concurrency: [1, 2], workload.headers.X-Auth-Token: [hunter2, hunter3]}}}",
]


@pytest.mark.parametrize("axes", SECRET_AXES, ids=["one", "map", "zip"])
def test_a_secret_that_is_an_axis_is_in_no_file_and_its_points_stay_apart(
    loaded: Callable[..., LoadedScenario], options: RunOptions, axes: str
) -> None:
    outcome = run_scenario(loaded(f"matrix={{axes: {axes}}}"), options, rooms=rooms())
    assert len(outcome.run.trials) == 2
    assert len({str(case.parameters) for case in outcome.run.cases}) == 2
    everything = [path for path in outcome.directory.rglob("*") if path.is_file()]
    assert [path for path in everything if "hunter" in path.name or b"hunter" in path.read_bytes()] == []


def test_skipped_points_and_anchors_may_be_picked_by_a_secret(
    loaded: Callable[..., LoadedScenario], options: RunOptions
) -> None:
    matrix = (
        "{axes: {workload.headers.Cookie: [hunter2, hunter3]}, anchor: {at: {workload.headers.Cookie: hunter2}},"
        " skip: [workload.headers.Cookie == 'hunter3']}"
    )
    outcome = run_scenario(loaded("workload.headers.Cookie=hunter1", f"matrix={matrix}"), options, rooms=rooms())
    assert (len(outcome.run.trials), len(outcome.run.skipped)) == (1, 1)
    assert b"hunter" not in (outcome.directory / "journal.jsonl").read_bytes()
    assert b"hunter" not in (outcome.directory / "resolved.yaml").read_bytes()


@pytest.mark.parametrize(
    ("at", "message"),
    [
        ("{workload.batc: 2}", r"no axis of the matrix"),
        ("{workload.batch: 2}", r"expected one point of the matrix, got 2"),
        ("{workload.batch: 3, load.concurrency: 4}", r"expected one point of the matrix, got 0"),
    ],
)
def test_an_anchor_that_picks_no_one_point_is_refused_before_anything_starts(
    loaded: Callable[..., LoadedScenario], options: RunOptions, at: str, message: str
) -> None:
    made = rooms()
    with pytest.raises(UsageError, match=message):
        run_scenario(loaded(f"matrix.anchor={{at: {at}}}"), options, rooms=made)
    assert isinstance(made.runtime, FakeRuntime)
    assert made.runtime.started == []


def test_the_rig_cools_down_between_points_and_not_before_the_first(
    loaded: Callable[..., LoadedScenario], options: RunOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(session, "time", SimpleNamespace(sleep=pauses.append))
    run_scenario(loaded("matrix.cooldown=2s"), options, rooms=rooms())
    assert pauses == [2.0] * 3


def test_an_axis_over_the_profile_measures_the_same_points_both_ways(
    loaded: Callable[..., LoadedScenario], options: RunOptions
) -> None:
    scenario = loaded(
        "measure={profile: explore, warmup: {max_fraction: 40%}, window: {min: 200ms, max: 300ms}, drain: 1s}",
        "matrix.axes={measure.profile: [explore, reference], load.concurrency: [2]}",
        "measure.max_error_rate=5%",
    )
    plan = plan_scenario(scenario, options)
    assert len({case.id for case in plan.cases}) == 2
    assert [case.id.split("-c2-")[0] for case in plan.cases] == ["pexplore", "preference"]
    outcome = run_scenario(scenario, options, rooms=rooms())
    explore, reference = (point.trial for point in outcome.run.points())
    assert explore is not None
    assert reference is not None
    assert reference.summary is not None
    assert reference.summary.completions == 64
    assert reference.summary.first_wave is not None
    assert "64 requests from cold" in console_table(outcome.run, width=200)


def test_records_of_repeats_and_anchors_do_not_overwrite_each_other(
    loaded: Callable[..., LoadedScenario], options: RunOptions
) -> None:
    scenario = loaded(
        "measure.records=full",
        "measure.repeats=2",
        "matrix.axes={load.concurrency: [1, 2]}",
        "matrix.anchor={every: 9, at: {load.concurrency: 1}}",
    )
    outcome = run_scenario(scenario, options, rooms=rooms())
    names = {path.stem.partition("-")[0] + path.stem[path.stem.index("-", 3) :] for path in records_of(outcome)}
    assert names == {"c1-repeat0", "c1-repeat1", "c2-repeat0", "c2-repeat1", "c1-anchor0", "c1-anchor1"}
    assert all(path.stat().st_size > 40 * 40 for path in records_of(outcome))


def records_of(outcome: Outcome) -> list[Path]:
    return list((outcome.directory / "records").iterdir())


def test_every_repeat_has_a_schedule_of_its_own_and_a_block_has_one(
    loaded: Callable[..., LoadedScenario], options: RunOptions
) -> None:
    class Engine(NativeEngine):
        seeds: ClassVar[list[int]] = []

        def run(self, plan: Any, *rest: Any) -> Any:
            if plan.transport.kind != "null":
                self.seeds.append(plan.seed)
            return super().run(plan, *rest)

    made = replace(rooms(), engine=Engine())
    run_scenario(
        loaded("measure.repeats=2", "measure.seed=7", "matrix.axes={load.concurrency: [1, 2]}"), options, rooms=made
    )
    assert Engine.seeds == [7, 7, 8, 8]


def test_an_axis_over_the_server_restarts_it_once_per_value(
    loaded: Callable[..., LoadedScenario], options: RunOptions
) -> None:
    axes = "{load.concurrency: [1, 2], repository.models.identity.config.max_batch_size: [4, 8]}"
    scenario = loaded(f"matrix.axes={axes}")
    groups = server_groups(expand(scenario))
    assert [len(group) for group in groups] == [2, 2]
    made = rooms()
    run_scenario(scenario, options, rooms=made)
    assert isinstance(made.runtime, FakeRuntime)
    assert len({spec.repository for spec in made.runtime.started}) == len(made.runtime.started) == 2


def test_a_server_that_dies_costs_one_point_and_is_replaced(
    loaded: Callable[..., LoadedScenario], options: RunOptions
) -> None:
    dying = FakeServer(script=Script(die_after=60))
    outcome = run_scenario(loaded("matrix.order=file"), options, rooms=rooms(dying, FakeServer()))
    assert states(outcome)[1] == "failed"
    assert "SIGKILL" in str(outcome.run.trials[outcome.run.cases[1].case_id].failure)
    assert "failed" not in states(outcome)[2:]
    assert outcome.exit_code == 5
    assert any("failed" in problem for problem in outcome.problems)


def test_resume_measures_what_failed_and_keeps_the_rest(
    loaded: Callable[..., LoadedScenario], options: RunOptions
) -> None:
    dying = FakeServer(script=Script(die_after=60))
    first = run_scenario(loaded(), options, rooms=rooms(dying, FakeServer()))
    kept = {case: trial for case, trial in first.run.trials.items() if trial.state != "failed"}
    recorder = Recorder()
    second = run_scenario(loaded(), replace(options, resume=True), recorder, rooms())
    assert second.directory == first.directory
    assert recorder.events[0] == "run 3/4"
    assert len(recorder.trials) == 1
    assert kept.items() <= second.run.trials.items()
    assert "failed" not in states(second)


def test_resume_of_another_scenario_is_refused(loaded: Callable[..., LoadedScenario], options: RunOptions) -> None:
    dying = FakeServer(script=Script(die_after=60))
    run_scenario(loaded(), options, rooms=rooms(dying, FakeServer()))
    with pytest.raises(UsageError, match=r"workload\.batch|measure\.requests"):
        run_scenario(loaded("measure.requests=41"), replace(options, resume=True), rooms=rooms())


def test_a_server_that_always_dies_ends_the_run_with_its_points_on_disk(
    loaded: Callable[..., LoadedScenario], options: RunOptions
) -> None:
    dying = [FakeServer(script=Script(die_after=5)) for _ in range(MAX_SERVER_DEATHS)]
    with pytest.raises(ServiceError, match="SIGKILL"):
        run_scenario(loaded(), options, rooms=rooms(*dying))
    (directory,) = options.output_dir.iterdir()
    assert (directory / "points.csv").read_text().count("failed") >= MAX_SERVER_DEATHS


def test_a_server_that_never_gets_ready_is_a_service_error(
    loaded: Callable[..., LoadedScenario], options: RunOptions
) -> None:
    with pytest.raises(ServiceError):
        run_scenario(loaded("server.ready.timeout=300ms"), options, rooms=rooms(FakeServer(script=Script(ready=False))))


@pytest.mark.parametrize(("written", "within_s"), [((), 5.0), (("server.ready.timeout=50s",), 50.0)])
def test_who_writes_how_long_to_wait_means_it_where_nobody_listens_yet_too(
    written: tuple[str, ...], within_s: float, loaded: Callable[..., LoadedScenario], options: RunOptions
) -> None:
    runtime = FakeRuntime(FakeServer)
    run_scenario(loaded(*written), options, rooms=Rooms(runtime, NativeEngine(), connect))
    assert {spec.listens_within_s for spec in runtime.started} == {within_s}


def test_a_server_that_accepts_and_never_answers_fails_the_point_by_timeout(
    loaded: Callable[..., LoadedScenario], options: RunOptions
) -> None:
    server = FakeServer(script=Script(silent=True))
    outcome = run_scenario(
        loaded("workload.timeout=200ms", "measure.requests=4", "matrix.axes={load.concurrency: [2]}"),
        options,
        rooms=rooms(server),
    )
    (trial,) = outcome.run.trials.values()
    assert trial.state == "failed"
    assert trial.counts is not None
    assert trial.counts.failed == {"timeout": 4}


def test_failed_requests_are_counted_and_named(loaded: Callable[..., LoadedScenario], options: RunOptions) -> None:
    server = FakeServer(script=Script(fail_every=4))
    outcome = run_scenario(
        loaded("measure.max_error_rate=50%", "matrix.axes={load.concurrency: [1]}"), options, rooms=rooms(server)
    )
    (trial,) = outcome.run.trials.values()
    assert trial.counts is not None
    assert trial.counts.ok + sum(trial.counts.failed.values()) == trial.counts.sent == 40
    assert sum(trial.counts.failed.values()) == 10
    assert trial.errors


def test_unknown_input_is_refused_with_the_nearest_name_before_a_server_starts(
    loaded: Callable[..., LoadedScenario], options: RunOptions
) -> None:
    made = rooms()
    with pytest.raises(ScenarioError) as caught:
        run_scenario(loaded("workload.input={INPUT: {generate: zero, shape: [4]}}"), options, rooms=made)
    assert "did you mean `INPUT0`" in caught.value.diagnostics[0].message
    assert isinstance(made.runtime, FakeRuntime)
    assert made.runtime.started == []


def test_ctrl_c_leaves_a_resumable_run_with_reports(loaded: Callable[..., LoadedScenario], options: RunOptions) -> None:
    class Impatient(Recorder):
        def on_trial(self, trial: Trial) -> None:
            super().on_trial(trial)
            if len(self.trials) == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_scenario(loaded(), options, Impatient(), rooms())
    (directory,) = options.output_dir.iterdir()
    assert (directory / "points.csv").exists()
    recorder = Recorder()
    run_scenario(loaded(), replace(options, resume=True), recorder, rooms())
    assert recorder.events[0] == "run 2/4"


def test_disk_full_keeps_earlier_points(
    loaded: Callable[..., LoadedScenario], options: RunOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    from runner.results.journal import JournalWriter

    append, trials = JournalWriter.append, []

    def full_after_two(self: JournalWriter, kind: str, body: dict[str, Any]) -> None:
        if kind == "trial":
            trials.append(body)
            if len(trials) > 2:
                raise RigError("no space left on device")
        append(self, kind, body)

    monkeypatch.setattr(JournalWriter, "append", full_after_two)
    with pytest.raises(RigError, match="no space left"):
        run_scenario(loaded(), options, rooms=rooms())
    (directory,) = options.output_dir.iterdir()
    assert (directory / "points.csv").read_text().count(",ok,") + (directory / "points.csv").read_text().count(
        ",invalid,"
    ) == 2


def test_setup_twice_reuses_and_reset_removes(loaded: Callable[..., LoadedScenario], options: RunOptions) -> None:
    scenario = loaded()
    (first,) = setup_scenario(scenario, options, Silent())
    (second,) = setup_scenario(scenario, options, Silent())
    assert first.repository == second.repository
    assert {report.action for report in second.reports} <= {"reused", "not needed"}
    state = state_of(scenario, options.home)
    assert state.path.exists()
    assert reset_scenario(scenario, dry_run=True, home=options.home)
    assert state.path.exists()
    removals = reset_scenario(scenario, home=options.home)
    assert removals
    assert not state.path.exists()
    assert reset_scenario(scenario, home=options.home) == ()


def test_plan_changes_nothing(loaded: Callable[..., LoadedScenario], options: RunOptions) -> None:
    plan = plan_scenario(loaded(), options)
    assert plan.points == 4
    assert plan.longest_s > 0
    assert [step.action for step in plan.setup] == ["would build"]
    assert options.home is not None
    assert not options.home.exists()
    assert plan.as_dict()["points"][0]["parameters"] == {"workload.batch": 1, "load.concurrency": 1}


def test_a_mix_counts_the_items_of_each_request(loaded: Callable[..., LoadedScenario], options: RunOptions) -> None:
    recorder = Recorder()
    mix = "workload.mix=[{weight: 3, batch: 1}, {weight: 1, batch: 8}]"
    run_scenario(loaded(mix, "matrix.axes={load.concurrency: [4]}", "measure.requests=400"), options, recorder, rooms())
    [trial] = recorder.trials
    assert trial.summary is not None
    # The fake server counts items, too: a mix that it counts differently is flagged.
    assert "mismatch_server_count" not in {flag.code for flag in trial.flags}
    per_request = trial.summary.inferences_per_s.value / trial.summary.requests_per_s.value
    assert per_request == pytest.approx(trial.server[0].inference_count / 400)
    assert 2 < per_request < 3.6
    assert trial.labels["payload_mix"] == "3 × batch 1; 1 × batch 8"


def test_models_that_code_calls_are_loaded_and_read_when_they_are_named(
    loaded: Callable[..., LoadedScenario], options: RunOptions
) -> None:
    models = f"repository.models={{identity: {{from: {MODEL}}}, helper: {{from: {MODEL}}}}}"
    made, recorder = rooms(FakeServer({n: identity_model(n) for n in ("identity", "helper")})), Recorder()
    scenario = loaded(models, "workload.bls_models=[helper]", "matrix.axes={load.concurrency: [1]}")
    run_scenario(scenario, options, recorder, made)
    assert isinstance(made.runtime, FakeRuntime)
    assert made.runtime.started[0].load == ("helper", "identity")
    [trial] = recorder.trials
    assert [m.model for m in trial.bls] == ["helper"]
    assert [facts.model for facts in trial.facts] == ["identity", "helper"]


def test_an_unknown_model_that_code_calls_is_a_mistake(loaded: Callable[..., LoadedScenario]) -> None:
    with pytest.raises(ScenarioError) as caught:
        loaded("workload.bls_models=[nobody]")
    [mistake] = caught.value.diagnostics
    assert (mistake.code, mistake.address) == ("E120", "workload.bls_models.0")


def test_a_mix_raises_the_batch_that_the_model_must_take(loaded: Callable[..., LoadedScenario]) -> None:
    scenario = loaded("workload.mix=[{weight: 1, batch: 32}, {weight: 1}]").scenario
    assert largest_batch(scenario.workload) == 32


def test_shared_memory_that_the_service_refuses_fails_the_point_only(
    loaded: Callable[..., LoadedScenario], options: RunOptions
) -> None:
    outcome = run_scenario(loaded("workload.shared_memory=system", "workload.output_bytes=64B"), options, rooms=rooms())
    assert set(states(outcome)) == {"failed"}
    assert "shared memory" in outcome.problems[0]
