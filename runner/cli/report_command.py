"""`scenario report`: the reports of a run directory, recomputed from its journal."""

from __future__ import annotations

from pathlib import Path

import click

from runner.cli.console import note


@click.command("report")
@click.argument("run_directory", metavar="RUN", type=click.Path(path_type=Path, exists=True, file_okay=False))
def command(run_directory: Path) -> None:
    """Write points.csv, points.json, stages.csv and combined.csv of RUN again and print its table.

    Of a study also study.json and trials.csv; printed is what it found.
    """
    from runner.cli.console import print_table
    from runner.report import load_run
    from runner.report.study_text import study_text
    from runner.workflow.reporting import write_all_reports
    from runner.workflow.tuning.summary import study_of

    run = load_run(run_directory)
    written, study = write_all_reports(run_directory), study_of(run)
    if study is None:
        print_table(run)
    else:
        click.echo(study_text(run, study))
    note(f"wrote {', '.join(path.name for path in written)} in {run_directory}")
