"""The end of a study: whether a winner is named, in one sentence, and the file that makes it the scenario's values."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from runner.results.study_events import Concluded
from runner.units import counted
from runner.workflow.tuning.override import changed_values, write_override
from runner.workflow.tuning.summary import judge_confirmation, number_of, observations_of

if TYPE_CHECKING:
    from runner.results.directory import RunDirectory, RunWriter
    from runner.results.records import Estimate
    from runner.results.study_events import StudyLog
    from runner.tune.base import Observation
    from runner.tune.winner import Outcome
    from runner.workflow.tuning.plan import StudyPlan


_WITHOUT_WINNER = {
    "no_significant_gain": "No significant gain",
    "worse": "No gain",
    "undecided": "Undecided",
    "no_comparison": "Nothing was confirmed",
}


def conclude(plan: StudyPlan, directory: RunDirectory, writer: RunWriter) -> None:
    """Write the winner's values where there is a winner, and the last event of the study."""
    run = directory.load()
    assert run.study is not None
    observations = observations_of(run.study)
    judged = judge_confirmation(run)
    if judged is None:
        writer.note(Concluded(None, _unconfirmed(plan, observations)))
        return
    if judged.winner is None:
        _withdraw(plan, directory, run.study)
        writer.note(Concluded(None, f"{_WITHOUT_WINNER[judged.call]}: {judged.reason}. The file's own values stay."))
        return
    number = number_of(judged.winner)
    winner = next(each for each in observations if each.number == number)
    text = f"Point {number} wins: {judged.reason}{_each_objective(judged, judged.winner)}."
    writer.note(Concluded(number, text, _write(plan, directory, winner, text)))


def _withdraw(plan: StudyPlan, directory: RunDirectory, log: StudyLog) -> None:
    """Remove the file of a point that won before the study was extended and does not any more."""
    path = _override_path(plan, directory)
    if path is not None and log.former is not None and log.former.written is not None:
        path.unlink(missing_ok=True)


def _override_path(plan: StudyPlan, directory: RunDirectory) -> Path | None:
    """Where the winner's values go; None where the scenario asks for no file."""
    return None if plan.tune.write is None else directory.path / Path(plan.tune.write).expanduser()


def _each_objective(judged: Outcome, winner: str) -> str:
    """The change of every objective, where the gain is one number over several."""
    gains = next(each.gains for each in judged.standings if each.contender == winner)
    changes = (f"{each.objective} {_percent(each.change)}" for each in gains)
    return f" over all objectives: {', '.join(changes)}" if len(gains) > 1 else ""


def _percent(change: Estimate) -> str:
    if change.low is None or change.high is None:
        return f"{change.value:+.1%}"
    return f"{change.value:+.1%} ({change.low:+.1%} to {change.high:+.1%})"


def _write(plan: StudyPlan, directory: RunDirectory, winner: Observation, reason: str) -> str | None:
    """The override file; None where the scenario asks for none."""
    path = _override_path(plan, directory)
    if path is None:
        return None
    confirm = plan.tune.confirm
    assert confirm is not None
    heading = (
        f"Made by `scenario tune`, study {directory.name} of {plan.loaded.source.name}.\n{reason}\n"
        f"Objectives: {_goals(plan)}. Measured head to head with the file's own values in "
        f"{counted(confirm.repeats, 'block')}, each time on a fresh server."
    )
    options = write_override(plan.loaded, changed_values(winner.point, plan.space.current), heading, path)
    if options:
        plan.observer.on_phase(f"{path} cannot say everything; give {' '.join(options)} beside it")
    return str(path)


def _goals(plan: StudyPlan) -> str:
    goals = ", ".join(f"{each.name} {each.direction}" for each in plan.goals.objectives)
    return goals + (f", where {' and '.join(plan.tune.constraints)}" if plan.tune.constraints else "")


def _unconfirmed(plan: StudyPlan, observations: list[Observation]) -> str:
    """Why there was nothing to confirm."""
    acceptable = [each for each in observations if each.acceptable]
    if not acceptable:
        return f"No acceptable point: {_nearest(observations)}"
    if all(each.number == 0 for each in acceptable):
        return "No other point is acceptable: the file's own values stay."
    return "No winner is named, as `tune.confirm` is null: the front is what the search measured once."


def _nearest(observations: list[Observation]) -> str:
    """The point that misses its constraints by the least."""
    measured = [each for each in observations if each.outcome == "measured"]
    if not measured:
        return "none could be measured."
    nearest = min(measured, key=lambda each: sum(each.violations.values()))
    missed = "; ".join(f"`{text}` by {amount:.1%}" for text, amount in nearest.violations.items())
    return f"point {nearest.number} comes nearest and misses {missed}."
