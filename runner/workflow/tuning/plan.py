"""A study before anything is measured: what is searched how, checked as far as it can be without a server."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runner.errors import UsageError
from runner.scenario.schema_tune import Tune
from runner.tune.base import Observation, Strategy
from runner.tune.front import best_first, is_improvement
from runner.tune.objectives import Goals
from runner.tune.space import Space
from runner.tune.strategies import make_strategy
from runner.workflow.known_models import check_known_models
from runner.workflow.tuning.budget import limits_of
from runner.workflow.tuning.contract import SilentStudy, StudyObserver
from runner.workflow.tuning.points import check_case, current_case

if TYPE_CHECKING:
    from runner.scenario.case import Case
    from runner.scenario.loading import LoadedScenario
    from runner.scenario.schema_tune import Budget as Limits
    from runner.workflow.tuning.trials import Loser


@dataclass
class StudyPlan:
    """One study."""

    loaded: LoadedScenario
    tune: Tune
    space: Space
    goals: Goals
    strategy: Strategy
    current: Case
    """The file's own point."""
    observer: StudyObserver = field(default_factory=SilentStudy)

    @classmethod
    def of(cls, loaded: LoadedScenario, observer: StudyObserver | None = None) -> StudyPlan:
        """The study that a scenario describes.

        Raises:
            UsageError: it describes none, or the file itself could not be measured.
            RigError: the strategy needs a package that is not installed.
        """
        tune = loaded.scenario.tune
        if tune is None:
            raise UsageError(
                f"{loaded.source.name} has no `tune`: nothing says what may change",
                hint="add for example `tune: {space: {load.concurrency: {pow2: [1, 64]}}}`, see docs/tuning.md",
            )
        space, goals = Space.of(loaded), Goals.of(tune)
        current = current_case(loaded, space.current)
        check_case(current, loaded.launch.kind)
        check_known_models(loaded, (current,))
        strategy = make_strategy(space, goals, tune.strategy)
        return cls(loaded, tune, space, goals, strategy, current, observer or SilentStudy())

    @property
    def seed(self) -> int:
        """Of the order of the confirmation."""
        return self.loaded.scenario.measure.seed

    @property
    def limits(self) -> Limits:
        """The budget, with its default."""
        return limits_of(self.tune.budget, self.tune.strategy.kind == "grid")

    def loser(self, observations: Sequence[Observation]) -> Loser | None:
        """Judges probes by what is finished; None where there are no probes."""
        screen = self.tune.screen
        if screen is None:
            return None
        from runner.tune.screening import pruned

        finished = tuple(observations)
        return lambda reading: pruned(reading, finished, self.goals, screen.margin)

    def is_improvement(self, observations: Sequence[Observation]) -> bool:
        """Whether the last one is among the best."""
        return is_improvement(observations[-1], observations[:-1], self.goals.objectives)

    def contenders(self, observations: Sequence[Observation], former: int | None = None) -> tuple[Observation, ...]:
        """The file's own point, then the best others; nothing where no point is acceptable.

        `former` won before the study was extended: it is not given up without being measured beside the others.
        """
        top = self.tune.confirm.top if self.tune.confirm is not None else 0
        best = [each for each in best_first(observations, self.goals.objectives) if each.number != 0]
        current = next(each for each in observations if each.number == 0)
        again = [each for each in best[top:] if each.number == former]
        return (current, *best[:top], *again) if best else ()
