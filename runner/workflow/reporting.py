"""The files that a run directory shows: tables of its points and, of a study, what was searched and found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from runner.errors import RunnerError

if TYPE_CHECKING:
    from runner.results.directory import RunDirectory
    from runner.results.run import Run
    from runner.scenario.schema import Scenario


@contextmanager
def reports_whatever_happens(directory: RunDirectory, scenario: Scenario) -> Iterator[None]:
    """Write the tables of everything measured so far; their own error never hides the one that ended us."""
    try:
        yield
    except BaseException:
        with suppress(RunnerError):
            write_all_reports(directory.path, scenario.report.formats)
        raise
    write_all_reports(directory.path, scenario.report.formats)


def write_all_reports(path: Path, formats: Sequence[str] = ("csv", "json")) -> list[Path]:
    """Make every report of the run in `path` again from its journal; returns the tables."""
    from runner.report import write_reports
    from runner.results.run import load_run

    return write_reports(path, formats, tuple(study_files(load_run(path), formats)))


def study_files(run: Run, formats: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """The reports that only a study has, with their paths in the run directory."""
    from runner.report.study import study_json, trials_csv
    from runner.workflow.tuning.summary import study_of

    study = study_of(run)
    if study is None:
        return
    if "json" in formats:
        yield "study.json", study_json(run, study)
    if "csv" in formats:
        yield "trials.csv", trials_csv(study)
