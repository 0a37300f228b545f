"""`tune_scenario`: what the search tries, what stops it, and that no point's misbehaviour does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from runner.errors import ServiceError, UsageError
from runner.report import write_reports
from runner.runtimes.base import RunningServer, ServerSpec
from runner.workflow import RunOptions, run_scenario
from runner.workflow.reporting import write_all_reports
from runner.workflow.tuning import StudyOutcome, preview_study
from runner.workflow.verifying import verify_run
from tests.unit.scenario_files import Load
from tests.unit.workflow.study_support import DELAY, MODE, Laboratory, Watcher, disturbing

pytestmark = pytest.mark.usefixtures("_no_ceiling")


def outcomes(outcome: StudyOutcome) -> dict[str, list[str]]:
    """Outcome -> values of the mode that had it."""
    found: dict[str, list[str]] = {}
    for trial in outcome.study.trials:
        found.setdefault(trial.outcome, []).append(str(trial.point.get(MODE)))
    return found


def journal(outcome: StudyOutcome) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (outcome.directory / "journal.jsonl").read_text().splitlines()]


# --- the search ---------------------------------------------------------------------------------------------------


def test_a_grid_tries_the_file_first_and_then_every_point_once(load: Load, lab: Laboratory) -> None:
    outcome = lab.study(load())
    points = [trial.point["load.concurrency"] for trial in outcome.study.trials]
    assert points == [2, 1, 3, 4, 5]
    assert outcome.study.ended == "every point of the space was tried"
    assert outcome.exit_code == 0


def test_points_that_share_a_server_run_on_one(load: Load, lab: Laboratory) -> None:
    outcome = lab.study(load(f"tune.space={{load.concurrency: [1, 2, 4], {DELAY}: [4, 2]}}"))
    assert len(outcome.study.trials) == 6
    assert len(lab.runtime.started) == 2, "the grid goes to and fro between two configurations"


def test_the_best_point_is_the_fastest(load: Load, lab: Laboratory) -> None:
    outcome = lab.study(load(f"tune.space={{{DELAY}: [60, 1, 100]}}"))
    (best,) = outcome.study.front
    assert best.point == {DELAY: 1}
    values = [trial.values[0].value for trial in outcome.study.trials]
    assert best.values[0].value == max(values)


def test_budget_of_points(load: Load, lab: Laboratory) -> None:
    outcome = lab.study(load("tune.budget.trials=3"))
    assert len(outcome.study.trials) == 3
    assert "3 points tried" in str(outcome.study.ended)


def test_patience(load: Load, lab: Laboratory) -> None:
    outcome = lab.study(load("tune.budget.patience=2", f"tune.space={{{DELAY}: [60, 70, 80, 90]}}"))
    assert len(outcome.study.trials) == 3, "the file itself takes 4 ms, and nothing is better"
    assert "2 points in a row without an improvement" in str(outcome.study.ended)


def test_a_point_that_could_outlast_the_budget_is_not_begun(load: Load, lab: Laboratory) -> None:
    """Thirty requests are done in a moment, but a point may take as long as its cap."""
    outcome = lab.study(load("tune.budget.time=5s"))
    assert len(outcome.study.trials) == 1, "the file itself is always measured"
    assert "another point could take" in str(outcome.study.ended)


def test_excluded_points_are_recorded_and_never_run(load: Load, lab: Laboratory) -> None:
    watcher = Watcher()
    outcome = lab.study(load("tune.exclude=['load.concurrency > 3']"), watcher)
    infeasible = [trial for trial in outcome.study.trials if trial.outcome == "infeasible"]
    assert [trial.point["load.concurrency"] for trial in infeasible] == [4, 5]
    assert {trial.reason for trial in infeasible} == {"excluded: load.concurrency > 3"}
    assert len(watcher.cases) == 3


def test_anchors_are_the_file_measured_again(load: Load, lab: Laboratory) -> None:
    outcome = lab.study(load("tune.anchor_every=2"))
    assert [trial.repeat for trial in outcome.run.anchors] == [0, 1]
    assert {trial.load["concurrency"] for trial in outcome.run.anchors} == {2}
    assert len(outcome.study.drifts) == 1, "the file's own trial and two anchors can be compared"


# --- screening ----------------------------------------------------------------------------------------------------


SCREENED = (
    "measure={window: {min: 400ms, max: 400ms}, warmup: {min_time: 50ms, min_requests_per_slot: 1}, drain: 500ms, "
    "telemetry: {sources: []}}",
    "tune.screen={window: 200ms}",
)


def test_a_clear_loser_ends_with_its_probe_and_keeps_its_numbers(load: Load, lab: Laboratory) -> None:
    outcome = lab.study(load(f"tune.space={{{DELAY}: [4, 60, 1]}}", *SCREENED))
    by_delay = {trial.point[DELAY]: trial for trial in outcome.study.trials}
    loser, winner = by_delay[60], by_delay[1]
    assert (loser.outcome, winner.outcome) == ("pruned", "measured")
    assert "better in every objective" in loser.reason
    assert loser.values[0].value < winner.values[0].value
    made = [event for event in journal(outcome) if event["kind"] == "trial"]
    kept = {(trial["case_id"], trial["labels"].get("screening")) for trial in made}
    assert (loser.case_id, "probe of 0.2 s") in kept
    assert (winner.case_id, None) in kept, "a survivor is measured in full after its probe"


# --- what points do wrong ------------------------------------------------------------------------------------------


def test_traps_are_recorded_with_their_reason_and_the_study_goes_on(load: Load, lab: Laboratory) -> None:
    modes = f"tune.space={{{MODE}: [good, broken, silent, wrong, dying, slow]}}"
    # Two rounds of requests that wait for the silent one, and the others have a second for 40 ms.
    outcome = lab.study(load(modes, "load.concurrency=6", "measure.requests=12", "workload.timeout=1s"))
    assert outcomes(outcome) == {"measured": ["good", "slow"], "failed": ["broken", "silent", "wrong", "dying"]}
    reasons = {trial.point[MODE]: trial.reason for trial in outcome.study.trials}
    assert "ready" in reasons["broken"]
    assert "timeout" in reasons["silent"]
    assert "wrong_output" in reasons["wrong"]
    assert "server ended" in reasons["dying"]
    assert [trial.point[MODE] for trial in outcome.study.front] == ["good"]
    assert verify_run(outcome.directory).discrepancies == ()


def test_wrong_answers_are_told_by_those_of_the_file_not_by_their_own(load: Load, lab: Laboratory) -> None:
    """A server that is wrong from the start answers its own reference wrongly, too."""
    outcome = lab.study(load(f"tune.space={{{MODE}: [wrong]}}"))
    own, trap = outcome.study.trials
    assert (own.outcome, trap.outcome) == ("measured", "failed")
    assert "wrong_output" in trap.reason


def test_a_configuration_that_does_not_come_up_is_not_started_again(load: Load, lab: Laboratory) -> None:
    outcome = lab.study(load(f"tune.space={{{MODE}: [broken], load.concurrency: [1, 2, 4]}}"))
    assert outcomes(outcome)["failed"] == ["broken"] * 3
    assert lab.runtime.modes.count("broken") == 1


def test_what_setup_refuses_is_a_failed_point(load: Load, lab: Laboratory) -> None:
    outcome = lab.study(load("tune.space={workload.batch: [1, 128]}"))
    last = outcome.study.trials[-1]
    assert (last.outcome, "128" in last.reason) == ("failed", True), last.reason


def test_a_file_that_cannot_be_measured_stops_the_study_at_once(load: Load, lab: Laboratory) -> None:
    loaded = load(f"{MODE}=silent", f"tune.space={{{MODE}: [good]}}", "measure.requests=2", "workload.timeout=500ms")
    with pytest.raises(ServiceError, match="nothing to compare with"):
        lab.study(loaded)
    assert lab.runtime.modes == ["silent"]


def test_a_disturbed_first_point_is_measured_again(
    load: Load, lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other load on the machine says nothing about the file."""
    made = disturbing(monkeypatch, lambda number, trial: number == 0)
    outcome = lab.study(load("tune.budget.trials=1"))
    assert len(made) == 2
    assert [trial.outcome for trial in outcome.study.trials] == ["measured"]


def test_any_other_disturbed_point_is_measured_once_more(
    load: Load, lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = disturbing(monkeypatch, lambda number, trial: number == 1 or trial.load["concurrency"] == 3)
    outcome = lab.study(load("tune.budget.trials=3"))
    assert [trial.load["concurrency"] for trial in made] == [2, 1, 1, 3, 3], "once more, not for ever"
    assert [trial.outcome for trial in outcome.study.trials] == ["measured", "measured", "failed"]
    assert "foreign_load" in outcome.study.trials[-1].reason


def test_a_disturbed_point_is_not_measured_again_without_time_for_it(
    load: Load, lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = disturbing(monkeypatch, lambda number, trial: number == 1)
    monkeypatch.setattr("runner.workflow.tuning.search.Search._has_time_for", lambda search, case: False)
    outcome = lab.study(load("tune.budget.trials=2"))
    assert len(made) == 2
    assert [trial.outcome for trial in outcome.study.trials] == ["measured", "failed"]


def test_many_failures_make_the_file_be_measured_again(load: Load, lab: Laboratory) -> None:
    modes = ", ".join(f"broken{n}" for n in range(1, 7))
    lab.runtime.start = starting_once(lab.runtime.start)  # type: ignore[method-assign]
    with pytest.raises(ServiceError, match="was measured before, and fails now"):
        lab.study(load(f"tune.space={{{MODE}: [{modes}]}}"))


Start = Callable[[ServerSpec], AbstractContextManager[RunningServer]]


def starting_once(start: Start) -> Start:
    """A machine on which nothing starts any more after the first server."""
    started: list[ServerSpec] = []

    @contextmanager
    def starts(spec: ServerSpec) -> Iterator[RunningServer]:
        started.append(spec)
        if len(started) > 1:
            raise ServiceError("no more servers")
        with start(spec) as server:
            yield server

    return starts


def test_a_file_without_tune_is_refused(load: Load, lab: Laboratory, tmp_path: Path) -> None:
    loaded = load("tune=null")
    with pytest.raises(UsageError, match="has no `tune`"):
        lab.study(loaded)
    assert not (tmp_path / "runs").exists()


def test_no_acceptable_point_is_said_and_has_its_exit_code(load: Load, lab: Laboratory) -> None:
    outcome = lab.study(load("tune.constraints=['latency.p50 <= 1us']", "tune.budget.trials=2"))
    assert outcome.exit_code == 5
    assert "No acceptable point" in outcome.study.conclusion
    assert "comes nearest" in outcome.study.conclusion


# --- stopping and going on ----------------------------------------------------------------------------------------


def test_a_stopped_study_goes_on_with_the_same_points(load: Load, lab: Laboratory, tmp_path: Path) -> None:
    loaded = load("tune.strategy={kind: random, seed: 5}", "tune.budget.trials=5")
    whole = Laboratory(tmp_path / "whole").study(loaded)
    with pytest.raises(KeyboardInterrupt):
        lab.study(loaded, Watcher(stop_after=2))
    (directory,) = (tmp_path / "runs").iterdir()
    assert (directory / "study.json").exists(), "reports cover what is there"
    with pytest.raises(UsageError, match="no run of fake"):
        run_scenario(loaded, RunOptions(output_dir=tmp_path / "runs", home=tmp_path / "home", resume=True))
    second = Watcher()
    resumed = lab.study(loaded, second, resume=True)
    assert resumed.directory == directory
    assert [each.number for each in second.observations] == [2, 3, 4], "finished points are not tried again"
    assert [trial.point for trial in resumed.study.trials] == [trial.point for trial in whole.study.trials]
    assert len(resumed.run.anchors) == 1, "the machine may have changed in between"
    with pytest.raises(UsageError, match="is concluded"):
        lab.study(loaded, resume=True)


def test_reports_are_the_same_from_the_journal_alone(load: Load, lab: Laboratory) -> None:
    outcome = lab.study(load("tune.budget.trials=3"))
    before = {name: (outcome.directory / name).read_bytes() for name in ("study.json", "trials.csv", "points.csv")}
    for name in before:
        (outcome.directory / name).unlink()
    write_all_reports(outcome.directory)
    assert {name: (outcome.directory / name).read_bytes() for name in before} == before
    assert write_reports(outcome.directory), "the tables of any run can be made without knowing of studies"


# --- before a study -----------------------------------------------------------------------------------------------


def test_a_preview_changes_nothing(load: Load, tmp_path: Path) -> None:
    preview = preview_study(load("tune.exclude=['load.concurrency == 3']", "tune.confirm={top: 2, repeats: 6}"))
    assert preview.size == 5
    assert preview.confirmations == 18
    assert preview.first[0] == ({"load.concurrency": 2}, None)
    problems = {point["load.concurrency"]: problem for point, problem in preview.first}
    assert problems[3] == "excluded: load.concurrency == 3"
    assert not (tmp_path / "runs").exists()
