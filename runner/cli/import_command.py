"""`scenario import`: another tool's command line as a scenario file."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

import click

from runner.cli.console import write_result
from runner.cli.perf.option import Dialect
from runner.cli.perf.parsing import parse
from runner.cli.perf.sla_client import DIALECTS
from runner.cli.perf.translating import translate
from runner.cli.perf.writing import scenario_text
from runner.errors import UsageError

_LAUNCHERS = ("python", "python2", "python3", "bash", "sh", "$", "sudo", "time", "exec")
"""Words before the program in what people copy from a manual."""
_CLASSES = "prints the classes of images, which nothing here does"
_TENSORFLOW = "speaks the protocol of TensorFlow Serving, and only Triton can be loaded"
_NO_SCENARIO = {
    "image_client": _CLASSES,
    "image_client.py": _CLASSES,
    "grpc_image_client.py": _CLASSES,
    "grpc_latency.py": _TENSORFLOW,
    "grpc_throughput.sh": _TENSORFLOW,
    "benchmark.sh": "is a built-in scenario: scenario run efficientnet --target gpu --profile reference --max-batch 64",
    "reset_benchmark.sh": "is a command of its own: scenario reset efficientnet",
}
"""Programs that are known and have no scenario file -> why, or what to type instead."""


class _ImportCommand(click.Command):
    """Options come before the command line, whose own they would be; behind one that is quoted they may follow, too."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.allow_interspersed_args = _is_quoted(args)
        return super().parse_args(ctx, args)


@click.command("import", cls=_ImportCommand, context_settings={"ignore_unknown_options": True})
@click.option("--output", "-o", type=click.Path(path_type=Path, dir_okay=False), help="Write it there, not to stdout.")
@click.argument("line", nargs=-1, required=True, metavar="perf_analyzer -m MODEL …")
def command(line: tuple[str, ...], output: Path | None) -> int:
    """Print the scenario that does what a command line of perf_analyzer, perf_client or benchmark.py does.

    It may be quoted as one word. No server is asked: what depends on the model, such as sequences, is left to the
    options.
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


def _is_quoted(line: Sequence[str]) -> bool:
    """Whether the first word is more than a program, so that it is the whole command line."""
    return bool(line) and len(line[0].split()) > 1


def _words(line: Sequence[str]) -> list[str]:
    """Without what stands before the program."""
    if _is_quoted(line) and len(line) > 1:
        raise UsageError(
            f"expected nothing behind the quoted command line, got {shlex.join(line[1:])}",
            hint="quote all of it or nothing",
        )
    words = _split(line[0]) if len(line) == 1 else list(line)
    while words and os.path.basename(words[0]) in _LAUNCHERS:
        words.pop(0)
    return words


def _split(line: str) -> list[str]:
    """As a shell would; a backslash at the end of a line joins it to the next."""
    try:
        return shlex.split(line.replace("\\\n", " "))
    except ValueError as error:
        raise UsageError(f"the command line cannot be read: {error}", hint="is a quotation mark missing?") from error


def _program(words: list[str]) -> tuple[Dialect, list[str]]:
    name = os.path.basename(words[0]) if words else ""
    if name in _NO_SCENARIO:
        raise UsageError(f"{name} {_NO_SCENARIO[name]}", hint="docs/coming-from.md goes through its command lines")
    if name not in DIALECTS:
        raise UsageError(
            f"expected a command line that begins with {', '.join(DIALECTS)}, got {name or 'nothing'!r}",
            hint="for example: scenario import perf_analyzer -m model -b 4",
        )
    return DIALECTS[name], words[1:]
