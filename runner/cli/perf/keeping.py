"""A run that ends early still leaves what it has in perf_analyzer's forms: the finished levels are not lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from runner.errors import RunnerError

if TYPE_CHECKING:
    from runner.workflow import Observer, Outcome


@contextmanager
def shown_whatever_happens(observer: Observer, show: Callable[[Outcome], None]) -> Iterator[Observer]:
    """Hand out an observer; a block that is interrupted, or ends with an error, shows what the run holds by then.

    What ended it is raised again, and is never hidden by an error of showing.
    """
    watched = _Watched(observer)
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
    """Passes everything on, and remembers where the run is written."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self.directory: Path | None = None

    def on_run(self, directory: Path, points: int, done: int) -> None:
        self.directory = directory
        self._observer.on_run(directory, points, done)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._observer, name)
