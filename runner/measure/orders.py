"""What a trial is made of beside its case: the servers, the requests, and how the load is to go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from runner.load.engine import Engine
from runner.load.plan import Drawing
from runner.load.references import References
from runner.measure.loads import asked_per_s, settings_for
from runner.measure.peers import Peer, Readings, readings
from runner.measure.series import Series
from runner.measure.settings import MeasureSettings, resolve
from runner.measure.tally import Judge, decide_by_verdict, tally
from runner.measure.telemetry.sampler import Recorder
from runner.measure.watch import OnProgress, Rule
from runner.results.capacity import Probe
from runner.results.records import ModelStatistics
from runner.runtimes.interrupts import Stop
from runner.scenario.case import Case
from runner.scenario.schema import Load
from runner.services.base import Endpoint, Service
from runner.services.pipeline import Pipeline


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a trial is run against."""

    engine: Engine
    endpoint: Endpoint
    service: Service
    pipeline: Pipeline
    """Whose counters are read."""
    server_check: Callable[[], None] = lambda: None
    """Raises `ServiceError` when the server is gone."""
    peers: Sequence[Peer] = ()
    """Further servers that share the load."""

    @property
    def services(self) -> tuple[Service, ...]:
        """Of every server, the launched one first."""
        return (self.service, *(peer.service for peer in self.peers))

    def readings(self) -> Readings:
        """Counters of every model of the pipeline on every server, those called by its code last."""
        return readings(self.services, (*self.pipeline.models, *self.pipeline.bls))

    def served(self, growth: Sequence[ModelStatistics]) -> dict[str, Any]:
        """What all servers together say of the pipeline, as fields of a trial; each has the same instances."""
        count, servers = len(self.pipeline.models), len(self.services)
        facts = (replace(each, instances=each.instances and each.instances * servers) for each in self.pipeline.facts)
        return {"server": tuple(growth[:count]), "bls": tuple(growth[count:]), "facts": tuple(facts)}


@dataclass(frozen=True)
class Requests:
    """What is sent to it, over and over."""

    messages: Sequence[bytes]
    drawing: Drawing = field(default_factory=Drawing)
    """How requests take their message."""
    references: References = field(default_factory=References)
    """What the answers are compared with."""


@dataclass(frozen=True, kw_only=True)
class Orders:
    """How the load is to go and what is kept of it, beside what the case says."""

    settings: MeasureSettings | None = None
    """The scenario's own unless given."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Facts that belong to the numbers."""
    on_progress: OnProgress | None = None
    stop: Stop = field(default_factory=Stop)
    ceiling_per_s: float | None = None
    """Requests per second of the engine alone."""
    records: Path | None = None
    """Where the records of single requests go."""
    raw: Path | None = None
    """Where the closed slices go, which the numbers are made from."""
    telemetry: Recorder | None = None
    """Samples beside the load; None: nothing is sampled."""
    verdict: Judge | None = None
    """A probe of a search, which `settings.limit` makes of it, lasts until there is one."""

    def resolved(self, case: Case) -> MeasureSettings:
        """The settings of this case."""
        return settings_for(self.settings or resolve(case.scenario.measure), case.scenario.load)

    def rule(self, settings: MeasureSettings, load: Load) -> Rule | None:
        """What ends a probe, unless three windows do."""
        if self.verdict is None or settings.windows is not None:
            return None
        return partial(decide_by_verdict, judge=self.verdict, asked_per_s=asked_per_s(load))

    def probed(self, settings: MeasureSettings, window: Series, load: Load, steady: bool) -> Probe | None:
        """The verdict on what the window counted, if somebody asked for one."""
        limit = settings.limit
        return self.verdict(tally(window, limit, asked_per_s(load), steady)) if limit and self.verdict else None
