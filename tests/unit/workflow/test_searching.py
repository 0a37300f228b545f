"""A case of kind `sla`, measured by the ordinary path: a fake server, and an engine in virtual time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from runner.errors import UsageError
from runner.load.engine import LoadResult, OnSlices
from runner.load.fake import FakeEngine, constant
from runner.load.plan import LoadPlan, NullTransport
from runner.measure import trial as trial_module
from runner.report import console_table
from runner.results.capacity import Capacity, Probe, Verdict
from runner.results.records import Flag, Trial
from runner.runtimes.fake import FakeRuntime
from runner.scenario.loading import LoadedScenario, load_scenario
from runner.services.fake import FakeServer
from runner.services.kserve import KServeGrpc
from runner.tune.capacity import Ask
from runner.workflow import Outcome, Rooms, RunOptions, Silent, plan_scenario, run_scenario
from runner.workflow.searching import _settled
from runner.workflow.verifying import verify_run
from tests.unit.scenario_files import loader

MODEL = Path(__file__).parents[2] / "integration" / "resources" / "models" / "identity"
FILE = f"""scenario: 1
name: hunt
repository: {{models: {{identity: {{from: {MODEL}}}}}}}
workload: {{model: identity, input: {{INPUT0: {{generate: random, shape: [4]}}}}}}
load: {{kind: sla, percentile: 50, latency: 30ms, probe: {{first: 2s, max: 4s}}, confirm: {{window: 2s}}}}
measure: {{warmup: {{min_time: 200ms}}, drain: 1s, telemetry: {{sources: []}}}}
"""
CAPACITY_PER_S = 84.5
"""M/D/1 with 10 ms of service: there the median of the time in the system is 30 ms."""


class Blind(KServeGrpc):
    """Without counters: those of the fake server know nothing of a simulated load."""

    def statistics(self, models: Sequence[str]) -> tuple[()]:
        return ()


class Simulated:
    """An engine in virtual time whose own ceiling is far away; may stop the process after some loads."""

    def __init__(self, service_s: float = 0.01, dies_after: int | None = None) -> None:
        self.server, self.ceiling = FakeEngine(service=constant(service_s)), FakeEngine(service=constant(1e-4))
        self.loads, self.dies_after = 0, dies_after

    def run(self, plan: LoadPlan, payloads: Sequence[bytes], on_slices: OnSlices | None = None) -> LoadResult:
        if isinstance(plan.transport, NullTransport):
            return self.ceiling.run(replace(plan, max_duration_ns=10_000_000, slice_ns=1_000_000), payloads, on_slices)
        if self.loads == self.dies_after:
            raise KeyboardInterrupt
        self.loads += 1
        return self.server.run(plan, payloads, on_slices)


class Recorder(Silent):
    def __init__(self) -> None:
        self.probes: list[Probe] = []
        self.trials: list[Trial] = []

    def on_probe(self, case: Any, probe: Probe) -> None:
        self.probes.append(probe)

    def on_trial(self, trial: Trial) -> None:
        self.trials.append(trial)


@pytest.fixture(scope="module", autouse=True)
def hurried() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trial_module, "SETTLE_STEP_S", 0.0)
        yield


@dataclass(frozen=True)
class Searched:
    """One search, start to end, that several tests look at."""

    outcome: Outcome
    recorder: Recorder
    made: Rooms


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Searched:
    folder, made, recorder = tmp_path_factory.mktemp("search"), rooms(Simulated()), Recorder()
    (folder / "hunt.yaml").write_text(FILE)
    options = RunOptions(output_dir=folder / "runs", home=folder / "home")
    return Searched(run_scenario(load_scenario(folder / "hunt.yaml", env={}), options, recorder, made), recorder, made)


@pytest.fixture
def loaded(tmp_path: Path) -> Callable[..., LoadedScenario]:
    return loader(tmp_path / "hunt.yaml", FILE)


@pytest.fixture
def options(tmp_path: Path) -> RunOptions:
    return RunOptions(output_dir=tmp_path / "runs", home=tmp_path / "home")


def rooms(engine: Simulated) -> Rooms:
    return Rooms(FakeRuntime(FakeServer), engine, lambda endpoint, workload: Blind(endpoint.grpc))


def answer(outcome: Outcome) -> Capacity:
    (trial,) = outcome.run.trials.values()
    assert trial.capacity is not None
    return trial.capacity


def starts(made: Rooms) -> int:
    assert isinstance(made.runtime, FakeRuntime)
    return len(made.runtime.started)


def test_the_capacity_is_found_and_confirmed_on_a_fresh_server(searched: Searched) -> None:
    outcome, recorder, made = searched.outcome, searched.recorder, searched.made
    found = answer(outcome)
    assert found.status == "found", found
    assert found.level is not None
    assert 0.8 * CAPACITY_PER_S < found.level < 1.01 * CAPACITY_PER_S
    assert found.high is not None
    assert found.high > found.level
    (point,) = outcome.run.points()
    assert point.state == "ok"
    assert outcome.exit_code == 0
    stages = [probe.stage for probe in recorder.probes]
    assert stages[0] == "alone"
    assert stages[-2:] == ["confirm", "confirm"]
    confirmed = {probe.level for probe in recorder.probes if probe.stage == "confirm"}
    assert starts(made) == 1 + len(confirmed)
    assert tuple(recorder.probes) == found.attempts[0].probes


def test_every_load_is_in_the_journal_and_none_in_the_tables(searched: Searched) -> None:
    outcome, recorder = searched.outcome, searched.recorder
    (kept,) = outcome.run.probes.values()
    assert [trial.probe for trial in kept] == recorder.probes
    assert all((outcome.directory / str(trial.raw)).exists() for trial in kept)
    assert len({trial.raw for trial in kept}) == len(kept)
    assert len(outcome.run.points()) == len(recorder.trials) == 1
    assert len((outcome.directory / "points.csv").read_text().splitlines()) == 2
    assert "capacity" in console_table(outcome.run)


def test_a_killed_search_goes_on_with_the_next_load_and_comes_to_the_same_answer(
    loaded: Callable[..., LoadedScenario], options: RunOptions
) -> None:
    scenario = loaded("load.attempts=2", "load.range={max: 40/s}")
    undisturbed = answer(
        run_scenario(scenario, replace(options, output_dir=options.output_dir / "a"), None, rooms(Simulated()))
    )
    killed, resumed = Simulated(dies_after=13), Simulated()
    with pytest.raises(KeyboardInterrupt):
        run_scenario(scenario, options, None, rooms(killed))
    outcome = run_scenario(scenario, replace(options, resume=True), None, rooms(resumed))
    again = answer(outcome)
    assert [without_times(attempt.probes) for attempt in again.attempts] == [
        without_times(attempt.probes) for attempt in undisturbed.attempts
    ]
    assert again.level == undisturbed.level
    assert killed.loads + resumed.loads == sum(len(attempt.probes) for attempt in again.attempts)
    assert resumed.loads > 0


def without_times(probes: Sequence[Probe]) -> list[Probe]:
    return [replace(probe, elapsed_s=0.0) for probe in probes]


def test_a_limit_that_one_request_alone_misses_ends_the_search_at_once(
    loaded: Callable[..., LoadedScenario], options: RunOptions
) -> None:
    engine = Simulated(service_s=0.04)
    outcome = run_scenario(loaded(), options, None, rooms(engine))
    found = answer(outcome)
    assert (found.status, found.level, engine.loads) == ("infeasible", None, 1)
    assert "one request at a time" in found.reason
    assert outcome.exit_code == 10
    assert "infeasible" in console_table(outcome.run)


def test_a_range_that_never_misses_says_at_least(loaded: Callable[..., LoadedScenario], options: RunOptions) -> None:
    outcome = run_scenario(loaded("load.range={max: 40/s}"), options, None, rooms(Simulated()))
    found = answer(outcome)
    assert (found.status, found.level, found.high) == ("at least", 40.0, None)
    assert "the range ends at 40" in found.reason
    assert outcome.exit_code == 0


def test_over_concurrency_the_answer_is_a_number_of_requests_in_flight(
    loaded: Callable[..., LoadedScenario], options: RunOptions
) -> None:
    found = answer(run_scenario(loaded("load.over=concurrency"), options, None, rooms(Simulated())))
    assert (found.status, found.level, found.high) == ("found", 3, 4)
    assert found.per_s == pytest.approx(100, rel=0.02)


def test_without_a_limit_the_knee_is_a_hint(loaded: Callable[..., LoadedScenario], options: RunOptions) -> None:
    found = answer(run_scenario(loaded("load={kind: sla, probe: {first: 1s}}"), options, None, rooms(Simulated())))
    assert (found.status, found.level, found.strategy) == ("hint", 1, "knee")
    assert "hint" in found.reason


def test_verify_makes_the_answer_again(searched: Searched, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(searched.outcome.directory, tmp_path / "copy"))
    assert verify_run(folder).discrepancies == ()
    journal = folder / "journal.jsonl"
    lines = journal.read_text().splitlines()
    (number,) = (n for n, line in enumerate(lines) if '"capacity":{' in line)
    body = json.loads(lines[number])
    body["capacity"]["level"] *= 1.1
    journal.write_text("\n".join([*lines[:number], json.dumps(body), *lines[number + 1 :], ""]))
    assert any(each.field == "capacity" for each in verify_run(folder).discrepancies)


def test_a_forged_verdict_is_found(searched: Searched, tmp_path: Path) -> None:
    """The loads that failed are called unresolved, which would leave the capacity open above its answer."""
    folder = Path(shutil.copytree(searched.outcome.directory, tmp_path / "copy"))
    journal = folder / "journal.jsonl"
    text = journal.read_text()
    forged = [line.replace('"verdict":"fail"', '"verdict":"unresolved"') for line in text.splitlines()]
    assert "\n".join(forged) != text
    journal.write_text("\n".join([*forged, ""]))
    wrong = {(each.field, each.expected, each.got) for each in verify_run(folder).discrepancies}
    assert ("probe.verdict", "fail", "unresolved") in wrong


@pytest.mark.parametrize(
    ("code", "verdict", "dropped", "settled"),
    [
        ("client_limited", "pass", 0, "pass"),  # latency counts from the intended send: the server is no slower
        ("client_limited", "fail", 0, "invalid"),
        ("foreign_load", "unresolved", 0, "invalid"),
        ("saturated", "fail", 0, "fail"),
        ("not_delivered", "fail", 7, "fail"),  # what was dropped is missed
        ("not_delivered", "pass", 0, "invalid"),  # what was never due at that rate is no load of it
        ("mismatch_server_count", "pass", 0, "invalid"),
    ],
)
def test_a_flag_spoils_the_verdict_that_it_could_have_made(
    searched: Searched, code: str, verdict: Verdict, dropped: int, settled: Verdict
) -> None:
    (kept,) = searched.outcome.run.probes.values()
    trial, probe = kept[-1], kept[-1].probe
    assert probe is not None
    assert trial.counts is not None
    flagged = replace(
        trial,
        flags=(Flag(code, 1.0, 0.0, "invalidates", "because"),),
        probe=replace(probe, verdict=verdict),
        counts=replace(trial.counts, dropped=dropped),
    )
    ask = Ask(probe.stage, probe.over, probe.level, "verdict", 1.0, 1.0)
    assert _settled(flagged, ask, 0, 0).verdict == settled
    mild = replace(flagged, flags=(replace(flagged.flags[0], consequence="informs"),))
    assert _settled(mild, ask, 0, 0).verdict == verdict


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("measure.repeats=3", "measure.repeats: a search is repeated as a whole"),
        ("measure.soak=true", "measure.soak"),
        ("measure={requests: 9}", "measure.requests"),
        ("measure.stability={kind: windows}", "measure.stability.kind"),
    ],
)
def test_what_a_search_would_leave_aside_is_refused(
    loaded: Callable[..., LoadedScenario], options: RunOptions, override: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        run_scenario(loaded(override), options, None, rooms(Simulated()))


def test_a_plan_knows_how_long_a_search_may_take(loaded: Callable[..., LoadedScenario], options: RunOptions) -> None:
    plan = plan_scenario(loaded("load.budget={time: 60s}", "load.attempts=2"), options)
    assert plan.longest_s == pytest.approx(2 * (60 + 2 * (0.2 + 4 + 1)))
