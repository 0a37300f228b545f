"""What callers of the conductor give and get: options, an observer, rooms; an outcome, a plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from runner.errors import EXIT_OK, GateError, PointsError
from runner.workflow.order import Planned, server_runs

if TYPE_CHECKING:
    from runner.load.engine import Engine
    from runner.measure.telemetry.collect import TelemetryRoom
    from runner.measure.watch import TrialProgress
    from runner.results.capacity import Probe
    from runner.results.records import Trial
    from runner.results.run import Run
    from runner.runtimes.base import Runtime
    from runner.scenario.case import Case
    from runner.scenario.schema import Workload
    from runner.services.base import Endpoint, Service
    from runner.setup.base import Progress, StepReport


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """How to run, apart from what."""

    output_dir: Path = Path("runs")
    home: Path | None = None
    """Where state and downloads live; None: $SCENARIO_HOME, else the XDG state directory."""
    resume: bool = False
    identify: bool = False
    offline: bool = False
    trust_first_use: bool = False


class Observer(Protocol):
    """Is told what happens; shows it, or does not."""

    def on_run(self, directory: Path, points: int, done: int) -> None: ...
    def on_setup(self, progress: Progress) -> None: ...
    def on_step(self, report: StepReport) -> None: ...
    def on_server(self, message: str) -> None: ...
    def on_case(self, case: Case) -> None: ...
    def on_progress(self, progress: TrialProgress) -> None: ...
    def on_probe(self, case: Case, probe: Probe) -> None: ...
    def on_trial(self, trial: Trial) -> None: ...


class Silent:
    """An observer that shows nothing."""

    def on_run(self, directory: Path, points: int, done: int) -> None: ...
    def on_setup(self, progress: Progress) -> None: ...
    def on_step(self, report: StepReport) -> None: ...
    def on_server(self, message: str) -> None: ...
    def on_case(self, case: Case) -> None: ...
    def on_progress(self, progress: TrialProgress) -> None: ...
    def on_probe(self, case: Case, probe: Probe) -> None: ...
    def on_trial(self, trial: Trial) -> None: ...


@dataclass(frozen=True)
class Outcome:
    """What a run left behind."""

    directory: Path
    run: Run

    @property
    def problems(self) -> tuple[str, ...]:
        """One line for each point that has no usable number, skipped ones aside."""
        points = (point for point in self.run.points() if point.state not in ("ok", "skipped"))
        return tuple(f"{point.case.case_id} is {point.state}: {point.reason}" for point in points)

    @property
    def missed(self) -> tuple[str, ...]:
        """One line for each objective that is missed: a limit that no load meets, a soak without budget left."""
        trials = [point.trial for point in self.run.points() if point.trial is not None]
        found = [(t, t.capacity.reason) for t in trials if t.capacity and t.capacity.status == "infeasible"]
        found += [(t, t.slo.exhausted) for t in trials if t.slo and t.slo.exhausted]
        return tuple(f"{trial.case_id}: {reason}" for trial, reason in found)

    @property
    def exit_code(self) -> int:
        """That of GateError when an objective is missed, of PointsError when a point is not usable, else 0."""
        if self.missed:
            return GateError.exit_code
        return PointsError.exit_code if self.problems else EXIT_OK


@dataclass(frozen=True)
class Plan:
    """What a run would do."""

    target: str | None
    state: Path
    setup: tuple[StepReport, ...]
    cases: tuple[Case, ...]
    measurements: tuple[Planned, ...]
    """In the order in which they would be made; a point that is repeated is in it several times, anchors too."""
    cooldown_s: float
    free_bytes: int

    @property
    def telemetry(self) -> str:
        """What would be sampled beside the first point's load, as far as it is there."""
        wishes = self.cases[0].scenario.measure.telemetry if self.cases else None
        names = ("host", "prometheus", "gpu") if wishes is None or wishes.sources is None else wishes.sources
        return f"{', '.join(names)} every {wishes.period:g} s" if wishes and names else "nothing"

    @property
    def points(self) -> int:
        """Points that would be measured."""
        return sum(case.skipped is None for case in self.cases)

    @property
    def longest_s(self) -> float | None:
        """Every measurement at its time cap; setup and starts of the server not counted. None: a soak has no cap."""
        from runner.measure.loads import longest_case_s
        from runner.measure.settings import is_endless

        if any(is_endless(each.case.scenario.measure) for each in self.measurements):
            return None
        load_s = sum(longest_case_s(each.case.scenario) for each in self.measurements)
        return load_s + self.cooldown_s * max(len(self.measurements) - 1, 0)

    @property
    def server_starts(self) -> int:
        """How often a server is started, as long as none dies."""
        return len(server_runs(self.measurements))

    def as_dict(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "target": self.target,
            "state": str(self.state),
            "setup": [{"name": s.name, "kind": s.kind, "action": s.action, "reason": s.reason} for s in self.setup],
            "points": [{"id": c.id, "parameters": c.parameters, "skipped": c.skipped} for c in self.cases],
            "measurements": [
                {"id": m.case.id, "repeat": m.repeat, "block": m.block, "anchor": m.anchor} for m in self.measurements
            ],
            "server_starts": self.server_starts,
            "telemetry": self.telemetry,
            "longest_s": self.longest_s,
            "free_bytes": self.free_bytes,
        }


@dataclass(frozen=True)
class Rooms:
    """What a run is made of; tests put fakes here."""

    runtime: Runtime
    engine: Engine
    connect: Callable[[Endpoint, Workload], Service]
    telemetry: TelemetryRoom | None = None
    """Samples the machine beside the load; without it nothing is sampled."""
