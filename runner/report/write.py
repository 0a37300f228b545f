"""Puts every report of a run on disk; all of it can be made again from the journal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from runner.report.combined import combined_csv
from runner.report.histograms import SUFFIX, histogram_log
from runner.report.points import points_csv, points_json
from runner.report.repeats import has_repeats, repeats_csv
from runner.report.stages import stages_csv
from runner.results.artefacts import check_journal
from runner.results.directory import RunDirectory, refresh_artefacts
from runner.results.files import make_folder, write_atomic
from runner.results.run import Run, load_run


def write_reports(
    path: Path, formats: Sequence[str] = ("csv", "json"), more: Sequence[tuple[str, bytes]] = ()
) -> list[Path]:
    """Write the reports of the run in `path`, each file replaced at once; returns them without the histograms.

    `more` are files that the caller has made already, with their paths in the run directory.

    Raises:
        RigError: the run has ended, and its journal was changed since.
    """
    run = load_run(path)
    directory = RunDirectory(path)
    check_journal(directory, run.manifest)
    make_folder(directory.histograms)
    written = [write_atomic(path / name, data) for name, data in (*report_files(run, formats), *more)]
    if run.manifest.artefacts:
        refresh_artefacts(directory, only=written)
    return [file for file in written if file.parent == path]


def report_files(run: Run, formats: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Every report with its path in the run directory: the tables of these formats, and the histograms."""
    yield from _tables(run, formats)
    for case_id, trial in run.trials.items():
        if trial.histograms:
            yield f"histograms/{safe_name(case_id)}{SUFFIX}", histogram_log(trial)


def safe_name(case_id: str) -> str:
    """A case id as a file name."""
    return re.sub(r"[^A-Za-z0-9._+=-]", "_", case_id).lstrip(".") or "_"


def _tables(run: Run, formats: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    if "csv" in formats:
        yield "points.csv", points_csv(run)
        yield "stages.csv", stages_csv(run)
        yield "combined.csv", combined_csv(run)
        if has_repeats(run):
            yield "repeats.csv", repeats_csv(run)
    if "json" in formats:
        yield "points.json", points_json(run)
