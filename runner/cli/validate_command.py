"""`scenario validate`: every mistake of a file, each with its place."""

from __future__ import annotations

import click

from runner.cli.console import note, print_json
from runner.cli.options import ScenarioCommand, ScenarioOptions, scenario_options
from runner.errors import ScenarioError
from runner.units import counted


@click.command("validate", cls=ScenarioCommand)
@click.option("--json", "as_json", is_flag=True, help="Diagnostics as JSON on stdout.")
@scenario_options
def command(options: ScenarioOptions, as_json: bool) -> int:
    """Check FILE and list every mistake in one pass.

    Exit code 0 when it is valid, 2 when it is not.
    """
    from runner.scenario.matrix import expand
    from runner.workflow.known_models import check_known_models

    try:
        loaded = options.load()
        cases = expand(loaded)
        check_known_models(loaded, cases)
    except ScenarioError as error:
        if not as_json:
            raise
        print_json({"valid": False, "diagnostics": [diagnostic.as_dict() for diagnostic in error.diagnostics]})
        return error.exit_code
    if as_json:
        print_json({"valid": True, "diagnostics": [], "points": len(cases)})
    else:
        note(f"valid: {counted(len(cases), 'point')}")
    return 0
