"""What callers of a study give and get, beside what they know of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from runner.errors import EXIT_OK, PointsError
from runner.workflow.contract import Observer, Silent

if TYPE_CHECKING:
    from runner.results.run import Run
    from runner.results.study import Study
    from runner.tune.base import Observation


class StudyObserver(Observer, Protocol):
    """Is told what happens in a study; shows it, or does not."""

    def on_observation(self, observation: Observation, improved: bool) -> None:
        """A point is finished; `improved`: it is among the best so far."""
        ...

    def on_phase(self, message: str) -> None:
        """The search ends, the confirmation begins."""
        ...


class SilentStudy(Silent):
    """Shows nothing."""

    def on_observation(self, observation: Observation, improved: bool) -> None: ...
    def on_phase(self, message: str) -> None: ...


@dataclass(frozen=True)
class StudyOutcome:
    """What a study left behind."""

    directory: Path
    run: Run
    study: Study

    @property
    def exit_code(self) -> int:
        """0 when an acceptable point was found, with or without a gain; else that of PointsError."""
        return EXIT_OK if self.study.front else PointsError.exit_code
