"""A case whose load is not given but looked for: the search asks, the ordinary path measures, the search is told.

Every load is a trial of its own in the journal, written before anything follows from it. So a search that was killed
tells a fresh one what is there, and goes on with the next load.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from runner.measure.loads import settings_for
from runner.measure.settings import resolve
from runner.results.capacity import Attempt, Probe
from runner.scenario.schema import SlaLoad
from runner.tune.capacity import Ask, Search, new_search, pooled, replay
from runner.workflow.answering import answer
from runner.workflow.measuring import died, measure_point
from runner.workflow.order import Planned, Probing
from runner.workflow.probing import judge_of, load_of, probe_settings
from runner.workflow.serving import Serving, served

if TYPE_CHECKING:
    from runner.results.records import Flag, Trial
    from runner.setup.base import Prepared
    from runner.workflow.session import Session

COUNTED = frozenset({"saturated", "errors", "aborted", "wrong_output"})
"""Flags that would invalidate a point and are what a search wants to know: the verdict has counted it all."""
SLOWING = frozenset({"client_limited", "foreign_load", "throttled_thermal", "throttled_hw"})
"""What makes a server look slower than it is, never faster, as latency counts from the intended send: a pass stands."""


def search_case(planned: Planned, prepared: Prepared, session: Session) -> None:
    """Look for the capacity of a case, as often as it is asked for, and keep the answer as the trial of the case."""
    load = planned.case.scenario.load
    assert isinstance(load, SlaLoad)
    session.observer.on_case(planned.case)
    attempts = [_attempt(number, load, planned, prepared, session) for number in range(load.attempts)]
    trials = session.writer.directory.load().probes[planned.case.id]
    trial = answer(planned.case, pooled(load, attempts), trials)
    session.writer.append(trial)
    session.observer.on_trial(trial)
    session.stopped_after(planned)


def _attempt(number: int, load: SlaLoad, planned: Planned, prepared: Prepared, session: Session) -> Attempt:
    """One search, after what an earlier process has left of it."""
    search = new_search(load)
    replay(search, _recorded(planned, number, session))
    while search.ask() is not None:
        with served(planned.case.scenario, prepared, session) as serving:
            _until_restart(search, number, planned, serving, session)
    return search.attempt()


def _recorded(planned: Planned, number: int, session: Session) -> Sequence[Probe]:
    trials = session.writer.directory.load().probes.get(planned.case.id, ())
    return [trial.probe for trial in trials if trial.probe is not None and trial.probe.attempt == number]


def _until_restart(search: Search, attempt: int, planned: Planned, serving: Serving, session: Session) -> None:
    """Try loads on one server: until the search wants a fresh one, it is over, or the server dies."""
    began = search.number
    while (ask := search.ask()) is not None and (search.number == began or not ask.fresh_server):
        search.tell(_probed(ask, attempt, search.number, planned, serving, session))
        if died(serving.server, session):
            return


def _probed(ask: Ask, attempt: int, number: int, planned: Planned, serving: Serving, session: Session) -> Probe:
    """Measure one load; in the journal when this returns.

    Raises:
        KeyboardInterrupt: the user stopped it.
    """
    session.cool_down()
    load = planned.case.scenario.load
    assert isinstance(load, SlaLoad)
    scenario = planned.case.scenario.model_copy(update={"load": load_of(ask, load)})
    settings = settings_for(resolve(scenario.measure), load)
    probing = Probing(
        f"search{attempt}-{number}",
        probe_settings(settings, ask, load, attempt, number),
        judge_of(ask, load, attempt, number),
    )
    trial = measure_point(Planned(replace(planned.case, scenario=scenario), probing=probing), serving, session)
    if trial.state == "interrupted":
        session.writer.append(replace(trial, probe=None))
        session.stop.pass_on()
    probe = _settled(trial, ask, attempt, number)
    session.writer.append(replace(trial, probe=probe))
    session.observer.on_probe(planned.case, probe)
    return probe


def _settled(trial: Trial, ask: Ask, attempt: int, number: int) -> Probe:
    """The verdict, unless the trial says nothing about the server."""
    if trial.probe is None:
        reason = trial.failure or "nothing was measured"
        blank = Probe(attempt, number, ask.stage, ask.over, ask.level, "invalid", reason.splitlines()[0], None)
        return replace(blank, elapsed_s=trial.elapsed_s)
    found = replace(trial.probe, elapsed_s=trial.elapsed_s)
    spoilt = next((flag for flag in trial.flags if _spoils(flag, trial, found)), None)
    return found if spoilt is None else replace(found, verdict="invalid", reason=spoilt.message)


def _spoils(flag: Flag, trial: Trial, probe: Probe) -> bool:
    """The verdict does not hold because of what this flag says."""
    if flag.consequence == "informs" or flag.code in COUNTED:
        return False
    if flag.code == "not_delivered":
        # Dropped requests are misses; but what the client did not even try was no load of this rate.
        return trial.counts is None or not trial.counts.dropped
    return flag.code not in SLOWING or probe.verdict != "pass"
