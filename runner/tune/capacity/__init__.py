"""Capacity under a limit on the latency: the highest load that a service can be promised to carry."""

from runner.scenario.schema import SlaLoad
from runner.tune.capacity.base import Ask, Search, Strategy, replay
from runner.tune.capacity.bracket import bracket
from runner.tune.capacity.climbs import climb, linear, pa_binary, pa_linear, perf_client
from runner.tune.capacity.knee import knee
from runner.tune.capacity.pool import pooled, representative
from runner.tune.capacity.verdict import judged

STRATEGIES: dict[str, Strategy] = {
    "bracket": bracket,
    "linear": linear,
    "climb": climb,
    "perf_client": perf_client,
    "pa_linear": pa_linear,
    "pa_binary": pa_binary,
}


def new_search(load: SlaLoad) -> Search:
    """One attempt by the strategy that the scenario names; without a limit it looks for the knee."""
    return Search(load, knee if load.latency is None else STRATEGIES[load.strategy])


__all__ = ["STRATEGIES", "Ask", "Search", "Strategy", "judged", "new_search", "pooled", "replay", "representative"]
