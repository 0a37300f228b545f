"""The search: ask for a batch of points, try them server by server, tell what became of them, until it is over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from runner.errors import ServiceError, UsageError
from runner.results.study_events import Observed, Proposed, SearchEnded
from runner.tune.base import Observation, Proposal
from runner.workflow.order import Planned
from runner.workflow.session import planned_case
from runner.workflow.tuning.budget import Budget, cap_s
from runner.workflow.tuning.points import by_server, case_of

if TYPE_CHECKING:
    from runner.results.study_events import StudyLog
    from runner.scenario.case import Case
    from runner.workflow.tuning.plan import StudyPlan
    from runner.workflow.tuning.trials import Bench

BATCH = {"grid": 64, "random": 16, "halton": 16, "sobol": 16}
"""Points that are asked for at a time: more share a server. The other strategies learn, so they get few."""
LEARNING_BATCH = 4
SUSPICIOUS = 5
"""So many failures in a row may be the machine's: the file's own point is measured to see."""

Runnable = tuple[Proposal, "Case"]


@dataclass
class Search:
    """One search; `observations` grow as points finish."""

    plan: StudyPlan
    bench: Bench
    budget: Budget
    observations: list[Observation] = field(default_factory=list)
    anchors: int = 0
    """Measured so far."""
    _since_anchor: int = 0
    _failures: int = 0
    """In a row."""
    _resumed: bool = False
    """Nothing was measured yet by this process, but by an earlier one."""

    def run(self, before: StudyLog | None) -> str:
        """Try points until something ends the search; says what.

        Raises:
            UsageError: the file's own point cannot be run.
            ServiceError: it cannot be measured, or no longer: there is nothing to compare with.
        """
        if before is not None:
            self._remember(before)
            if before.ended is not None:
                return before.ended.reason
        reason = self._searched(before)
        self.bench.held.close()
        self.bench.session.writer.note(SearchEnded(reason, self.budget.search_s))
        return reason

    def _searched(self, before: StudyLog | None) -> str:
        unfinished = [Proposal(each.number, each.point) for each in before.unfinished()] if before is not None else []
        while True:
            reason = self.budget.over()
            batch = unfinished or ([] if reason else self._asked())
            if not batch:
                return reason or "every point of the space was tried"
            unfinished = []
            for proposal, case in by_server(list(self._runnable(batch)), self.bench.held.key):
                reason = self.budget.over(self._longest_s(case))
                if reason is not None and self.observations:
                    return reason
                self._try(proposal, case)

    def _asked(self) -> Sequence[Proposal]:
        """The next batch; the first one is the file's own point alone, which everything is compared with."""
        count = BATCH.get(self.plan.tune.strategy.kind, LEARNING_BATCH) if self.observations else 1
        limit = self.budget.limits.trials
        if limit is not None:
            count = min(count, limit - self.budget.tried)
        batch = self.plan.strategy.ask(count)
        for proposal in batch:
            self.bench.session.writer.note(Proposed(proposal.number, dict(proposal.point)))
        return batch

    def _runnable(self, batch: Sequence[Proposal]) -> Iterator[Runnable]:
        """Those of a batch that make a case; the others are observed right away."""
        for proposal in batch:
            reason = self.plan.space.infeasible(proposal.point)
            try:
                case = None if reason else case_of(self.plan.loaded, proposal.point, self.plan.space.current)
            except UsageError as error:
                case, reason = None, error.message
            if case is not None:
                yield proposal, case
            elif not self.observations:
                raise UsageError(f"the file's own point cannot be run: {reason}", hint="change `tune.exclude`")
            else:
                self._observe(Observation(proposal.number, proposal.point, "infeasible", reason=reason or ""), None)

    def _try(self, proposal: Proposal, case: Case) -> None:
        if self._anchor_is_due():
            self._anchor()
        # Measured once, however often the file says: repeats are for the confirmation.
        self.bench.session.writer.add(replace(planned_case(case), repeats=1))
        if self.observations:
            loser = self.plan.loser(self.observations)
            observation = self.bench.tried(proposal, case, loser, lambda: self._has_time_for(case))
        else:
            observation = self._first(proposal, case)
        self._observe(observation, case)

    def _first(self, proposal: Proposal, case: Case) -> Observation:
        observation = self.bench.first(proposal, case)
        if observation.outcome != "measured":
            # Not observed: a resumed study tries it again.
            raise ServiceError(
                f"the file's own point cannot be measured, so there is nothing to compare with: {observation.reason}",
                hint="make `scenario run` of this file work first",
            )
        return observation

    def _anchor_is_due(self) -> bool:
        """Every so many points, after many failures, and first of all when a study is resumed: nobody knows what
        happened to the machine in between, and the answers of the file's own configuration have to be asked again."""
        return self._resumed or self._since_anchor >= self.plan.tune.anchor_every or self._failures >= SUSPICIOUS

    def _anchor(self) -> None:
        """Measure the file's own point again; when it fails now, the machine is to blame and not the points."""
        planned = Planned(self.plan.current, self.anchors, anchor=True)
        trial = self.bench.measured(planned)
        self.anchors, self._since_anchor, self._failures, self._resumed = self.anchors + 1, 0, 0, False
        if trial.state == "failed":
            raise ServiceError(
                f"the file's own point was measured before, and fails now: {trial.failure}",
                hint="mend the machine or the server; `scenario tune --resume` goes on",
            )

    def _observe(self, observation: Observation, case: Case | None) -> None:
        event = Observed(
            observation.number,
            dict(observation.point),
            observation.outcome,
            self.budget.search_s,
            observation.values,
            dict(observation.violations),
            observation.reason,
            case.id if case is not None else None,
        )
        self.bench.session.writer.note(event)
        improved = self._take(observation)
        self.plan.observer.on_observation(observation, improved)

    def _take(self, observation: Observation) -> bool:
        """Count a finished point and tell the strategy; True when it is an improvement."""
        self.observations.append(observation)
        self.plan.strategy.tell(observation)
        improved = self.plan.is_improvement(self.observations)
        self.budget.count(observation, improved)
        if observation.outcome != "infeasible":
            self._since_anchor += 1
            self._failures = self._failures + 1 if observation.outcome == "failed" else 0
        return improved

    def _remember(self, before: StudyLog) -> None:
        """Tell a fresh strategy what an earlier process finished."""
        for each in before.observed:
            self._take(Observation(each.number, each.point, each.outcome, each.values, each.violations, each.reason))
        self._resumed = bool(self.observations)

    def _has_time_for(self, case: Case) -> bool:
        return self.budget.over(self._longest_s(case)) is None

    def _longest_s(self, case: Case) -> float:
        """What a point may take at most: at its cap, with the slowest start so far where it needs a server."""
        start_s, screen = self.bench.held.longest_start_s, self.plan.tune.screen
        own_s = cap_s(case.scenario.measure, screen) + (start_s if case.server_key != self.bench.held.key else 0.0)
        if not self._anchor_is_due():
            return own_s
        return own_s + start_s + cap_s(self.plan.current.scenario.measure, None)
