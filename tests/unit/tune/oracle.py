"""A server in numbers: what a search would be told by one that is known exactly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from runner.results.capacity import Attempt, Probe, Tally, Verdict
from runner.scenario.schema import SlaLoad
from runner.tune.capacity import Ask, Search, new_search


def sla(**fields: Any) -> SlaLoad:
    return SlaLoad.model_validate({"kind": "sla", "latency": "100ms", **fields})


def tally(**fields: Any) -> Tally:
    """Ten seconds in which 1000 independent requests were answered in time."""
    known: dict[str, Any] = {
        "window_s": 10.0,
        "requests": 1000,
        "late": 0,
        "failed": 0,
        "dropped": 0,
        "overdue": 0,
        "tau": 1.0,
        "quantile_ms": 50.0,
        "mean_ms": 20.0,
        "offered_per_s": 100.0,
        "delivered_per_s": 100.0,
        "growth": 0,
        "saturated": False,
    }
    return Tally(**(known | fields))


@dataclass
class Oracle:
    """Answers up to `most_per_s`; meets the limit at loads for which `meets` says so."""

    meets: Callable[[float], bool]
    most_per_s: float = 1000.0
    service_s: float = 0.005
    says: Mapping[tuple[str, float], Verdict] = field(default_factory=dict)
    """(stage, level) -> another verdict than the truth."""
    asked: list[Ask] = field(default_factory=list)

    def probe(self, ask: Ask, number: int) -> Probe:
        self.asked.append(ask)
        met = self.meets(ask.level) if ask.stage != "alone" else self.meets(0)
        verdict = self.says.get((ask.stage, ask.level), "pass" if met else "fail")
        rate = ask.level if ask.over == "rate" else ask.level / self.service_s
        counted = tally(delivered_per_s=min(rate, self.most_per_s), quantile_ms=50.0 if met else 200.0)
        return Probe(0, number, ask.stage, ask.over, ask.level, verdict, "scripted", counted, ask.first_s)

    def search(self, load: SlaLoad) -> Attempt:
        """From start to end."""
        search = new_search(load)
        drive(search, self)
        return search.attempt()


def drive(search: Search, oracle: Oracle, loads: int | None = None) -> None:
    """Until the search is over, or so many loads were tried."""
    while (ask := search.ask()) is not None and (loads is None or search.number < loads):
        search.tell(oracle.probe(ask, search.number))


def below(capacity: float) -> Callable[[float], bool]:
    """Meets the limit up to this load."""
    return lambda level: level <= capacity
