"""`scenario tune`: from what may change to a winner, or to the word that there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from runner.cli.console import note
from runner.cli.options import ScenarioCommand, ScenarioOptions, scenario_options
from runner.cli.run_options import measuring_options

if TYPE_CHECKING:
    from runner.workflow import RunOptions
    from runner.workflow.tuning import StudyOutcome


EXTENDED = "Where it is finished and `tune.budget` is larger now, it is extended."


@click.command("tune", cls=ScenarioCommand)
@measuring_options(made="The directory of the study is made in here.", resumed="unfinished study", or_else=EXTENDED)
@click.option("--dry-run", is_flag=True, help="Show the space, the budget and the first points, and stop.")
@scenario_options
def command(
    options: ScenarioOptions,
    run_options: RunOptions,
    dry_run: bool,
    progress: str,
) -> int:
    """Search what `tune` says, measure the best points again beside the file's own values, and write the winner's.

    The winner becomes a small override file: `scenario run FILE --values RUN/tuned.yaml`. Exit code 0 also where
    nothing is significantly better; 5 where no point satisfies the constraints.
    """
    loaded = options.load()
    if dry_run:
        from runner.cli.study_preview import show_preview

        show_preview(loaded)
        return 0
    from runner.cli.study_progress import study_observer_for
    from runner.workflow.tuning import tune_scenario

    with study_observer_for(progress) as observer:
        outcome = tune_scenario(loaded, run_options, observer)
    show_study(outcome)
    return outcome.exit_code


def show_study(outcome: StudyOutcome) -> None:
    """The study on stdout, and where its files are."""
    from runner.report.study_text import study_text

    click.echo(study_text(outcome.run, outcome.study))
    if outcome.study.written is not None:
        source = outcome.run.manifest.scenario.path or "FILE"
        click.echo(f"use it: scenario run {source} --values {outcome.study.written}")
    elif outcome.study.winner is None and outcome.study.front:
        note("no override file was written: there is nothing to override")
    click.echo(f"results: {outcome.directory}")
