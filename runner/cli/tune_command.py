"""`scenario tune`: from what may change to a winner, or to the word that there is none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from runner.cli.console import note
from runner.cli.options import ScenarioCommand, ScenarioOptions, scenario_options
from runner.cli.setup_command import with_setup_options

if TYPE_CHECKING:
    from runner.workflow.tuning import StudyOutcome


@click.command("tune", cls=ScenarioCommand)
@click.option(
    "--output-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("runs"),
    show_default=True,
    help="The directory of the study is made in here.",
)
@click.option("--resume", is_flag=True, help="Go on with the newest unfinished study of this scenario in --output-dir.")
@click.option("--dry-run", is_flag=True, help="Show the space, the budget and the first points, and stop.")
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
    from runner.workflow import RunOptions
    from runner.workflow.tuning import tune_scenario

    run_options = RunOptions(
        output_dir=output_dir, resume=resume, identify=identify, offline=offline, trust_first_use=trust_first_use
    )
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
