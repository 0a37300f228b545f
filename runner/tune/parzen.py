"""The strategies that Optuna gives: Tree-structured Parzen Estimator and NSGA-II (the extra `tune`).

Bergstra et al., NeurIPS 24 (2011), with several objectives and constraints by Watanabe, arXiv 2304.11127; Deb et al.,
*IEEE Trans. Evol. Comput.* 6 (2002). Optuna keeps what was told in memory; the sampler is new for every proposal and
seeded with its number, so that a study told again from a journal goes on as it would have.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from runner.errors import RigError
from runner.scenario.domains import Choices, Domain, Steps
from runner.tune.base import Observation, Point
from runner.tune.neighbourhood import nearest_new
from runner.tune.objectives import Goals
from runner.tune.search import Book
from runner.tune.space import Dimension, Space

_ATTEMPTS = 4
"""Suggestions that may be old points before a neighbour of the last one is taken."""
_STARTUP = 10
"""Points before the estimator has enough to go by."""
_POPULATION = 16
"""Of NSGA-II: several generations fit into a budget of about a hundred points."""
_FAILED = 10.0
"""The violation of a point without numbers: more than any limit is missed by a point that ran."""
_VIOLATION = "violation"


class Suggested:
    """The picker of `tpe` and `nsga2`."""

    def __init__(self, space: Space, goals: Goals, kind: Literal["tpe", "nsga2"], seed: int) -> None:
        """Raises RigError where Optuna is not installed."""
        try:
            import optuna
        except ImportError:
            raise RigError(
                f"the strategy {kind} needs optuna, which is not installed",
                hint="pip install 'scenario-runner[tune]', or choose halton or neighbourhood",
            ) from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._optuna: Any = optuna
        self._space, self._goals, self._kind, self._seed = space, goals, kind, seed
        directions: list[Any] = ["maximize" if each.direction == "max" else "minimize" for each in goals.objectives]
        self._study = optuna.create_study(directions=directions)
        self._distributions = {each.address: self._distribution(each.domain) for each in space.dimensions}
        self._told = 0
        self._completed = 0
        self._running: dict[int, Any] = {}
        """Number of a proposal -> its trial, which keeps the estimator from proposing the same region twice."""

    def pick(self, book: Book, number: int) -> Point | None:
        """The first suggestion that is new, else a neighbour of the last."""
        self._catch_up(book)
        with _quiet():
            self._study.sampler = self._sampler(number)
            for _ in range(_ATTEMPTS):
                trial = self._study.ask()
                point = self._suggest(trial)
                if book.is_new(point):
                    self._running[number] = trial
                    return point
                self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
        return nearest_new(self._space, book, point)

    # --- telling ------------------------------------------------------------------------------------------------------

    def _catch_up(self, book: Book) -> None:
        """Tell Optuna what the book has learnt since; proposals without a trial yet are told when they are finished."""
        for observation in book.observations[self._told :]:
            trial = self._running.pop(observation.number, None)
            with _quiet():
                if trial is not None:
                    self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
                self._study.add_trial(self._trial_of(observation))
            self._completed += 1
        self._told = len(book.observations)

    def _trial_of(self, observation: Observation) -> Any:
        params = dict(self._encoded(observation.point))
        return self._optuna.trial.create_trial(
            values=list(observation.values or self._worst()),
            params=params,
            distributions={address: self._distributions[address] for address in params},
            constraints={_VIOLATION: self._violation(observation)},
            system_attrs=self._generation(),
        )

    def _violation(self, observation: Observation) -> float:
        if observation.values is None:
            return _FAILED
        return min(sum(observation.violations.values()), _FAILED)

    def _worst(self) -> list[float]:
        """In place of numbers that a failed point does not have: constraints rank it last anyway."""
        told = [trial.values for trial in self._study.get_trials(deepcopy=False) if trial.values]
        columns = zip(*told, strict=True) if told else ([0.0] for _ in self._goals.objectives)
        ends = zip(self._goals.objectives, columns, strict=True)
        return [min(values) if each.direction == "max" else max(values) for each, values in ends]

    def _generation(self) -> dict[str, Any]:
        """Which generation of NSGA-II a finished point belongs to: points that are told have no trial that knows."""
        if self._kind != "nsga2":
            return {}
        key = self._optuna.samplers.NSGAIISampler._get_generation_key()
        return {key: self._completed // _POPULATION}

    # --- suggesting ---------------------------------------------------------------------------------------------------

    def _sampler(self, number: int) -> Any:
        samplers, seed = self._optuna.samplers, self._seed * 1_000_003 + number
        if self._kind == "nsga2":
            sampler = samplers.NSGAIISampler(population_size=_POPULATION, seed=seed % 2**32)
            # Its first answer has another order than those from its cache, and order decides who mates.
            sampler.get_parent_population(self._study, self._completed // _POPULATION)
            return sampler
        conditional = any(each.when is not None for each in self._space.dimensions)
        return samplers.TPESampler(
            n_startup_trials=_STARTUP, multivariate=True, group=conditional, constant_liar=True, seed=seed % 2**32
        )

    def _suggest(self, trial: Any) -> Point:
        """Dimension by dimension, each after those that its condition reads."""
        chosen: dict[str, Any] = {}
        for dimension in self._space.by_condition:
            if self._space.active(dimension, chosen):
                chosen[dimension.address] = _suggested(trial, dimension)
        return self._space.canonical(chosen)

    def _distribution(self, domain: Domain) -> Any:
        distributions = self._optuna.distributions
        if isinstance(domain, Choices):
            return distributions.CategoricalDistribution(list(range(domain.count)))
        if domain.count is None or _is_scale(domain):
            return distributions.FloatDistribution(0.0, 1.0)
        return distributions.IntDistribution(0, domain.count - 1)

    def _encoded(self, point: Point) -> Iterator[tuple[str, Any]]:
        """Without values that have no place: the file may hold a choice that the study does not offer."""
        for dimension, place in zip(self._space.dimensions, self._space.place(point), strict=True):
            count = dimension.domain.count
            if place is not None and count is not None and not _is_scale(dimension.domain):
                yield dimension.address, min(int(place * count), count - 1)
            elif place is not None:
                yield dimension.address, place


def _is_scale(domain: Domain) -> bool:
    """Told to Optuna as a place from 0 to 1, not as an index: what is continuous, or dense and logarithmic."""
    return domain.count is None or (isinstance(domain, Steps) and domain.log)


def _suggested(trial: Any, dimension: Dimension) -> Any:
    """The value of one dimension that a trial of Optuna suggests."""
    address, domain = dimension.address, dimension.domain
    if domain.count is None or _is_scale(domain):
        return domain.at(trial.suggest_float(address, 0.0, 1.0))
    if isinstance(domain, Choices):
        index = trial.suggest_categorical(address, list(range(domain.count)))
    else:
        index = trial.suggest_int(address, 0, domain.count - 1)
    return domain.at((index + 0.5) / domain.count)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without warnings about options of Optuna that may still change: the extra pins the major version."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
