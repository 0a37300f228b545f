"""`scenario reset`: undo what setup made."""

from __future__ import annotations

import click

from runner.cli.console import note
from runner.cli.options import ScenarioCommand, ScenarioOptions, scenario_options
from runner.errors import EXIT_OK, SetupError

KEEPABLE = ("downloads", "artifacts", "repository", "logs")
_GONE = ("removed", "would remove", "restored", "would restore")


@click.command("reset", cls=ScenarioCommand)
@click.option("--keep", multiple=True, type=click.Choice(KEEPABLE), help="Leave these in place; may be repeated.")
@click.option("--dry-run", is_flag=True, help="Say what would be removed, remove nothing.")
@scenario_options
def command(options: ScenarioOptions, keep: tuple[str, ...], dry_run: bool) -> int:
    """Undo exactly what the ledger says: files, artifacts, downloads, leftovers of dead servers, settings of GPUs.

    Works after a crash, and says of each thing whether it is really gone: exit code 3 when something is not. Run
    directories are results and stay.
    """
    from runner.workflow import reset_scenario, state_of

    loaded = options.load()
    removals = reset_scenario(loaded, keep=keep, dry_run=dry_run)
    for removal in removals:
        reason = f"  ({removal.reason})" if removal.reason else ""
        click.echo(f"{removal.status:<13} {removal.kind:<10} {removal.path}{reason}")
    if not removals:
        note(f"nothing to undo: {state_of(loaded).path} does not exist")
        return EXIT_OK
    word = "would be removed" if dry_run else "removed"
    gone = [removal for removal in removals if removal.status in _GONE]
    note(f"{len(gone)} of {len(removals)} {word}, {sum(removal.bytes for removal in gone) / 2**20:.1f} MiB")
    return SetupError.exit_code if any(removal.status in ("failed", "refused") for removal in removals) else EXIT_OK
