"""`scenario setup`: artifacts and model repository, without measuring."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from runner.cli.options import ScenarioCommand, ScenarioOptions, scenario_options

setup_options = [
    click.option("--offline", is_flag=True, help="Download nothing; say what is missing."),
    click.option("--trust-first-use", is_flag=True, help="Accept a fetch without sha256 and record what came."),
]


def with_setup_options(function: Any) -> Any:
    """Add the options that every verb with a setup phase has."""
    for decorate in setup_options:
        function = decorate(function)
    return function


@click.command("setup", cls=ScenarioCommand)
@with_setup_options
@scenario_options
def command(options: ScenarioOptions, offline: bool, trust_first_use: bool) -> None:
    """Make every artifact that the scenario needs and assemble its model repository.

    Idempotent: says per step whether it was reused or built, and why.
    """
    from runner.cli.progress import observer_for
    from runner.workflow import RunOptions, setup_scenario

    with observer_for("auto") as observer:
        prepared = setup_scenario(
            options.load(), RunOptions(offline=offline, trust_first_use=trust_first_use), observer
        )
    for repository in sorted({str(Path(item.repository)) for item in prepared}):
        click.echo(repository)
