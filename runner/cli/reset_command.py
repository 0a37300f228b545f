"""`scenario reset`: undo what setup made."""

from __future__ import annotations

import click

from runner.cli.console import note
from runner.cli.options import ScenarioCommand, ScenarioOptions, scenario_options


@click.command("reset", cls=ScenarioCommand)
@click.option("--keep", multiple=True, type=click.Choice(["downloads"]), help="Leave these in place; may be repeated.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, remove nothing.")
@scenario_options
def command(options: ScenarioOptions, keep: tuple[str, ...], dry_run: bool) -> None:
    """Undo exactly what the ledger says setup made: files, artifacts, downloads, leftovers of dead servers.

    Works after a crash, and says of each thing whether it is really gone. Run directories are results and stay.
    """
    from runner.workflow import reset_scenario, state_of

    loaded = options.load()
    removals = reset_scenario(loaded, keep=keep, dry_run=dry_run)
    for removal in removals:
        click.echo(f"{removal.status:<13} {removal.kind:<10} {removal.path}")
    if not removals:
        note(f"nothing to undo: {state_of(loaded).path} does not exist")
