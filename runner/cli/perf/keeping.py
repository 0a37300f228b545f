"""A run that ends early, however it ends, still leaves its finished levels in perf_analyzer's forms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from runner.errors import RunnerError

if TYPE_CHECKING:
    from runner.results.capacity import Probe
    from runner.results.records import Trial
    from runner.scenario.case import Case
    from runner.workflow import Observer, Outcome


MOST_KEPT = 1000
"""Levels of a run whose tables are written after each one: above that, reading the run so often would take longer than
a level."""


@contextmanager
def shown_whatever_happens(
    observer: Observer, show: Callable[[Outcome], None], keep: Callable[[Path], None]
) -> Iterator[Observer]:
    """Hand out an observer that keeps the run in a directory after each of its levels.

    A block that is interrupted, or ends with an error, shows what the run holds by then. What ended it is raised again,
    and is never hidden by an error of showing.
    """
    watched = _Watched(observer, keep)
    try:
        yield cast("Observer", watched)
    except BaseException:
        if watched.directory is not None:
            with suppress(RunnerError):
                _show(watched.directory, show)
        raise


def _show(directory: Path, show: Callable[[Outcome], None]) -> None:
    from runner.results.run import load_run
    from runner.workflow import Outcome

    run = load_run(directory)
    if any(point.trial is not None for point in run.points()):
        show(Outcome(directory, run))


class _Watched:
    """Passes everything on, remembers where the run is written, and keeps what is measured."""

    def __init__(self, observer: Observer, keep: Callable[[Path], None]) -> None:
        self._observer, self._keep = observer, keep
        self._points = 0
        self.directory: Path | None = None

    def on_run(self, directory: Path, points: int, done: int) -> None:
        self.directory, self._points = directory, points
        self._observer.on_run(directory, points, done)

    def on_trial(self, trial: Trial) -> None:
        self._kept()
        self._observer.on_trial(trial)

    def on_probe(self, case: Case, probe: Probe) -> None:
        self._kept()
        self._observer.on_probe(case, probe)

    def _kept(self) -> None:
        """What cannot be written now is tried once more at the end, which then says why."""
        if self.directory is not None and self._points <= MOST_KEPT:
            with suppress(RunnerError):
                self._keep(self.directory)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._observer, name)
