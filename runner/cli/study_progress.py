"""Progress of a study on stderr: as that of a run, and a line for every finished point."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from runner.cli.console import note
from runner.cli.progress import LiveObserver, PlainObserver, outcome, wants_live
from runner.units import counted
from runner.workflow.tuning import SilentStudy, StudyObserver

if TYPE_CHECKING:
    from runner.results.records import Trial
    from runner.scenario.case import Case
    from runner.setup.base import StepReport
    from runner.tune.base import Observation


@contextmanager
def study_observer_for(mode: str) -> Iterator[StudyObserver]:
    """The observer for `auto`, `live`, `plain` or `none`; a live display is closed on leaving."""
    if mode == "none":
        yield SilentStudy()
    elif wants_live(mode):
        live = LiveStudy()
        with live:
            yield live
    else:
        yield PlainStudy()


class PlainStudy(PlainObserver):
    """One line per event, for logs and CI."""

    def on_run(self, directory: Path, points: int, done: int) -> None:
        note(f"study directory {directory}")
        if done:
            note(f"resumed: {counted(done, 'point')} finished already")

    def on_step(self, report: StepReport) -> None:
        if report.action != "reused":
            super().on_step(report)

    def on_case(self, case: Case) -> None:
        self._begin(case)
        note(f"measuring {_point(case)}")

    def on_trial(self, trial: Trial) -> None:
        note(f"  {_kind(trial)}{outcome(trial)}")

    def on_observation(self, observation: Observation, improved: bool) -> None:
        note(observed(observation, improved))

    def on_phase(self, message: str) -> None:
        note(message)


class LiveStudy(LiveObserver):
    """A line for what happens now; finished points scroll by above it."""

    def on_run(self, directory: Path, points: int, done: int) -> None:
        super().on_run(directory, points, done)
        most = counted(points, "point") if points else "any number of points"
        self._say(f"resumed: {counted(done, 'point')} finished already" if done else f"at most {most}")

    def on_step(self, report: StepReport) -> None:
        if report.action != "reused":
            super().on_step(report)

    def on_trial(self, trial: Trial) -> None:
        if trial.anchor:
            self._say(f"the file's own point again: {outcome(trial)}")

    def on_observation(self, observation: Observation, improved: bool) -> None:
        self._say(observed(observation, improved))
        self._advance()

    def on_phase(self, message: str) -> None:
        self._say(message)


def observed(observation: Observation, improved: bool) -> str:
    """A finished point in one line."""
    values = ", ".join(f"{value:.4g}" for value in observation.values or ())
    words = [f"point {observation.number} {observation.outcome}"]
    words += [values] if values else []
    words += (
        [f"misses {' and '.join(f'`{text}`' for text in observation.violations)}"] if observation.violations else []
    )
    words += [observation.reason] if observation.reason else []
    return f"{': '.join(words[:1])}{': ' if len(words) > 1 else ''}{'; '.join(words[1:])}{' *' if improved else ''}"


def _point(case: Case) -> str:
    shown = " ".join(f"{address.rpartition('.')[2]}={value}" for address, value in case.parameters.items())
    return f"{case.id} ({shown})" if shown else case.id


def _kind(trial: Trial) -> str:
    return "anchor: " if trial.anchor else "probe: " if trial.labels.get("screening") else ""
