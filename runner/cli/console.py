"""What people see: results on stdout, everything else on stderr; no colour where nobody could see it."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

import click

from runner.errors import RunnerError, ScenarioError, ServiceError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from runner.results.run import Run


def is_terminal(stream: Any) -> bool:
    """Whether escape codes are understood: a terminal, and not one that calls itself dumb, as in editors."""
    return os.environ.get("TERM") != "dumb" and hasattr(stream, "isatty") and stream.isatty()


def use_color(stream: Any) -> bool:
    """Colour only on a terminal, and never where NO_COLOR (no-color.org) asks for none."""
    return not os.environ.get("NO_COLOR") and is_terminal(stream)


def note(message: str) -> None:
    """One line on stderr."""
    click.echo(message, err=True)


def print_json(value: Any) -> None:
    """A result for machines, on stdout."""
    click.echo(json.dumps(value, indent=2, allow_nan=False))


def write_result(path: Path, text: str) -> None:
    """A result that the user wants in a file, and a line that says so; raises as `write_file`."""
    write_file(path, text)
    note(f"wrote {path}")


def write_file(path: Path, text: str) -> None:
    """A file that the user named.

    Raises:
        UsageError: it cannot be written there.
    """
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        hint = "name a file in a folder that is there and that you may write to"
        raise UsageError(f"cannot write {path}: {error.strerror}", hint=hint) from error


def print_error(error: RunnerError) -> None:
    """Say what went wrong, where, and what to do about it."""
    color = use_color(sys.stderr)
    if isinstance(error, ScenarioError):
        from runner.scenario.diagnostics import render

        note(render(error.diagnostics, color=color) + "\n")
    note(f"{click.style('error', fg='red', bold=True) if color else 'error'}: {error.message}")
    if isinstance(error, ServiceError) and error.log_tail:
        note("last lines of the server's log:")
        for line in error.log_tail:
            note(f"  | {line}")
    if error.hint:
        note(f"hint: {error.hint}")


def print_table(run: Run) -> None:
    """The table of a run on stdout, as wide as the terminal."""
    import shutil

    from runner.report import console_table

    width = shutil.get_terminal_size((100, 24)).columns
    click.echo(console_table(run, width=width, color=use_color(sys.stdout)))
