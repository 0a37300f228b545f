"""`scenario plan`: what a run would do."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from runner.cli.console import print_json
from runner.cli.options import ScenarioCommand, ScenarioOptions, scenario_options
from runner.units import counted, rough_duration

if TYPE_CHECKING:
    from runner.workflow import Plan

SHOWN = 8
"""Points of a block that are shown; `--json` has all."""


@click.command("plan", cls=ScenarioCommand)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@scenario_options
def command(options: ScenarioOptions, as_json: bool) -> None:
    """Show the points, skipped ones with the reason, what setup would do, and how long it may take."""
    show_plan(options, as_json)


def show_plan(options: ScenarioOptions, as_json: bool) -> None:
    """Print the plan of a scenario on stdout; changes nothing."""
    from runner.workflow import plan_scenario

    plan = plan_scenario(options.load_matrix())
    if as_json:
        print_json(plan.as_dict())
        return
    click.echo(f"target {plan.target or '-'} · state {plan.state}")
    for report in plan.setup:
        click.echo(f"  setup  {report.name:<16} {report.action:<12} {report.reason}")
    click.echo(f"  sample {plan.telemetry}")
    for case in plan.cases:
        click.echo(f"  point  {case.id:<28} {_parameters(case.parameters)}{_skipped(case.skipped)}")
    for line in _order(plan):
        click.echo(f"  order  {line}")
    measured = f"{counted(len(plan.measurements), 'measurement')} on {counted(plan.server_starts, 'server')}"
    endless = "load until you stop it (measure.soak)"
    load = endless if plan.longest_s is None else f"at most about {rough_duration(plan.longest_s)} of load"
    click.echo(f"{counted(plan.points, 'point')}, {measured}: {load}; {plan.free_bytes / 2**30:.0f} GiB free")


def _order(plan: Plan) -> Iterator[str]:
    """The measurements as they would follow each other, a line for each block; anchors in brackets."""
    if len(plan.measurements) < 2:
        return
    for block, group in groupby(plan.measurements, key=lambda each: each.block):
        names = [f"[{each.case.id}]" if each.anchor else each.case.id for each in group]
        more = f" … and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
        yield f"block {block}: {' '.join(names[:SHOWN])}{more}"


def _parameters(parameters: dict[str, Any]) -> str:
    return " ".join(f"{address}={value}" for address, value in parameters.items())


def _skipped(reason: str | None) -> str:
    return f"  skipped: {reason}" if reason else ""
