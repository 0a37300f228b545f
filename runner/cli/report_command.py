"""`scenario report`: the reports of a run directory, recomputed from its journal."""

from __future__ import annotations

from pathlib import Path

import click

from runner.cli.console import note


@click.command("report")
@click.argument("run_directory", metavar="RUN", type=click.Path(path_type=Path, exists=True, file_okay=False))
def command(run_directory: Path) -> None:
    """Write points.csv, points.json, stages.csv and combined.csv of RUN again and print its table."""
    from runner.cli.console import print_table
    from runner.report import load_run, write_reports

    run = load_run(run_directory)
    written = write_reports(run_directory, ("csv", "json"))
    print_table(run)
    note(f"wrote {', '.join(path.name for path in written)} in {run_directory}")
