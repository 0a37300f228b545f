"""A run as it can be read back at any time, from its journal and manifest alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from runner.errors import RigError
from runner.results.anchors import AnchorStep, anchor_steps, flag_drift
from runner.results.codec import CodecError, decode
from runner.results.journal import SCHEMA, Entry, read_journal
from runner.results.manifest import Manifest, check_schema, read_manifest
from runner.results.records import Trial
from runner.results.repeats import Spread, pooled
from runner.results.study_events import STUDY_EVENTS, StudyEvent, StudyLog
from runner.scenario.limits import MAX_REPEATS

if TYPE_CHECKING:
    from runner.scenario.case import Case

T = TypeVar("T")

PointState = Literal["ok", "invalid", "failed", "interrupted", "skipped", "missing"]
"""The states of a trial, and: skipped, left out by the matrix · missing, the run ended before it."""

MEASURED: frozenset[str] = frozenset({"ok", "invalid"})
"""States that are not measured again on resume."""


@dataclass(frozen=True)
class PlannedCase:
    """What the journal keeps of a case before it is measured."""

    case_id: str
    parameters: dict[str, Any]
    model: str
    protocol: str
    batch: int
    load: dict[str, Any]
    repeats: int = 1
    """How often it is measured."""
    confidence: float = 0.95
    """Of the interval between repeats."""
    precision: dict[str, float] = field(default_factory=dict)
    """Relative half-width that is asked for: of `throughput`, `mean`, `p99`, …"""

    def __post_init__(self) -> None:
        """Every repeat of every case is listed when a run is read."""
        if not 1 <= self.repeats <= MAX_REPEATS:
            raise CodecError(f"{self.case_id}.repeats: expected 1 to {MAX_REPEATS}, got {self.repeats}")

    @classmethod
    def of(cls, case: Case) -> PlannedCase:
        """The part of a matrix case that identifies it in every table."""
        workload, load = case.scenario.workload, case.scenario.load
        loaded = load.model_dump(mode="json", by_alias=True, exclude_none=True)
        return cls(case.id, dict(case.parameters), workload.model, workload.protocol, workload.batch, loaded)


@dataclass(frozen=True)
class RunStarted:
    """First line of the journal: the matrix, in its order."""

    schema: int
    utc: str
    run_id: str
    digest: str
    """sha256 of `resolved.yaml`."""
    cases: tuple[PlannedCase, ...]


@dataclass(frozen=True)
class Skipped:
    """A case that is left out, and why."""

    case_id: str
    reason: str


@dataclass(frozen=True)
class CaseAdded:
    """A case that nobody knew when the run began: a study finds its points one by one."""

    case: PlannedCase


@dataclass(frozen=True)
class Resumed:
    """A later process took the run up again."""

    utc: str
    finished: int
    """Measurements that were kept."""
    torn: str | None = None
    tool_version: str = ""
    environment_changes: tuple[str, ...] = ()
    """What is not as it was when the run began: another machine, another driver, another package."""


@dataclass(frozen=True)
class RunFinished:
    """The run ended by itself; a resumed run has several."""

    utc: str
    outcome: Literal["complete", "partial", "aborted"]


Event = RunStarted | CaseAdded | Skipped | Resumed | RunFinished | Trial | StudyEvent
EVENTS: dict[str, type[Event]] = {
    "run_started": RunStarted,
    "case": CaseAdded,
    "skipped": Skipped,
    "resumed": Resumed,
    "run_finished": RunFinished,
    "trial": Trial,
    **STUDY_EVENTS,
}


@dataclass(frozen=True)
class Point:
    """One row of every table: a case and what became of it."""

    case: PlannedCase
    state: PointState
    trial: Trial | None = None
    reason: str | None = None
    """Why there is no usable number."""
    repeats: tuple[Trial, ...] = ()
    """What `trial` was pooled from; empty where one measurement was planned."""
    spread: Spread | None = None


@dataclass(frozen=True)
class Run:
    """One invocation: its manifest, its matrix, and what was measured of each case."""

    path: Path
    manifest: Manifest
    cases: tuple[PlannedCase, ...] = ()
    """In the order of the matrix."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Case id -> reason."""
    trials: dict[str, Trial] = field(default_factory=dict)
    """Case id -> its trial, or its repeats pooled into one."""
    spreads: dict[str, Spread] = field(default_factory=dict)
    """Case id -> what its repeats showed, where several were planned."""
    repeats: dict[str, tuple[Trial, ...]] = field(default_factory=dict)
    """Case id -> the latest trial of each repeat, in order of the repeats."""
    probes: dict[str, tuple[Trial, ...]] = field(default_factory=dict)
    """Case id -> the loads of its capacity search, in their order."""
    anchors: tuple[Trial, ...] = ()
    """Measurements of the anchor point, in order of time."""
    anchor_steps: tuple[AnchorStep, ...] = ()
    """How the rig changed from anchor to anchor."""
    resumed: tuple[Resumed, ...] = ()
    torn: str | None = None
    """What a killed writer left behind the last whole line, in words."""
    study: StudyLog | None = None
    """Of a study: what was tried and why."""

    def points(self) -> tuple[Point, ...]:
        """Every case of the matrix in its order, measured or not."""
        return tuple(self._point(case) for case in self.cases)

    def finished(self) -> frozenset[tuple[str, int]]:
        """(case id, repeat) with a measurement, valid or not; failed and interrupted ones are measured again."""
        measured = (trial for trials in self.repeats.values() for trial in trials if trial.state in MEASURED)
        return frozenset((trial.case_id, trial.repeat) for trial in measured)

    def finished_case_ids(self) -> frozenset[str]:
        """Cases of which every repeat has a measurement."""
        unfinished = {case.case_id for case, _ in self.remaining()}
        return frozenset(case.case_id for case in self.cases) - unfinished - set(self.skipped)

    def remaining(self) -> tuple[tuple[PlannedCase, int], ...]:
        """(case, repeat) that are still to be measured, in matrix order."""
        done = self.finished()
        planned = ((case, repeat) for case in self.cases for repeat in range(case.repeats))
        return tuple((c, r) for c, r in planned if (c.case_id, r) not in done and c.case_id not in self.skipped)

    def _point(self, case: PlannedCase) -> Point:
        trial = self.trials.get(case.case_id)
        if trial is not None:
            repeats = self.repeats.get(case.case_id, ()) if case.repeats > 1 else ()
            return Point(case, trial.state, trial, _reason(trial), repeats, self.spreads.get(case.case_id))
        if case.case_id in self.skipped:
            return Point(case, "skipped", reason=self.skipped[case.case_id])
        verb = "run" if self.study is None else "tune"
        return Point(case, "missing", reason=f"the run ended before this point; `scenario {verb} --resume` measures it")


def _reason(trial: Trial) -> str | None:
    if trial.failure is not None or trial.state == "ok":
        return trial.failure
    if trial.state == "invalid":
        return "; ".join(flag.message for flag in trial.flags if flag.consequence == "invalidates") or None
    return "interrupted" if trial.state == "interrupted" else None


def load_run(path: Path) -> Run:
    """Read the run in the directory `path`; a damaged file is an error that names the line."""
    journal = path / "journal.jsonl"
    content = read_journal(journal)
    events = [_event(journal, entry) for entry in content.entries]
    started = _started(journal, events)
    cases, trials, study = _cases(started, events), _only(Trial, events), StudyLog.of(events)
    reference = study.started.current_case if study is not None else None
    repeats = _by_repeat(trial for trial in flag_drift(trials, reference) if not trial.anchor and trial.probe is None)
    together = {case.case_id: pooled(case, repeats[case.case_id]) for case in cases if case.case_id in repeats}
    return Run(
        path=path,
        manifest=read_manifest(path / "manifest.json"),
        cases=cases,
        skipped={event.case_id: event.reason for event in _only(Skipped, events)},
        trials={case_id: trial for case_id, (trial, _) in together.items()},
        spreads={case_id: spread for case_id, (_, spread) in together.items() if spread is not None},
        repeats=repeats,
        probes=_by_case(trials),
        anchors=tuple(trial for trial in trials if trial.anchor),
        anchor_steps=anchor_steps(trials, reference),
        resumed=tuple(_only(Resumed, events)),
        torn=content.torn,
        study=study,
    )


def _cases(started: RunStarted | None, events: list[Event]) -> tuple[PlannedCase, ...]:
    """Those of the matrix, then those that were added, each once."""
    found = (*(started.cases if started else ()), *(event.case for event in _only(CaseAdded, events)))
    return tuple({case.case_id: case for case in found}.values())


def recorded_trials(path: Path) -> tuple[Trial, ...]:
    """Every measurement as the journal of the run in `path` holds it: not pooled, not flagged later."""
    journal = path / "journal.jsonl"
    trials = _only(Trial, (_event(journal, entry) for entry in read_journal(journal).entries))
    return tuple({(trial.case_id, trial.repeat, trial.anchor, _turn(trial)): trial for trial in trials}.values())


def _by_case(trials: Iterable[Trial]) -> dict[str, tuple[Trial, ...]]:
    """The latest trial of each load of each search."""
    found: dict[str, dict[tuple[int, int], Trial]] = {}
    for trial in trials:
        if (turn := _turn(trial)) is not None:
            found.setdefault(trial.case_id, {})[turn] = trial
    return {case_id: tuple(by_turn[turn] for turn in sorted(by_turn)) for case_id, by_turn in found.items()}


def _turn(trial: Trial) -> tuple[int, int] | None:
    """Which load of which attempt of a search this is."""
    return None if trial.probe is None else (trial.probe.attempt, trial.probe.number)


def _by_repeat(trials: Iterable[Trial]) -> dict[str, tuple[Trial, ...]]:
    """The latest trial of each repeat: a resumed run measures again what has no measurement."""
    latest: dict[str, dict[int, Trial]] = {}
    for trial in trials:
        latest.setdefault(trial.case_id, {})[trial.repeat] = trial
    return {case_id: tuple(found[n] for n in sorted(found)) for case_id, found in latest.items()}


def _event(journal: Path, entry: Entry) -> Event:
    where = f"{journal}, line {entry.line}"
    cls = EVENTS.get(entry.kind)
    if cls is None:
        raise RigError(f"{where}: unknown kind {entry.kind!r} (schema {SCHEMA})", hint=_WRITTEN_BY_ANOTHER)
    if cls is RunStarted:
        check_schema(where, entry.body.get("schema"))
    try:
        return decode(cls, entry.body, entry.kind)
    except CodecError as error:
        raise RigError(f"{where}: {error} (schema {SCHEMA})", hint=_WRITTEN_BY_ANOTHER) from error


_WRITTEN_BY_ANOTHER = "such a line comes from another version of this tool or an edit; use the version that wrote it"


def _started(journal: Path, events: list[Event]) -> RunStarted | None:
    starts = [index for index, event in enumerate(events) if isinstance(event, RunStarted)]
    if events and starts != [0]:
        raise RigError(
            f"{journal}: expected one `run_started` on line 1, found {len(starts)} on lines {[i + 1 for i in starts]}",
            hint="restore the file from a copy",
        )
    first = events[0] if events else None
    return first if isinstance(first, RunStarted) else None


def _only(cls: type[T], events: Iterable[object]) -> list[T]:
    return [event for event in events if isinstance(event, cls)]
