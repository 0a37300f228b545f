"""Which run directory `--resume` goes on with, and why there is none."""

from __future__ import annotations

import contextlib
from pathlib import Path

from runner.errors import RigError, UsageError
from runner.locks import describe, holder
from runner.results.differences import changed_values
from runner.results.directory import LOCK, Kind, RunDirectory
from runner.results.manifest import read_manifest
from runner.results.run import Run

EXTENDABLE = "tune.budget"
"""The address that a resumed study may change."""


def runs_in(base: Path) -> list[RunDirectory]:
    """Every run directory in `base`, newest first."""
    folders = sorted(base.iterdir(), key=lambda folder: folder.name, reverse=True) if base.is_dir() else []
    found = [RunDirectory(folder) for folder in folders]
    return [run for run in found if run.journal_path.is_file() and run.manifest_path.is_file()]


def latest_resumable(base: Path, digest: str, kind: Kind = "run") -> RunDirectory | None:
    """The newest run or study of this very scenario that is not done and has no live owner."""
    for directory in runs_in(base):
        with contextlib.suppress(RigError):  # a damaged run is not a candidate; naming it with --resume RUN shows why
            manifest = read_manifest(directory.manifest_path)
            if manifest.scenario.digest != digest or manifest.kind != kind or manifest.compare_group is not None:
                continue  # one side of a comparison goes on with the other one only
            if not directory.is_owned() and _is_unfinished(directory.load()):
                return directory
    return None


def _is_unfinished(run: Run) -> bool:
    """A run has points left; a study, which finds its points as it goes, has not come to its end."""
    if run.manifest.kind == "study":
        return run.study is None or run.study.concluded is None
    return bool(run.remaining())


def resumable_pair(base: Path, digest_a: str, digest_b: str) -> tuple[RunDirectory, RunDirectory] | None:
    """The newest comparison of these two scenarios that still has points to measure and no live owner.

    The group of a comparison is named after its run A.
    """
    for a in runs_in(base):
        with contextlib.suppress(RigError):  # as above
            manifest = read_manifest(a.manifest_path)
            if manifest.compare_group != a.name or manifest.scenario.digest != digest_a:
                continue
            b = next((run for run in runs_in(base) if run.name != a.name and _in_group(run, a.name)), None)
            if b is None or read_manifest(b.manifest_path).scenario.digest != digest_b:
                continue
            if any(run.load().remaining() for run in (a, b)) and not any(run.is_owned() for run in (a, b)):
                return a, b
    return None


def _in_group(run: RunDirectory, group: str) -> bool:
    return read_manifest(run.manifest_path).compare_group == group


def why_nothing_to_resume(base: Path, scenario_name: str, digest: str, resolved: str, kind: Kind = "run") -> UsageError:
    """The error for a resume that `latest_resumable` found nothing for; says how near the nearest run is."""
    hint = f"run without --resume to start a new {kind}"
    for directory in runs_in(base):
        manifest = read_manifest(directory.manifest_path)
        if manifest.kind != kind:
            continue
        scenario = manifest.scenario
        if scenario.digest == digest and manifest.compare_group is not None:
            message = f"nothing to resume: {directory.path} is one side of a comparison"
            return UsageError(
                message, hint="give --resume with the --against of the first run: both sides go on together"
            )
        if scenario.digest == digest:
            return _nothing_left(directory, kind, hint)
        if scenario.name == scenario_name and manifest.compare_group is None:
            return _another_scenario(directory, resolved, kind, hint)
    return UsageError(f"nothing to resume: no {kind} of {scenario_name} in {base}", hint=hint)


def _nothing_left(directory: RunDirectory, kind: Kind, hint: str) -> UsageError:
    if directory.is_owned():
        writing = describe(holder(directory.path / LOCK))
        return UsageError(f"nothing to resume: {directory.path} is still being written by {writing}", hint=hint)
    if kind == "run":
        return UsageError(f"nothing to resume: {directory.path} has every point already", hint=hint)
    larger = "give a larger budget to extend it, for example --set tune.budget.trials=200"
    return UsageError(f"nothing to resume: {directory.path} is concluded", hint=f"{larger}, or {hint}")


def _another_scenario(directory: RunDirectory, resolved: str, kind: Kind, hint: str) -> UsageError:
    differs = changed_values(directory.resolved_path, resolved, but=EXTENDABLE if kind == "study" else "")
    message = f"nothing to resume: {directory.path} was started with another scenario: {differs}"
    return UsageError(message, hint=f"only {EXTENDABLE} may be another; {hint}" if kind == "study" else hint)
