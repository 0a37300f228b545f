"""What the rows of the validation table share: checks with a verdict, and trials of scripted servers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runner.load.engine import Engine
from runner.measure.orders import Requests, Target
from runner.measure.selftest.script import Script
from runner.measure.selftest.scripted import MODEL, ScriptedServer, request
from runner.measure.trial import measure_case
from runner.results.records import Summary, Trial
from runner.scenario.case import Case
from runner.scenario.schema import Scenario
from runner.services.pipeline import Pipeline


@dataclass(frozen=True)
class Check:
    """One figure beside what it should be; `ok` None: it could not be checked here, `got` says why."""

    what: str
    expected: str
    got: str
    tolerance: str
    ok: bool | None


def near(what: str, got: float, expected: float, relative: float, unit: str = "") -> Check:
    """Within a relative tolerance."""
    off = got / expected - 1
    return Check(
        what, f"{expected:.5g}{unit}", f"{got:.5g}{unit} ({off:+.2%})", f"±{relative:.2g}", abs(off) <= relative
    )


def at_most(what: str, got: float, limit: float, unit: str = "") -> Check:
    """Below a limit."""
    return Check(what, f"≤ {limit:.4g}{unit}", f"{got:.4g}{unit}", "", got <= limit)


def exactly(what: str, got: object, expected: object) -> Check:
    """Equal."""
    return Check(what, str(expected), str(got), "exact", got == expected)


def flagged(what: str, trial: Trial, *codes: str) -> Check:
    """At least one of these flags was raised."""
    raised = [flag.code for flag in trial.flags]
    return Check(what, " or ".join(codes), ", ".join(raised) or "no flag", "", bool(set(raised) & set(codes)))


@dataclass
class Bench:
    """The engine under test, and every trial that was run, for the checks on all of them."""

    engine: Engine
    full: bool
    folder: Path
    """For files that a row needs while it runs."""
    trials: list[tuple[str, Trial, dict[str, Any]]] = field(default_factory=list)
    """Name, trial, and the server's own report."""

    def seconds(self, quick: float, full: float) -> float:
        """How long a row measures."""
        return full if self.full else quick

    def measure(
        self,
        name: str,
        script: Script,
        load: Mapping[str, Any],
        *,
        seconds: float | None = None,
        warmup_s: float = 2.0,
        workload: Mapping[str, Any] | None = None,
        **measure: Any,
    ) -> tuple[Trial, Summary, dict[str, Any]]:
        """A trial of so many seconds, or as `measure` says, with the server's own report."""
        if seconds is not None:
            window = {"min": f"{seconds}s", "max": f"{seconds}s"}
            measure = {"window": window, "warmup": {"min_time": f"{warmup_s}s"}, **measure}
        with ScriptedServer(script) as server:
            trial = measure_case(
                case(load, workload or {}, measure),
                Target(engine=self.engine, endpoint=server.endpoint, service=server, pipeline=Pipeline((MODEL,))),
                Requests([request()]),
            )
            report = server.report()
        if trial.summary is None:
            raise RowError(f"{name}: {trial.failure}")
        self.trials.append((name, trial, report))
        return trial, trial.summary, report


class RowError(Exception):
    """A row could not be run to its end."""


def case(load: Mapping[str, Any], workload: Mapping[str, Any], measure: Mapping[str, Any]) -> Case:
    """A point of a scenario that exists only here."""
    fields = {
        "scenario": 1,
        "name": "selftest",
        "workload": {"model": MODEL, **workload},
        "load": dict(load),
        "measure": dict(measure),
    }
    return Case("selftest", {}, Scenario.model_validate(fields), "selftest")


RunRow = Callable[[Bench], Sequence[Check]]
