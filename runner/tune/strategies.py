"""From the word in `tune.strategy.kind` to the strategy."""

from __future__ import annotations

from runner.errors import UsageError
from runner.scenario.points import MAX_POINTS
from runner.scenario.schema_tune import Strategy as Written
from runner.tune.base import Strategy
from runner.tune.neighbourhood import Neighbourhood
from runner.tune.objectives import Goals
from runner.tune.search import Listed, Picker, Search, random_points
from runner.tune.sequences import spread_points
from runner.tune.space import Space


def make_strategy(space: Space, goals: Goals, written: Written) -> Strategy:
    """The strategy of a study, before anything was told.

    Raises:
        UsageError: a grid of more than 10 000 points.
        RigError: the strategy needs a package that is not installed.
    """
    return Search(space, _picker(space, goals, written), start=written.start, seed=written.seed)


def _picker(space: Space, goals: Goals, written: Written) -> Picker:
    seed = written.seed
    match written.kind:
        case "grid":
            _check_grid(space)
            return Listed(space.grid)
        case "random":
            return Listed(lambda: random_points(space, (seed,)))
        case "halton" | "sobol" as spread:
            return Listed(lambda: spread_points(space, spread, seed))
        case "neighbourhood":
            return Neighbourhood(space, goals, seed)
        case "tpe" | "nsga2" as kind:
            from runner.tune.parzen import Suggested

            return Suggested(space, goals, kind, seed)


def _check_grid(space: Space) -> None:
    """Loading has refused intervals; how many points conditions leave is only known here."""
    count = space.count()
    if count is None or count > MAX_POINTS:
        got = "more" if count is None else f"{count:,}"
        hint = "shorten a domain of tune.space, or choose halton or sobol"
        raise UsageError(f"expected at most {MAX_POINTS:,} points of a grid, got {got}", hint=hint)
