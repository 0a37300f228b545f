"""One point tried: on a server that may be shared, a short probe first, then the whole measurement.

Whatever a point does wrong is an observation with its reason, never the end of the study.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from runner.errors import LoadError, RigError, RunnerError, ServiceError, SetupError, UsageError
from runner.results.study_events import PROBE_LABEL
from runner.tune.base import Observation
from runner.workflow.measuring import measure_point
from runner.workflow.order import Planned
from runner.workflow.tuning.points import probe_of

if TYPE_CHECKING:
    from runner.results.records import Trial
    from runner.scenario.case import Case
    from runner.tune.base import Proposal
    from runner.tune.objectives import Goals, Reading
    from runner.workflow.session import Session
    from runner.workflow.tuning.servers import HeldServer

FIRST_TRIES, TRIES = 3, 2
"""Of the file's own point, which everything is compared with, and of any other, while others spoil it."""
DISTURBANCES = {"foreign_load"}
"""Flags that are about the machine at that moment, not about the point."""

Loser = Callable[["Reading"], "str | None"]
"""Says why a probe's reading makes the whole measurement a waste of time."""


@dataclass
class Bench:
    """What points are tried on."""

    session: Session
    held: HeldServer
    goals: Goals
    probe_s: float | None
    """Window of the probe; None: no probe."""

    def first(self, proposal: Proposal, case: Case) -> Observation:
        """What becomes of the point that everything is compared with: a disturbance alone is no reason to give up."""
        return self._observed(proposal, self._undisturbed(case, FIRST_TRIES, lambda: True))

    def tried(
        self, proposal: Proposal, case: Case, loser: Loser | None, may_repeat: Callable[[], bool] = lambda: True
    ) -> Observation:
        """What becomes of a point; `loser` judges its probe, without it there is none.

        `may_repeat` says whether the budget allows a measurement that others spoilt to be made once more.
        """
        if loser is not None and self.probe_s is not None:
            probe = self._probed(case, self.probe_s)
            pruned = self._pruned(proposal, probe, loser)
            if pruned is not None:
                return pruned
        return self._observed(proposal, self._undisturbed(case, TRIES, may_repeat))

    def _undisturbed(self, case: Case, tries: int, may_repeat: Callable[[], bool]) -> Trial:
        """The first measurement that nobody else spoilt, or the last one that may be made."""
        trial = self.measured(Planned(case))
        for _ in range(tries - 1):
            if not is_disturbed(trial) or not may_repeat():
                break
            trial = self.measured(Planned(case))
        return trial

    def measured(self, planned: Planned) -> Trial:
        """One measurement, in the journal when this returns; a failed one says why."""
        self.session.cool_down()
        self.session.observer.on_case(planned.case)
        trial = self._measured(planned)
        self._kept(trial, planned)
        return trial

    def _measured(self, planned: Planned) -> Trial:
        from runner.measure.trial import failed_trial

        try:
            return measure_point(planned, self.held.serving(planned), self.session)
        except (SetupError, ServiceError, LoadError, UsageError) as error:
            # Another value of the same addresses may well come up: this is about the point.
            trial = failed_trial(planned.case, _in_one_line(error))
            return replace(trial, repeat=planned.repeat, block=planned.block, anchor=planned.anchor)

    def _probed(self, case: Case, window_s: float) -> Trial:
        planned = Planned(probe_of(case, window_s))
        self.session.cool_down()
        self.session.observer.on_case(planned.case)
        trial = self._measured(planned)
        trial = replace(trial, labels={**trial.labels, PROBE_LABEL: f"probe of {window_s:g} s"})
        self._kept(trial, planned)
        return trial

    def _kept(self, trial: Trial, planned: Planned) -> None:
        self.session.writer.append(trial)
        self.session.observer.on_trial(trial)
        self.session.stopped_after(planned)
        self.held.drop_if_dead()

    def _pruned(self, proposal: Proposal, probe: Trial, loser: Loser) -> Observation | None:
        """The observation that ends a point after its probe: nothing was measured, or it is clearly beaten."""
        if probe.summary is None:
            return self._observed(proposal, probe)
        if probe.state != "ok":
            return None  # what spoils a few seconds may not spoil the whole measurement
        try:
            reason = loser(self.goals.read(probe))
        except RigError:
            return None  # a percentile that so few requests do not have is for the whole measurement to find
        if reason is None:
            return None
        return self.goals.observe(proposal.number, proposal.point, probe, "pruned", reason)

    def _observed(self, proposal: Proposal, trial: Trial) -> Observation:
        number, point = proposal.number, proposal.point
        try:
            return self.goals.observe(number, point, trial, "measured", failure_of(trial))
        except RigError as error:
            return Observation(number, point, "failed", reason=f"{error.message}; {error.hint}")


def _in_one_line(error: RunnerError) -> RunnerError:
    """Setup lists its problems below each other; here the first line has to say enough."""
    if not isinstance(error, SetupError):
        return error
    return SetupError("; ".join(line.strip() for line in error.message.splitlines()), hint=error.hint)


def is_disturbed(trial: Trial) -> bool:
    """Whether nothing but others on the machine forbids using a measurement."""
    forbidding = {flag.code for flag in trial.flags if flag.consequence == "invalidates"}
    return trial.state == "invalid" and forbidding <= DISTURBANCES


def failure_of(trial: Trial) -> str:
    """Why a trial counts as failed, in one line; nothing where it does not."""
    if trial.failure:
        return trial.failure.splitlines()[0]
    if trial.state != "invalid":
        return ""
    forbidding: Sequence[str] = [f"{f.code}: {f.message}" for f in trial.flags if f.consequence == "invalidates"]
    return "; ".join(forbidding)
