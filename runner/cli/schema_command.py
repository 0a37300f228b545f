"""`scenario schema`: the JSON Schema of scenario files, for editors."""

from __future__ import annotations

from pathlib import Path

import click

from runner.cli.console import print_json, write_result


@click.command("schema")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), help="Write it here instead of stdout.")
def command(output: Path | None) -> None:
    """Print the JSON Schema (draft 2020-12) of scenario files.

    With `# yaml-language-server: $schema=scenario.schema.json` as first line, editors complete and check a scenario.
    """
    import json

    from runner.scenario.schema_export import json_schema

    if output is None:
        print_json(json_schema())
        return
    write_result(output, json.dumps(json_schema(), indent=2) + "\n")
