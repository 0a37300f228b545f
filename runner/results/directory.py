"""The run directory: where a run keeps everything, written so that a kill at any moment loses at most one point."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from runner import __version__
from runner.errors import RigError, RunnerError, UsageError
from runner.locks import LockedError, describe, is_locked, locked
from runner.results.codec import encode
from runner.results.differences import changed_values, changes, flat
from runner.results.environment import VOLATILE
from runner.results.files import disk, make_folder, sha256_of, sweep_temporaries, sync_folder, write_atomic
from runner.results.journal import SCHEMA, JournalWriter, read_journal
from runner.results.manifest import Manifest, ScenarioRecord, artefacts_in, changed, read_manifest
from runner.results.records import Trial
from runner.results.run import (
    MEASURED,
    CaseAdded,
    PlannedCase,
    Resumed,
    Run,
    RunFinished,
    RunStarted,
    Skipped,
    load_run,
)
from runner.results.study_events import STUDY_EVENTS, Extended, StudyEvent

if TYPE_CHECKING:
    from runner.scenario.case import Case

LOCK = ".owner"

Kind = Literal["run", "study"]


def digest_of(resolved: str) -> str:
    """What identifies a scenario with everything resolved: two runs may share results only if this is equal."""
    return hashlib.sha256(resolved.encode("utf-8", "surrogatepass")).hexdigest()


def utc(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class RunDirectory:
    """Paths of one run and what can be asked of it without owning it; `writer` owns it."""

    path: Path

    @classmethod
    def create(
        cls,
        base: Path,
        scenario_name: str,
        digest: str,
        started: datetime,
        source: Path | None = None,
        kind: Kind = "run",
    ) -> RunDirectory:
        """Make `base/<utc>-<name>-<hash8>/` with a first manifest; a second one in the same second gets a number.

        `source` is the scenario file as the user wrote it; its digest is recorded. The folder of a study has `tune`
        behind the name.
        """
        make_folder(base)
        name = scenario_name if kind == "run" else f"{scenario_name}-tune"
        stem = f"{started.astimezone(UTC):%Y%m%dT%H%M%SZ}-{name}-{digest[:8]}"
        directory = cls(_claim(base, stem))
        for folder in (directory.logs, directory.histograms):
            make_folder(folder)
        file_sha256 = sha256_of(source) if source is not None else None
        scenario = ScenarioRecord(scenario_name, digest, str(source) if source else None, file_sha256)
        Manifest(SCHEMA, directory.name, __version__, utc(started), scenario, kind=kind).write(directory.manifest_path)
        return directory

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """The run in `path`, which must be one."""
        directory = cls(path)
        if not directory.journal_path.is_file() or not directory.manifest_path.is_file():
            raise UsageError(
                f"{path} is not a run directory: expected journal.jsonl and manifest.json in it",
                hint="run directories are made by `scenario run`, in runs/ unless --output-dir says otherwise",
            )
        return directory

    @property
    def name(self) -> str:
        """The run id."""
        return self.path.name

    @property
    def manifest_path(self) -> Path:
        return self.path / "manifest.json"

    @property
    def resolved_path(self) -> Path:
        return self.path / "resolved.yaml"

    @property
    def journal_path(self) -> Path:
        return self.path / "journal.jsonl"

    @property
    def logs(self) -> Path:
        """Server and setup logs."""
        return self.path / "logs"

    @property
    def histograms(self) -> Path:
        """One HdrHistogram log per case."""
        return self.path / "histograms"

    def is_owned(self) -> bool:
        """Whether a live process writes to it."""
        return is_locked(self.path / LOCK)

    def load(self) -> Run:
        """Everything the run holds so far."""
        return load_run(self.path)

    def finished_case_ids(self) -> frozenset[str]:
        """Cases that a resume does not measure again."""
        return self.load().finished_case_ids()

    def check_same(self, digest: str, resolved: str) -> None:
        """Refuse to continue with a scenario that is not the one this run was started with; says what differs."""
        recorded = read_manifest(self.manifest_path).scenario.digest
        if recorded == digest:
            return
        raise UsageError(
            f"{self.path} was started with another scenario: {changed_values(self.resolved_path, resolved)}",
            hint="start a new run without --resume, or give the file and the options of the first run",
        )

    @contextlib.contextmanager
    def writer(self) -> Iterator[RunWriter]:
        """Own the directory and write to it; refused while another live process owns it.

        A torn last line is cut off first. An error that leaves the block marks the run as aborted.
        """
        with _owned(self.path), contextlib.closing(RunWriter(self)) as writer:
            try:
                yield writer
            except BaseException:
                writer.abandon()
                raise


@contextlib.contextmanager
def _owned(path: Path) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        try:
            with disk(path / LOCK):
                stack.enter_context(locked(path / LOCK))
        except LockedError as error:
            raise RigError(
                f"{path} belongs to {describe(error.holder)}, which is still running",
                hint="wait for it or stop it; without --resume a run of its own is started beside it",
            ) from error
        yield


def _claim(base: Path, stem: str) -> Path:
    for number in itertools.count(1):
        path = base / (stem if number == 1 else f"{stem}-{number}")
        with disk(path), contextlib.suppress(FileExistsError):
            path.mkdir()
            sync_folder(base)
            return path
    raise AssertionError("unreachable")


class RunWriter:
    """The one process that writes to a run directory; every method returns when its effect is on disk."""

    def __init__(self, directory: RunDirectory) -> None:
        self.directory = directory
        sweep_temporaries(directory.path)
        self.torn: str | None = None
        self._finished = False
        self._journal = self._opened_journal()

    def _opened_journal(self) -> JournalWriter:
        path = self.directory.journal_path
        content = read_journal(path) if path.exists() else None
        journal = JournalWriter(path)
        if content is not None and content.torn:
            self.torn = content.torn
            journal.truncate(content.intact_bytes)
        return journal

    @cached_property
    def _manifest(self) -> Manifest:
        return read_manifest(self.directory.manifest_path)

    def write_resolved(self, resolved: str) -> None:
        """Keep the scenario as it was resolved."""
        write_atomic(self.directory.resolved_path, resolved.encode("utf-8", "surrogatepass"))

    def update(self, **changes: Any) -> None:
        """Replace fields of the manifest; the command line is redacted on the way."""
        self._manifest = changed(self._manifest, **changes)
        self._manifest.write(self.directory.manifest_path)

    def begin(self, cases: Sequence[Case | PlannedCase]) -> None:
        """First lines of the journal: the matrix in its order, and what it leaves out."""
        planned = tuple(case if isinstance(case, PlannedCase) else PlannedCase.of(case) for case in cases)
        digest = self._manifest.scenario.digest
        started = RunStarted(SCHEMA, self._manifest.started_utc, self.directory.name, digest, planned)
        self._append("run_started", started)
        for case in cases:
            if not isinstance(case, PlannedCase) and case.skipped is not None:
                self.skip(case.id, case.skipped)

    def resume(self, digest: str, resolved: str, environment: Mapping[str, Any] | None = None) -> Run:
        """Go on with what is there: checks that the scenario is the same, records the fact, returns the run so far.

        With `environment` given, what changed in it since the run began is recorded and shown with the results.
        """
        self.directory.check_same(digest, resolved)
        run = self.directory.load()
        stable = {key for key in environment or {} if key not in (*VOLATILE, "digest")}
        before = {key: value for key, value in run.manifest.environment.items() if key in stable}
        changed_facts = changes(flat(before), flat({key: (environment or {})[key] for key in stable})) if before else []
        finished = len(run.finished())
        moment = utc(datetime.now(UTC))
        self._append("resumed", Resumed(moment, finished, self.torn, __version__, tuple(changed_facts)))
        self.update(outcome="running", ended_utc=None, artefacts=())
        return run

    def extend(self, resolved: str, extended: Extended) -> Run:
        """The study in this directory is one of another budget from now on; returns what it holds.

        The event comes first: a kill behind it leaves a study that `--resume` finds and extends again.
        """
        self.note(extended)
        self.write_resolved(resolved)
        self.update(scenario=replace(self._manifest.scenario, digest=extended.digest))
        return self.directory.load()

    def append(self, trial: Trial) -> None:
        """Keep one trial."""
        self._append("trial", trial)

    def add(self, case: PlannedCase) -> None:
        """Record a case that was not known when the run began."""
        self._append("case", CaseAdded(case))

    def note(self, event: StudyEvent) -> None:
        """Keep one event of a study."""
        self._append(next(kind for kind, cls in STUDY_EVENTS.items() if isinstance(event, cls)), event)

    def skip(self, case_id: str, reason: str) -> None:
        """Record that a case is left out."""
        self._append("skipped", Skipped(case_id, reason))

    def finish(self, outcome: Literal["complete", "partial", "aborted"]) -> None:
        """Last line of the journal, and the manifest with the digest of every file; call it after the reports."""
        ended = utc(datetime.now(UTC))
        self._append("run_finished", RunFinished(ended, outcome))
        self.update(outcome=outcome, ended_utc=ended)
        refresh_artefacts(self.directory)
        self._finished = True

    def abandon(self) -> None:
        """Mark an unfinished run as aborted, as far as the disk still lets us."""
        if not self._finished:
            with contextlib.suppress(RunnerError, OSError):
                self.finish("aborted")

    def close(self) -> None:
        """Give the journal back; the run stays resumable."""
        self._journal.close()

    def _append(self, kind: str, record: object) -> None:
        body = encode(record, kind)
        assert isinstance(body, dict)
        self._journal.append(kind, body)


def refresh_artefacts(directory: RunDirectory, only: Collection[Path] | None = None) -> None:
    """List every file of the run with its digest in the manifest.

    With `only` the digests of these files alone are taken anew: those of the others still prove what was measured.
    """
    manifest = read_manifest(directory.manifest_path)
    found = artefacts_in(directory.path, ignore=("manifest.json",))
    if only is not None:
        anew = {path.relative_to(directory.path).as_posix() for path in only}
        listed = {artefact.path: artefact for artefact in manifest.artefacts}
        listed |= {artefact.path: artefact for artefact in found if artefact.path in anew}
        found = tuple(listed[name] for name in sorted(listed))
    replace(manifest, artefacts=found).write(directory.manifest_path)


__all__ = ["MEASURED", "RunDirectory", "RunWriter", "digest_of", "refresh_artefacts", "utc"]
