"""`scenario run`: from a file to a report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from runner.cli.against import Against, against_options, run_against, show
from runner.cli.console import note, print_table
from runner.cli.options import ScenarioCommand, ScenarioOptions, scenario_options
from runner.cli.run_options import measuring_options

if TYPE_CHECKING:
    from runner.workflow import RunOptions


@click.command("run", cls=ScenarioCommand)
@measuring_options(made="Run directories are made in here.", resumed="unfinished run")
@click.option("--dry-run", is_flag=True, help="Show the plan and stop.")
@against_options
@scenario_options
def command(
    options: ScenarioOptions,
    run_options: RunOptions,
    dry_run: bool,
    progress: str,
    against: Against | None,
) -> int:
    """Set up if stale, serve, measure every point of the matrix, and write a run directory.

    Exit code 0 when every point is usable, 5 when some are invalid or missing, 10 when an objective is missed: no load
    meets the limit of a search, or a soak has used up its violation budget (results are written all the same).
    With --against a comparison of two scenarios, measured in turn: 10 where --fail-if holds.
    """
    if dry_run:
        from runner.cli.plan_command import show_plan

        for side in against.sides(options) if against is not None else (options,):
            show_plan(side, as_json=False)
        return 0
    from runner.cli.progress import observer_for
    from runner.workflow import run_scenario

    if against is not None:
        with observer_for(progress) as observer:
            outcomes = run_against(options, against, run_options, observer)
        return show(against, outcomes)
    loaded = options.load_matrix()
    with observer_for(progress) as observer:
        outcome = run_scenario(loaded, run_options, observer)
    print_table(outcome.run)
    for error in (*outcome.missed, *outcome.problems):
        note(f"warning: {error}")
    click.echo(f"results: {outcome.directory}")
    return outcome.exit_code
