"""`scenario list`: the built-in scenarios."""

from __future__ import annotations

import click

from runner.cli.console import print_json


@click.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(as_json: bool) -> None:
    """List the built-in scenarios with their descriptions."""
    from runner.builtin import builtin_scenarios
    from runner.scenario.loading import load_scenario

    rows = [
        {
            "name": name,
            "description": load_scenario(path, satisfied=lambda _: ()).scenario.description,
            "path": str(path),
        }
        for name, path in builtin_scenarios().items()
    ]
    if as_json:
        print_json(rows)
        return
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        click.echo(f"{row['name']:<{width}}  {row['description']}")
