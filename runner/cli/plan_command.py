"""`scenario plan`: what a run would do."""

from __future__ import annotations

from typing import Any

import click

from runner.cli.console import print_json
from runner.cli.options import ScenarioCommand, ScenarioOptions, scenario_options


@click.command("plan", cls=ScenarioCommand)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@scenario_options
def command(options: ScenarioOptions, as_json: bool) -> None:
    """Show the points, skipped ones with the reason, what setup would do, and how long it may take."""
    show_plan(options, as_json)


def show_plan(options: ScenarioOptions, as_json: bool) -> None:
    """Print the plan of a scenario on stdout; changes nothing."""
    from runner.workflow import plan_scenario

    plan = plan_scenario(options.load())
    if as_json:
        print_json(plan.as_dict())
        return
    click.echo(f"target {plan.target or '-'} · state {plan.state}")
    for report in plan.setup:
        click.echo(f"  setup  {report.name:<16} {report.action:<12} {report.reason}")
    for case in plan.cases:
        click.echo(f"  point  {case.id:<28} {_parameters(case.parameters)}{_skipped(case.skipped)}")
    endless = "load until you stop it (measure.soak)"
    load = endless if plan.longest_s is None else f"at most about {plan.longest_s / 60:.0f} min of load"
    click.echo(f"{plan.points} points, {load}; {plan.free_bytes / 2**30:.0f} GiB free")


def _parameters(parameters: dict[str, Any]) -> str:
    return " ".join(f"{address}={value}" for address, value in parameters.items())


def _skipped(reason: str | None) -> str:
    return f"  skipped: {reason}" if reason else ""
