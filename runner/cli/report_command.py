"""`scenario report`: the reports of a run directory, recomputed from its journal."""

from __future__ import annotations

from pathlib import Path

import click

from runner.cli.compare_command import find_run, where_runs_are
from runner.cli.console import note


@click.command("report")
@click.argument("run_name", metavar="RUN")
@where_runs_are
def command(run_name: str, output_dir: Path) -> None:
    """Print the table of RUN, and write its points.csv, points.json, stages.csv and combined.csv again.

    Of a study also study.json and trials.csv; printed is what it found.
    """
    from runner.cli.console import print_table
    from runner.report.study_text import study_text
    from runner.results.directory import RunDirectory
    from runner.workflow.reporting import write_all_reports
    from runner.workflow.tuning.summary import study_of

    directory = RunDirectory.open(find_run(run_name, output_dir))
    run = directory.load()
    study = study_of(run)
    if study is None:
        print_table(run)
    else:
        click.echo(study_text(run, study))
    # After the table: it can be read where nothing can be written.
    written = write_all_reports(directory.path)
    note(f"wrote {', '.join(path.name for path in written)} in {directory.path}")
