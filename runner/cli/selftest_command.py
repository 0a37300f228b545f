"""`scenario selftest`: does the engine measure correctly on this machine?"""

from __future__ import annotations

import click

from runner.cli.console import note, print_json
from runner.errors import UsageError


@click.command("selftest")
@click.option("--full", is_flag=True, help="Every row, some ten minutes; without it half a minute.")
@click.option("--rows", metavar="N,N", help="Only these rows of the validation table, for example 4,5.")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.option("--markdown", "as_markdown", is_flag=True, help="As the table of docs/measurement.md.")
def command(full: bool, rows: str | None, as_json: bool, as_markdown: bool) -> None:
    """Measure scripted servers whose answers are known, with the real engine, on this machine.

    Exit code 0: every row passed. 1: a row failed. 3: the machine was too busy to tell.
    """
    from runner.load.native import NativeEngine
    from runner.measure.selftest import run
    from runner.workflow.selftest import all_rows

    quiet = as_json or as_markdown
    results = []
    picked = run.chosen(_numbers(rows), full, all_rows())
    for result in run.run_rows(
        picked, NativeEngine(), full=full, on_row=lambda row: note(f"row {row.number}: {row.system} …")
    ):
        results.append(result)
        if not quiet:
            click.echo(run.table(result))
    if as_json:
        print_json(run.as_json(results))
    elif as_markdown:
        click.echo(run.markdown(results), nl=False)
    run.conclude(results)


def _numbers(rows: str | None) -> list[int]:
    try:
        return [int(word) for word in rows.split(",")] if rows else []
    except ValueError as error:
        raise UsageError(f"--rows: expected numbers such as 4,5, got {rows!r}") from error
