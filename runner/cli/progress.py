"""Progress on stderr: a live display on a terminal, plain lines elsewhere, nothing when asked.

The display is redrawn at most four times a second: it shares the machine with the load engine and the server.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from runner.cli.console import is_terminal, note, use_color
from runner.results.sentence import capacity_sentence
from runner.workflow import Observer, Silent

if TYPE_CHECKING:
    from rich.progress import TaskID

    from runner.measure.watch import TrialProgress
    from runner.results.capacity import Probe
    from runner.results.records import Trial
    from runner.scenario.case import Case
    from runner.setup.base import Progress, StepReport

PLAIN_PROGRESS_EVERY_S = 10.0


@contextmanager
def observer_for(mode: str) -> Iterator[Observer]:
    """The observer for `auto`, `live`, `plain` or `none`; a live display is closed on leaving."""
    if mode == "none":
        yield Silent()
    elif wants_live(mode):
        with LiveObserver() as live:
            yield live
    else:
        yield PlainObserver()


def wants_live(mode: str) -> bool:
    """Whether a display is redrawn: where it is asked for, else on a terminal."""
    return mode == "live" or (mode == "auto" and is_terminal(sys.stderr))


class PlainObserver:
    """One line per event, for logs and CI."""

    def __init__(self) -> None:
        self._eta = Eta()
        self._last_line = 0.0
        self._case = ""

    def on_run(self, directory: Path, points: int, done: int) -> None:
        self._eta = Eta(points, done)
        note(f"run directory {directory}")
        if done:
            note(f"resumed: {done} of {points} points are measured already")

    def on_setup(self, progress: Progress) -> None:
        if self._due():
            note(f"setup {progress.step}: {progress.message}{_share(progress.done, progress.total)}")

    def on_step(self, report: StepReport) -> None:
        note(f"setup {report.name}: {report.action} ({report.reason}) {report.seconds:.1f} s")

    def on_server(self, message: str) -> None:
        note(f"server {message}")

    def on_case(self, case: Case) -> None:
        self._begin(case)
        note(f"point {self._eta.position()} {case.id}")

    def on_progress(self, progress: TrialProgress) -> None:
        if self._due():
            note(f"point {self._case}: {describe(progress)}")

    def on_probe(self, case: Case, probe: Probe) -> None:
        note(f"point {case.id}: {probed(probe)}")

    def on_trial(self, trial: Trial) -> None:
        self._eta.finish(trial.elapsed_s)
        note(f"point {named(trial)}: {outcome(trial)}{self._eta.remaining()}")

    def _begin(self, case: Case) -> None:
        self._case = case.id
        self._last_line = time.monotonic()

    def _due(self) -> bool:
        now = time.monotonic()
        if now - self._last_line < PLAIN_PROGRESS_EVERY_S:
            return False
        self._last_line = now
        return True


class LiveObserver:
    """A bar for the run and a line for what happens now; finished points scroll by above it."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[detail]}"),
            TimeElapsedColumn(),
            console=Console(stderr=True, no_color=not use_color(sys.stderr)),
            refresh_per_second=4,
            transient=True,
        )
        self._eta = Eta()
        self._run: TaskID | None = None
        self._now = self._bars.add_task("starting", total=None, detail="")

    def __enter__(self) -> LiveObserver:
        self._bars.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bars.stop()

    def on_run(self, directory: Path, points: int, done: int) -> None:
        self._eta = Eta(points, done)
        self._run = self._bars.add_task("points", total=points or None, completed=done, detail="")
        self._say(f"run directory {directory}")

    def on_setup(self, progress: Progress) -> None:
        self._bars.update(
            self._now,
            description=f"setup {progress.step}",
            detail=progress.message,
            completed=progress.done or 0,
            total=progress.total,
        )

    def on_step(self, report: StepReport) -> None:
        self._say(f"setup {report.name}: {report.action} ({report.reason}) {report.seconds:.1f} s")

    def on_server(self, message: str) -> None:
        self._bars.update(self._now, description="server", detail=message, completed=0, total=None)

    def on_case(self, case: Case) -> None:
        self._bars.update(self._now, description=case.id, detail="", completed=0, total=None)

    def on_progress(self, progress: TrialProgress) -> None:
        self._bars.update(self._now, detail=describe(progress))

    def on_probe(self, case: Case, probe: Probe) -> None:
        self._say(f"{case.id}: {probed(probe)}")

    def on_trial(self, trial: Trial) -> None:
        self._eta.finish(trial.elapsed_s)
        self._say(f"{named(trial)}: {outcome(trial)}")
        self._advance(self._eta.remaining().strip(" ·"))

    def _advance(self, detail: str = "") -> None:
        if self._run is not None:
            self._bars.update(self._run, advance=1, detail=detail)

    def _say(self, line: str) -> None:
        self._bars.console.print(line, markup=False, highlight=False)


class Eta:
    """How many points are left and, from the mean of those done in this session, how long they take."""

    def __init__(self, points: int = 0, done: int = 0) -> None:
        self._points, self._done = points, done
        self._seconds: list[float] = []

    def position(self) -> str:
        """The point that is measured now, as `3/8`."""
        return f"{self._done + 1}/{self._points}"

    def finish(self, seconds: float) -> None:
        """Count one point more."""
        self._done += 1
        self._seconds.append(seconds)

    def remaining(self) -> str:
        """` · about 2 min left`, or nothing when all is done."""
        left = self._points - self._done
        if left <= 0 or not self._seconds:
            return ""
        seconds = left * sum(self._seconds) / len(self._seconds)
        return f" · about {seconds / 60:.0f} min left" if seconds >= 90 else f" · about {seconds:.0f} s left"


def describe(progress: TrialProgress) -> str:
    """What a point shows while it is measured."""
    violated = "" if progress.violated is None else ", {} of {} windows violated".format(*progress.violated)
    return (
        f"{progress.phase} {progress.elapsed_s:.0f} s, {progress.inferences_per_s:.4g} inferences/s, "
        f"p50 {progress.p50_ms:.4g} ms, {progress.failed} failed{violated}"
    )


def probed(probe: Probe) -> str:
    """One load of a search in one line."""
    level = f"{probe.level:g}/s" if probe.over == "rate" else f"{probe.level:g} in flight"
    attempt = f"search {probe.attempt + 1}, " if probe.attempt else ""
    return f"{attempt}{probe.stage} {level}: {probe.verdict} ({probe.reason}) in {probe.elapsed_s:.0f} s"


def named(trial: Trial) -> str:
    """The point, and which of its measurements this was."""
    if trial.anchor:
        return f"{trial.case_id} as anchor"
    return f"{trial.case_id} repeat {trial.repeat}" if trial.repeat else trial.case_id


def outcome(trial: Trial) -> str:
    """A finished point in one line."""
    if trial.capacity is not None:
        return f"{trial.state}, {capacity_sentence(trial.capacity)}"
    if trial.summary is None:
        return f"{trial.state}: {trial.failure}"
    rate = trial.summary.inferences_per_s
    half = f" ± {(rate.high - rate.low) / 2:.2g}" if rate.low is not None and rate.high is not None else ""
    flags = f" [{', '.join(flag.code for flag in trial.flags)}]" if trial.flags else ""
    return f"{trial.state}, {rate.value:.4g}{half} inferences/s{flags}"


def _share(done: int | None, total: int | None) -> str:
    return f" {100 * done / total:.0f} %" if done is not None and total else ""
