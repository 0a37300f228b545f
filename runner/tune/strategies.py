"""From the word in `tune.strategy.kind` to the strategy."""

from __future__ import annotations

from runner.errors import ScenarioError
from runner.scenario.diagnostics import diagnose
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
        ScenarioError: a grid over more than 10 000 points, or over an interval.
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
    node = space.loaded.node(("tune", "space"))
    for dimension in space.dimensions:
        if dimension.domain.count is None:
            child = space.loaded.node(("tune", "space", dimension.address))
            raise ScenarioError(
                [
                    diagnose(
                        "E131",
                        child.place,
                        "a grid cannot have every number of an interval",
                        address=f"tune.space.{dimension.address}",
                        hint="add `step`, or choose another strategy",
                    )
                ]
            )
    count = space.count()
    if count is None or count > MAX_POINTS:
        message = f"expected at most {MAX_POINTS:,} points of a grid, got {f'{count:,}' if count else 'more'}"
        problem = diagnose(
            "E131", node.key or node.place, message, address="tune.space", hint="shorten a domain, or choose halton"
        )
        raise ScenarioError([problem])
