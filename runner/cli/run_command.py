"""`scenario run`: from a file to a report."""

from __future__ import annotations

from pathlib import Path

import click

from runner.cli.console import note, print_table
from runner.cli.options import ScenarioCommand, ScenarioOptions, scenario_options
from runner.cli.setup_command import with_setup_options


@click.command("run", cls=ScenarioCommand)
@click.option(
    "--output-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs"),
    show_default=True,
    help="Run directories are made in here.",
)
@click.option("--resume", is_flag=True, help="Go on with the newest unfinished run of this scenario in --output-dir.")
@click.option("--dry-run", is_flag=True, help="Show the plan and stop.")
@click.option("--identify", is_flag=True, help="Record host name and serial numbers as they are, not hashed.")
@click.option(
    "--progress",
    type=click.Choice(["auto", "live", "plain", "none"]),
    default="auto",
    show_default=True,
    help="How progress is shown on stderr.",
)
@with_setup_options
@scenario_options
def command(
    options: ScenarioOptions,
    output_dir: Path,
    resume: bool,
    dry_run: bool,
    identify: bool,
    progress: str,
    offline: bool,
    trust_first_use: bool,
) -> int:
    """Set up if stale, serve, measure every point of the matrix, and write a run directory.

    Exit code 0 when every point is usable, 5 when some are invalid or missing (results are written all the same).
    """
    if dry_run:
        from runner.cli.plan_command import show_plan

        show_plan(options, as_json=False)
        return 0
    from runner.cli.progress import observer_for
    from runner.workflow import RunOptions, run_scenario

    loaded = options.load()
    run_options = RunOptions(
        output_dir=output_dir, resume=resume, identify=identify, offline=offline, trust_first_use=trust_first_use
    )
    with observer_for(progress) as observer:
        outcome = run_scenario(loaded, run_options, observer)
    print_table(outcome.run)
    for error in outcome.problems:
        note(f"warning: {error}")
    click.echo(f"results: {outcome.directory}")
    return outcome.exit_code
