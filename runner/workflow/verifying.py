"""`scenario verify`: digests, every trial from its raw record, every report from the journal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from runner.errors import RigError

if TYPE_CHECKING:
    from runner.results.records import Trial
    from runner.results.run import Run
    from runner.results.verification import Discrepancy, Verification


def verify_run(path: Path) -> Verification:
    """Make everything in the run directory again that can be, and list what differs; changes nothing.

    Raises:
        UsageError: the folder is no run.
        RigError: its manifest cannot be read.
    """
    from runner.results.artefacts import check_digests, unlisted
    from runner.results.directory import RunDirectory
    from runner.results.manifest import read_manifest
    from runner.results.run import recorded_trials
    from runner.results.verification import Discrepancy, Verification

    directory = RunDirectory.open(path)
    manifest = read_manifest(directory.manifest_path)
    found = list(check_digests(directory, manifest))
    trials = reports = 0
    try:
        run = directory.load()
    except RigError as error:
        found.append(Discrepancy("journal.jsonl", "", "content", "a journal", error.message))
    else:
        measured = [t for t in recorded_trials(path) if t.summary is not None and t.capacity is None]
        trials, again = len(measured), list(_reports(run))
        reports = len(again)
        found += _capacities(run)
        found += [each for trial in measured for each in _trial(trial, path)] + [e for part in again for e in part]
    notes = [f"not listed in the manifest: {name}" for name in unlisted(directory, manifest) if manifest.artefacts]
    if manifest.outcome == "running":
        notes.append("the run has not ended: digests are listed at its end")
    return Verification(len(manifest.artefacts), trials, reports, tuple(found), tuple(notes))


def _trial(trial: Trial, path: Path) -> Iterator[Discrepancy]:
    from runner.measure.verify import verify_trial

    return verify_trial(trial, path)


def _capacities(run: Run) -> Iterator[Discrepancy]:
    """Every verdict on a load of a search from what the load counted, and every answer from the verdicts."""
    from runner.measure.verify import JOURNAL, name_of
    from runner.results.verification import Discrepancy
    from runner.workflow.answering import capacity_again, verdicts_again

    for case_id, trial in run.trials.items():
        if trial.capacity is None:
            continue
        probes = run.probes.get(case_id, ())
        for load, verdict in verdicts_again(trial, probes):
            assert load.probe is not None
            yield Discrepancy(JOURNAL, name_of(load), "probe.verdict", verdict, load.probe.verdict)
        again = capacity_again(trial, probes)
        if again != trial.capacity:
            shown = (repr(each and (each.status, each.level)) for each in (again, trial.capacity))
            yield Discrepancy(JOURNAL, case_id, "capacity", *shown)


def _reports(run: Run) -> Iterator[list[Discrepancy]]:
    from runner.report.verify import FORMATS, reports_of, verify_report
    from runner.workflow.reporting import study_files

    return (list(verify_report(run, name, data)) for name, data in reports_of(run, study_files(run, FORMATS)))
