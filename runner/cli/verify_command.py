"""`scenario verify`: does a run directory say what was measured?"""

from __future__ import annotations

from pathlib import Path

import click

from runner.cli.compare_command import find_run, where_runs_are
from runner.errors import EXIT_OK, PointsError


@click.command("verify")
@click.argument("run", metavar="RUN")
@where_runs_are
def command(run: str, output_dir: Path) -> int:
    """Check the digests of RUN, make every number again from its raw counts, and print what differs.

    Exit code 0 when nothing does, 5 otherwise.
    """
    from runner.workflow.verifying import verify_run

    found = verify_run(find_run(run, output_dir))
    for discrepancy in found.discrepancies:
        click.echo(str(discrepancy))
    for note in found.notes:
        click.echo(f"note: {note}")
    checked = f"{found.files} files, {found.trials} measurements, {found.reports} reports"
    count = len(found.discrepancies)
    verdict = f"{count} difference{'' if count == 1 else 's'}" if count else "as measured"
    click.echo(f"{checked}: {verdict}")
    return PointsError.exit_code if count else EXIT_OK
