"""`scenario import`: another tool's command line as a scenario file."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import click

from runner.cli.console import write_result
from runner.cli.perf.option import Dialect
from runner.cli.perf.parsing import parse
from runner.cli.perf.sla_client import DIALECTS
from runner.cli.perf.translating import translate
from runner.cli.perf.writing import scenario_text
from runner.errors import UsageError

_LAUNCHERS = ("python", "python2", "python3", "$", "sudo", "time", "exec")
"""Words before the program in what people copy from a manual."""


@click.command("import", context_settings={"ignore_unknown_options": True})
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="Write it there, not to stdout.")
@click.argument("line", metavar='"perf_analyzer -m MODEL …"')
def command(line: str, output: Path | None) -> int:
    """Print the scenario that does what a command line of perf_analyzer, perf_client or benchmark.py does.

    No server is asked: what depends on the model, such as sequences, is left to the options.
    """
    words = _words(line)
    dialect, arguments = _program(words)
    options = parse(arguments, dialect)
    if options.help or options.show_version:
        raise UsageError("the command line asks for help or the version", hint="name a model with -m")
    translation = translate(options, folder=Path.cwd() if output is None else output.absolute().parent)
    text = scenario_text(translation, words)
    if output is None:
        click.echo(text, nl=False)
    else:
        write_result(output, text)
    return 0


def _words(line: str) -> list[str]:
    """As a shell would split it; a backslash at the end of a line joins it to the next."""
    try:
        words = shlex.split(line.replace("\\\n", " "))
    except ValueError as error:
        raise UsageError(f"the command line cannot be read: {error}", hint="is a quotation mark missing?") from error
    while words and os.path.basename(words[0]) in _LAUNCHERS:
        words.pop(0)
    return words


def _program(words: list[str]) -> tuple[Dialect, list[str]]:
    name = os.path.basename(words[0]) if words else ""
    if name not in DIALECTS:
        raise UsageError(
            f"expected a command line that begins with {', '.join(DIALECTS)}, got {name or 'nothing'!r}",
            hint='quote it as one word: scenario import "perf_analyzer -m model -b 4"',
        )
    return DIALECTS[name], words[1:]
