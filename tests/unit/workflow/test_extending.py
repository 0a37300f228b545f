"""`scenario tune --resume` with a larger budget: what is kept, what is judged again, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from runner.errors import UsageError
from runner.report.study_text import study_text
from runner.results.directory import RunWriter
from runner.results.run import Run
from runner.tune.winner import Outcome
from runner.workflow.tuning import concluding
from runner.workflow.verifying import verify_run
from tests.unit.scenario_files import Load
from tests.unit.workflow.study_support import DELAY, Laboratory, Watcher

pytestmark = pytest.mark.usefixtures("_no_ceiling")
RANDOM = "tune.strategy={kind: random, seed: 5}"
QUICK = ("measure.requests=10", f"{DELAY}=24")


def confirmed(watcher: Watcher) -> list[str]:
    """The measurements of confirmations that a watcher saw."""
    return [case_id for case_id in watcher.cases if case_id.startswith("confirm-")]


# --- the search ---------------------------------------------------------------------------------------------------


def test_a_finished_study_goes_on_with_a_larger_budget_and_keeps_its_points(
    load: Load, lab: Laboratory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Laboratory(tmp_path / "whole").study(load(RANDOM, "tune.budget.trials=5"))
    first = lab.study(load(RANDOM, "tune.budget.trials=3"))
    watcher = Watcher()
    command = ["/opt/bin/scenario", "tune", "a b.yaml", "--resume", "--set", "env.TOKEN=hunter2"]
    monkeypatch.setattr("sys.argv", command)
    extended = lab.study(load(RANDOM, "tune.budget.trials=5"), watcher, resume=True)
    told = "extended by: scenario tune 'a b.yaml' --resume --set 'env.TOKEN="
    assert told in study_text(extended.run, extended.study), "not the command that began it"
    assert "hunter2" not in (extended.directory / "journal.jsonl").read_text()
    assert extended.directory == first.directory
    assert [each.number for each in watcher.observations] == [3, 4], "finished points are not tried again"
    kept = [replace(each, on_front=False) for each in extended.study.trials[:3]]
    assert kept == [replace(each, on_front=False) for each in first.study.trials]
    assert [each.point for each in extended.study.trials] == [each.point for each in whole.study.trials]
    assert len(extended.run.anchors) == 1, "the machine may have changed in between"
    assert extended.study.tune["budget"]["trials"] == 5
    assert str(extended.study.ended).startswith("5 points tried")
    assert "trials: 5" in (extended.directory / "resolved.yaml").read_text()
    assert verify_run(extended.directory).discrepancies == ()
    with pytest.raises(UsageError, match="is concluded") as caught:
        lab.study(load(RANDOM, "tune.budget.trials=5"), resume=True)
    assert "larger budget" in str(caught.value.hint)


def test_another_kind_of_limit_extends_a_study_too(load: Load, lab: Laboratory) -> None:
    lab.study(load(RANDOM, "tune.budget.time=5s"))
    extended = lab.study(load(RANDOM, "tune.budget.trials=3"), resume=True)
    assert len(extended.study.trials) == 3


def test_a_study_that_is_stopped_while_it_is_extended_goes_on(load: Load, lab: Laboratory) -> None:
    lab.study(load(RANDOM, "tune.budget.trials=2"))
    larger = load(RANDOM, "tune.budget.trials=4")
    with pytest.raises(KeyboardInterrupt):
        lab.study(larger, Watcher(stop_after=1), resume=True)
    watcher = Watcher()
    done = lab.study(larger, watcher, resume=True)
    assert [each.number for each in watcher.observations] == [3]
    assert len(done.study.trials) == 4


def test_a_kill_between_the_journal_and_the_manifest_leaves_a_study_that_can_be_extended(
    load: Load, lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.study(load(RANDOM, "tune.budget.trials=2"))
    with monkeypatch.context() as patch:
        patch.setattr(RunWriter, "write_resolved", _killed)
        with pytest.raises(KeyboardInterrupt):
            lab.study(load(RANDOM, "tune.budget.trials=4"), resume=True)
    done = lab.study(load(RANDOM, "tune.budget.trials=4"), resume=True)
    assert len(done.study.trials) == 4
    assert verify_run(done.directory).discrepancies == ()


def _killed(writer: RunWriter, resolved: str) -> None:
    raise KeyboardInterrupt


# --- what is refused ----------------------------------------------------------------------------------------------


def test_a_budget_that_is_spent_already_is_refused_before_anything_is_written(load: Load, lab: Laboratory) -> None:
    first = lab.study(load(RANDOM, "tune.budget.trials=3"))
    before = (first.directory / "journal.jsonl").read_bytes()
    with pytest.raises(UsageError, match=r"has spent the budget that is given now: 3 points tried"):
        lab.study(load(RANDOM, "tune.budget.trials=2"), resume=True)
    assert (first.directory / "journal.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("override", "differs"),
    [
        ("tune.space={load.concurrency: {int: [1, 4]}}", "tune.space.load.concurrency.int.1: 5 -> 4"),
        ("tune.objectives={latency.p99: min}", "tune.objectives.latency.p99: absent -> min"),
        ("workload.batch=2", "workload.batch: 1 -> 2"),
    ],
)
def test_any_other_change_is_refused_and_named(load: Load, lab: Laboratory, override: str, differs: str) -> None:
    lab.study(load(RANDOM, "tune.budget.trials=1"))
    with pytest.raises(UsageError) as caught:
        lab.study(load(RANDOM, "tune.budget.trials=3", override), resume=True)
    assert differs in caught.value.message
    assert "tune.budget" not in caught.value.message, "that is what may change"
    assert "only tune.budget may be another" in str(caught.value.hint)


# --- the winner ---------------------------------------------------------------------------------------------------


def test_the_confirmation_stands_where_the_same_points_are_the_best(load: Load, lab: Laboratory) -> None:
    file = (*QUICK, f"tune.space={{{DELAY}: [4, 40]}}", "tune.confirm={top: 1, repeats: 2}")
    first = lab.study(load(*file, "tune.budget.trials=2"))
    watcher = Watcher()
    extended = lab.study(load(*file, "tune.budget.trials=3"), watcher, resume=True)
    assert confirmed(watcher) == [], "nothing new is claimed, so nothing has to be shown again"
    assert extended.study.contenders == first.study.contenders
    assert extended.study.conclusion == first.study.conclusion
    assert (extended.study.confirmation, extended.study.confidence) == (1, 0.95)


def test_other_contenders_are_all_confirmed_afresh_the_former_winner_among_them(load: Load, lab: Laboratory) -> None:
    file = (*QUICK, f"tune.space={{{DELAY}: [8, 1]}}", "tune.confirm={top: 1, repeats: 6}")
    first = lab.study(load(*file, "tune.budget.trials=2"))
    assert first.study.winner == 1
    watcher = Watcher()
    extended = lab.study(load(*file, "tune.budget.trials=3"), watcher, resume=True)
    study = extended.study
    assert len(confirmed(watcher)) == 18, "the file, the new best and the former winner, in six blocks"
    assert all(case_id.startswith("confirm-2-") for case_id in confirmed(watcher))
    assert {each.number for each in study.contenders} == {0, 1, 2}
    assert {each.blocks for each in study.contenders} == {6}, "no block of the first confirmation counts"
    assert study.winner == 2
    assert (study.confirmation, study.confidence) == (2, pytest.approx(0.975))
    assert "(confirmation 2 of this study, with intervals of 97.5 %)" in study_text(extended.run, study)
    written = yaml.safe_load(Path(str(study.written)).read_text())
    assert written["repository"]["models"]["identity"]["args"] == {"delay_ms": 1}
    assert verify_run(extended.directory).discrepancies == ()


def test_a_winner_that_does_not_stand_takes_its_file_with_it(
    load: Load, lab: Laboratory, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = (*QUICK, f"tune.space={{{DELAY}: [4, 40]}}", "tune.confirm={top: 1, repeats: 2}")
    says: list[tuple[str, str | None]] = [("winner", "point 1"), ("no_significant_gain", None)]
    judge = concluding.judge_confirmation

    def judged(run: Run) -> Outcome:
        call, winner = says.pop(0)
        return replace(judge(run), call=call, winner=winner)

    monkeypatch.setattr(concluding, "judge_confirmation", judged)
    first = lab.study(load(*file, "tune.budget.trials=2"))
    tuned = Path(str(first.study.written))
    assert tuned.exists()
    extended = lab.study(load(*file, "tune.budget.trials=3"), resume=True)
    assert (extended.study.winner, extended.study.written) == (None, None)
    assert not tuned.exists()
