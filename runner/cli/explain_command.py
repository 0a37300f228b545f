"""`scenario explain`: where a value comes from."""

from __future__ import annotations

from typing import Any

import click

from runner.cli.console import print_json
from runner.cli.options import ScenarioCommand, ScenarioOptions, scenario_options


@click.command("explain", cls=ScenarioCommand)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@click.argument("address")
@scenario_options
def command(options: ScenarioOptions, address: str, as_json: bool) -> None:
    """Show every layer that sets ADDRESS (for example vars.max_batch), lowest first; the last one wins.

    ADDRESS comes first, then FILE.
    """
    layers = options.load().explain(address)
    if as_json:
        print_json([layer.as_dict() for layer in layers])
        return
    for layer in layers:
        click.echo(_line(layer))


def _line(layer: Any) -> str:
    mark = "=>" if layer.wins else "  "
    return f"{mark} {layer.layer:<12} {layer.value!r:<24} {layer.place}"
