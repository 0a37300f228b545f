"""The answer of a search as the trial of its case: numbers of the confirmation, verdict of the search."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from runner.results.capacity import Attempt, Capacity, Verdict
from runner.results.records import Flag, Trial, TrialState
from runner.results.repeats import pooled
from runner.results.run import PlannedCase
from runner.scenario.schema import SlaLoad
from runner.tune.capacity import new_search, replay
from runner.tune.capacity import pooled as pooled_searches
from runner.workflow.probing import judge_of

if TYPE_CHECKING:
    from runner.scenario.case import Case

ANSWERS = frozenset({"found", "at least", "infeasible", "hint"})
"""How a search ends that has something to say."""


def answer(case: Case, capacity: Capacity, trials: Sequence[Trial]) -> Trial:
    """One trial for the whole search; `trials` are its probes.

    Rate and latency are those of the loads that confirmed the answer, taken together as repeats are.
    """
    shown = _shown(capacity, trials)
    planned = PlannedCase.of(case)
    together, _ = pooled(replace(planned, repeats=len(shown)), shown)
    answered = capacity.status in ANSWERS
    state: TrialState = "ok" if answered else "invalid"
    return replace(
        together,
        load=planned.load,
        state=state,
        repeat=0,
        block=0,
        elapsed_s=sum(trial.elapsed_s for trial in trials),
        started_utc=trials[0].started_utc,
        failure=None if answered else capacity.reason,
        flags=_flags(capacity, together.flags, answered),
        raw=None,
        probe=None,
        capacity=capacity,
    )


def capacity_again(trial: Trial, trials: Sequence[Trial]) -> Capacity | None:
    """The answer that follows from what is recorded of the loads; None where they do not lead to one."""
    load = SlaLoad.model_validate(trial.load)
    probes = [each.probe for each in trials if each.probe is not None]
    searches = [new_search(load) for _ in range(load.attempts)]
    for number, search in enumerate(searches):
        replay(search, [probe for probe in probes if probe.attempt == number])
    if any(search.ask() is not None for search in searches):
        return None
    return pooled_searches(load, [search.attempt() for search in searches])


def verdicts_again(trial: Trial, trials: Sequence[Trial]) -> Iterator[tuple[Trial, Verdict]]:
    """Loads on which another verdict follows from what they counted; one that was spoilt is invalid whatever that is.

    A load is judged by what the search asked for, so it is followed up to the first that it would not have asked for.
    """
    load = SlaLoad.model_validate(trial.load)
    for attempt in range(load.attempts):
        search = new_search(load)
        for each in trials:
            probe, ask = each.probe, search.ask()
            if probe is None or probe.attempt != attempt:
                continue
            if ask is None or (ask.stage, ask.over, ask.level) != (probe.stage, probe.over, probe.level):
                break
            if probe.tally is not None and probe.verdict != "invalid":
                again = judge_of(ask, load, attempt, probe.number)(probe.tally).verdict
                if again != probe.verdict:
                    yield each, again
            search.tell(probe)


def _shown(capacity: Capacity, trials: Sequence[Trial]) -> list[Trial]:
    """The confirming probes of the answer; without one the loads at it; without an answer the very first load."""
    number = next((n for n, a in enumerate(capacity.attempts) if _is_answer(a, capacity)), 0)
    own = [trial for trial in trials if trial.probe is not None and trial.probe.attempt == number]
    at_level = [t for t in own if t.probe and t.probe.level == capacity.level and t.probe.tally is not None]
    confirming = [t for t in at_level if t.probe and t.probe.stage == "confirm"]
    return confirming or at_level[-1:] or own[:1]


def _is_answer(attempt: Attempt, capacity: Capacity) -> bool:
    return attempt.level == capacity.level and attempt.status == capacity.status


def _flags(capacity: Capacity, flags: Sequence[Flag], answered: bool) -> tuple[Flag, ...]:
    """Those of the numbers, which the verdict has taken into account, and what the search itself found strange."""
    kept = [replace(flag, consequence="informs") if answered else flag for flag in flags]
    return (*kept, *_not_monotone(capacity))


def _not_monotone(capacity: Capacity) -> list[Flag]:
    audits = [attempt.audit for attempt in capacity.attempts if attempt.audit and not attempt.audit.monotone]
    if not audits:
        return []
    worst = max(audits, key=lambda audit: audit.worst)
    words = (
        f"The share of requests over the limit does not rise with the load (off by {worst.worst:.2%} at "
        f"{worst.at:g}): below the answer there may be loads that miss the limit; look at the probes."
    )
    return [Flag("non_monotone", worst.worst, 0.0, "informs", words)]
