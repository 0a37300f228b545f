"""A study for people: the front, what mattered, and whether anything is really better than the file itself."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from string import ascii_uppercase
from typing import Any

from runner.report.tabular import aligned, number_text, short_names
from runner.results.records import Estimate
from runner.results.run import Run
from runner.results.study import Study, StudyContender, StudyObjective, StudyTrial
from runner.units import counted, rough_duration

ABSENT = "-"
WIDTH = 100
"""Columns of a terminal."""
MOST_SHOWN = 12
"""Points of a front that are shown; trials.csv has all."""
LEAST_SHARE = 0.01
"""Of an address's importance that is shown."""
MOST_REASONS = 5
"""Points without numbers that are shown with their reason."""


def study_text(run: Run, study: Study) -> str:
    """The study for a terminal."""
    parts = (_heading(run, study), _front(study), _importance(study), _left_out(study), _confirmation(study))
    paragraphs = ["\n".join(line.rstrip() for line in part) for part in parts]
    return "\n\n".join([*(each for each in paragraphs if each), study.conclusion]) + "\n"


def _heading(run: Run, study: Study) -> Iterator[str]:
    manifest = run.manifest
    target = f", target {manifest.target}" if manifest.target else ""
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in study.counts().items())
    points = counted(len(study.trials) if study.size is None else study.size, "point")
    points = points if study.size is None else f"{len(study.trials)} of {points}"
    yield (
        f"{manifest.scenario.name}{target}: study of {counted(len(study.tune['space']), 'address')} by "
        f"{study.tune['strategy']['kind']}, {points} ({outcomes})"
    )
    ended = study.ended or "it was cut off; `scenario tune --resume` goes on"
    yield f"the search took {rough_duration(study.search_s)}: {ended}"
    extended = run.study.extended if run.study is not None else None
    if extended is not None and extended.command:
        program, *arguments = extended.command
        yield f"extended by: {shlex.join([PurePath(program).name, *arguments])}"
    yield from (f"! {each.text}" for each in study.drifts if each.drifted)


# --- the front ----------------------------------------------------------------------------------------------------


def _front(study: Study) -> Iterator[str]:
    if not study.trials:
        return
    several = len(study.objectives) > 1
    goals = ", ".join(f"{each.name} {each.direction}" for each in study.objectives)
    constraints = study.tune.get("constraints") or []
    where = f", where {' and '.join(constraints)}" if constraints else ""
    yield f"{'the front' if several else 'the best point'} of {goals}{where}, as the search measured it:"
    shown = list(study.front)[:MOST_SHOWN]
    file_point = [trial for trial in study.trials if trial.number == 0 and trial not in shown]
    yield from _table(study, [*shown, *file_point])
    more = len(study.front) - len(shown)
    if more > 0:
        yield f"  and {more} more, see trials.csv"


def _table(study: Study, trials: Sequence[StudyTrial]) -> Iterator[str]:
    """Addresses as columns; where their names make it too wide they become letters, explained below."""
    varied = list(study.tune["space"])
    rows = [_row(study, trial, varied) for trial in trials]
    names, legend = short_names(varied), list[str]()
    lines = aligned([_header(study, [names[each] for each in varied]), *rows])
    if max(map(len, lines)) > WIDTH and len(varied) <= len(ascii_uppercase):
        letters = ascii_uppercase[: len(varied)]
        lines = aligned([_header(study, letters), *rows])
        legend = [f"  {letter} = {address}" for letter, address in zip(letters, varied, strict=True)]
    yield from (*lines, *legend)


def _header(study: Study, names: Sequence[str]) -> list[str]:
    return ["point", *names, *(each.name for each in study.objectives), "missed"]


def _row(study: Study, trial: StudyTrial, varied: Sequence[str]) -> list[str]:
    name = f"{trial.number}" if trial.number else "0 (file)"
    points = [_plain(trial.point.get(address)) for address in varied]
    values = [_measured(*pair) for pair in zip(study.objectives, trial.values, strict=False)]
    values += [ABSENT] * (len(study.objectives) - len(values))
    return [name, *points, *values, f"{len(trial.violations)}" if trial.violations else ABSENT]


def _measured(objective: StudyObjective, estimate: Estimate) -> str:
    unit = {"ms": " ms", "1/s": "/s", "us": " us", "s": " s", "%": " %"}.get(objective.unit, "")
    return f"{number_text(estimate.value)}{_plus_minus(estimate)}{unit}"


def _plus_minus(estimate: Estimate) -> str:
    if estimate.low is None or estimate.high is None or estimate.low == estimate.high:
        return ""
    return f" ±{number_text((estimate.high - estimate.low) / 2)}"


def _plain(value: Any) -> str:
    return ABSENT if value is None else str(value)


def _importance(study: Study) -> Iterator[str]:
    names = short_names(list(study.tune["space"]))
    for objective, found in study.importance.items():
        shares = [f"{names[address]} {share:.0%}" for address, share in found.items() if share >= LEAST_SHARE]
        yield f"what moved {objective}: {', '.join(shares) or 'nothing that stands out from the noise'}"


def _left_out(study: Study) -> Iterator[str]:
    """Why points have no numbers, each reason once."""
    failed = [trial for trial in study.trials if trial.outcome == "failed"]
    reasons: dict[str, list[str]] = {}
    for trial in failed:
        reasons.setdefault(trial.reason, []).append(str(trial.number))
    for reason, numbers in list(reasons.items())[:MOST_REASONS]:
        yield f"failed: point{'s' if len(numbers) > 1 else ''} {', '.join(numbers)}: {reason}"
    more = len(reasons) - MOST_REASONS
    if more > 0:
        yield f"and {more} more reasons, see trials.csv"


# --- confirmation -------------------------------------------------------------------------------------------------


def _confirmation(study: Study) -> Iterator[str]:
    if not study.contenders:
        return
    blocks = study.tune["confirm"]["repeats"]
    yield (
        f"confirmed head to head in {counted(blocks, 'block')}, every contender once in each on a fresh server"
        f"{_again(study)}:"
    )
    header = ["point", "blocks"]
    for objective in study.objectives:
        header += [objective.name, "change"]
    yield from aligned([[*header, "verdict"], *(_contender(study, each) for each in study.contenders)])
    for each in study.contenders:
        if each.missed:
            yield f"  point {each.number} misses {', '.join(f'`{text}`' for text in each.missed)}"
        if each.note:
            yield f"  point {each.number}: {each.note}"


def _again(study: Study) -> str:
    if study.confidence is None or study.confirmation in (None, 1):
        return ""
    return f" (confirmation {study.confirmation} of this study, with intervals of {100 * study.confidence:.4g} %)"


def _contender(study: Study, contender: StudyContender) -> list[str]:
    row = [f"{contender.number}" if contender.number else "0 (file)", f"{contender.blocks}"]
    changes = {gain.objective: gain.change for gain in contender.gains}
    for index, objective in enumerate(study.objectives):
        value = _measured(objective, contender.values[index]) if contender.values else ABSENT
        change = changes.get(objective.name)
        row += [value, change_text(change) if change is not None else ""]
    return [*row, contender.verdict.replace("_", " ")]


def change_text(change: Estimate) -> str:
    """`+12.3 % (+10.1 … +14.6)`."""
    words = f"{_signed(change.value)} %"
    if change.low is None or change.high is None:
        return words
    return f"{words} ({_signed(change.low)} … {_signed(change.high)})"


def _signed(share: float) -> str:
    return f"{100 * share:+.1f}".replace("-", "−")
