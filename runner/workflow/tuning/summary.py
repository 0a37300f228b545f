"""A study made again from its journal: fronts, importance, confirmation; nothing here is measured or remembered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from runner.errors import RigError
from runner.results.records import Estimate, Trial
from runner.results.repeats import over_repeats
from runner.results.study import Study, StudyContender, StudyDrift, StudyGain, StudyObjective, StudyTrial
from runner.results.study_events import CONFIRMED

if TYPE_CHECKING:
    from runner.results.run import Run
    from runner.results.study_events import Observed, StudyLog
    from runner.scenario.schema_tune import Tune
    from runner.tune.base import Observation
    from runner.tune.drift import Anchor
    from runner.tune.objectives import Goals
    from runner.tune.winner import Block, Outcome, Standing

FILE_POINT = "the file"
"""What the file's own values are called where contenders are compared."""


def study_of(run: Run) -> Study | None:
    """What a study found so far; None where the run is none."""
    log = run.study
    if log is None:
        return None
    tune, goals = read_tune(log)
    outcome = judge_confirmation(run)
    return Study(
        tune=log.started.tune,
        size=log.started.size,
        objectives=tuple(
            StudyObjective(each.name, each.metric.key, each.metric.unit, each.direction, each.weight)
            for each in goals.objectives
        ),
        trials=tuple(_trials(run, log, goals)),
        importance=_importance(log, tune, goals),
        drifts=tuple(_drifts(run, goals)),
        ended=log.ended.reason if log.ended is not None else None,
        search_s=log.search_s,
        contenders=tuple(_contenders(run, log, goals, outcome)) if outcome is not None else (),
        confirmation=log.confirming.round if log.confirming is not None else None,
        confidence=outcome.confidence if outcome is not None else None,
        call=outcome.call if outcome is not None else None,
        winner=log.concluded.winner if log.concluded is not None else None,
        conclusion=log.concluded.text if log.concluded is not None else "the study has not come to its end",
        written=log.concluded.written if log.concluded is not None else None,
    )


def read_tune(log: StudyLog) -> tuple[Tune, Goals]:
    """The block `tune` of a study and what it is after, from its journal."""
    from runner.scenario.schema_tune import Tune
    from runner.tune.objectives import Goals

    tune = Tune.model_validate(log.started.tune)
    return tune, Goals.of(tune)


def observations_of(log: StudyLog) -> list[Observation]:
    """What a strategy was told, in order."""
    from runner.tune.base import Observation

    return [
        Observation(each.number, each.point, each.outcome, each.values, each.violations, each.reason)
        for each in log.observed
    ]


# --- search -------------------------------------------------------------------------------------------------------


def _trials(run: Run, log: StudyLog, goals: Goals) -> Iterator[StudyTrial]:
    from runner.tune.front import pareto_front

    front = {each.number for each in pareto_front(observations_of(log), goals.objectives)}
    for each in log.observed:
        yield StudyTrial(
            number=each.number,
            case_id=each.case_id,
            point=each.point,
            outcome=each.outcome,
            values=_values(run, each, goals),
            violations=each.violations,
            reason=each.reason,
            search_s=each.search_s,
            on_front=each.number in front,
        )


def _values(run: Run, observed: Observed, goals: Goals) -> tuple[Estimate, ...]:
    """The objectives with their intervals; as they were told where the measurement has no such metric any more."""
    if observed.values is None:
        return ()
    trial = run.trials.get(observed.case_id or "")
    try:
        return goals.read(trial).values if trial is not None else tuple(map(Estimate, observed.values))
    except RigError:
        return tuple(map(Estimate, observed.values))


def _importance(log: StudyLog, tune: Tune, goals: Goals) -> dict[str, dict[str, float]]:
    from runner.tune.importance import importance
    from runner.tune.space import dimensions_of

    return importance(dimensions_of(tune), observations_of(log), goals.objectives)


def _drifts(run: Run, goals: Goals) -> Iterator[StudyDrift]:
    from runner.tune.drift import drifts

    for each in drifts(list(_anchors(run, goals)), goals.objectives):
        yield StudyDrift(each.objective, each.change, each.drifted, each.words)


def _anchors(run: Run, goals: Goals) -> Iterator[Anchor]:
    """The file's own point each time that it was measured in the search, in order of time."""
    from runner.tune.drift import Anchor

    assert run.study is not None
    own = run.study.started.current_case
    searched = {case_id: trials for case_id, trials in run.repeats.items() if not case_id.startswith(CONFIRMED)}
    for trial in _usable((*searched.get(own, ()), *run.anchors)):
        earlier = (each for trials in searched.values() for each in trials if each.started_utc < trial.started_utc)
        yield Anchor(len({each.case_id for each in earlier}), goals.read(trial).values)


# --- confirmation -------------------------------------------------------------------------------------------------


def judge_confirmation(run: Run) -> Outcome | None:
    """What the confirmation says; None where there was none, or it has not begun."""
    log = run.study
    if log is None or log.confirming is None:
        return None
    from runner.tune.winner import confidence_of, name_winner

    tune, goals = read_tune(log)
    assert tune.confirm is not None
    return name_winner(
        _blocks(run, log, goals),
        FILE_POINT,
        goals.objectives,
        margin=tune.confirm.margin,
        confidence=confidence_of(log.confirming.round),
    )


def contender_name(number: int) -> str:
    """How a contender is called."""
    return f"point {number}" if number else FILE_POINT


def number_of(name: str) -> int:
    """The number of a contender."""
    return int(name.removeprefix("point ")) if name != FILE_POINT else 0


def _blocks(run: Run, log: StudyLog, goals: Goals) -> list[Block]:
    """Block by block, each contender's measurement in it; those that are not usable are left out."""
    from runner.tune.winner import Entry

    assert log.confirming is not None
    blocks: dict[int, dict[str, Entry]] = {}
    for case_id, number in log.confirming.contenders.items():
        for trial in _usable(run.repeats.get(case_id, ())):
            seen = goals.observe(number, {}, trial)
            if seen.values is not None:
                blocks.setdefault(trial.block, {})[contender_name(number)] = Entry(seen.values, seen.violations)
    return [blocks[block] for block in sorted(blocks)]


def _usable(trials: Sequence[Trial]) -> list[Trial]:
    return [trial for trial in trials if trial.state == "ok" and trial.summary is not None]


def _contenders(run: Run, log: StudyLog, goals: Goals, outcome: Outcome) -> Iterator[StudyContender]:
    """The file's own point first, then the others, best first."""
    assert log.confirming is not None
    case_ids = {number: case_id for case_id, number in log.confirming.contenders.items()}
    points: Mapping[int, Observed] = {each.number: each for each in log.observed}
    standings: dict[int, Standing | None] = {0: None, **{number_of(each.contender): each for each in outcome.standings}}
    for number in (*standings, *(each for each in case_ids if each not in standings)):
        standing = standings.get(number)
        trials = _usable(run.repeats.get(case_ids[number], ()))
        yield StudyContender(
            number=number,
            case_id=case_ids[number],
            point=points[number].point,
            blocks=len(trials),
            values=_over_blocks(trials, goals),
            gain=standing.gain if standing is not None else None,
            gains=tuple(StudyGain(each.objective, each.change) for each in standing.gains) if standing else (),
            verdict=standing.verdict if standing is not None else "",
            p_adjusted=standing.p_adjusted if standing is not None else None,
            missed=standing.missed if standing is not None else outcome.baseline_missed if number == 0 else (),
            note=standing.note if standing is not None else None,
            straddling=standing.straddling if standing is not None else (),
        )


def _over_blocks(trials: Sequence[Trial], goals: Goals) -> tuple[Estimate, ...]:
    """Median and interval of each objective over the blocks."""
    readings = [goals.read(trial).values for trial in trials]
    return tuple(over_repeats([each.value for each in column], 0.95) for column in zip(*readings, strict=True))
