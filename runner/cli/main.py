"""Entry point: the verbs, and the one place where an error becomes an exit code."""

from __future__ import annotations

import difflib
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import Any, NoReturn

import click

from runner import __version__
from runner.errors import (
    EXIT_OK,
    EXIT_SIGINT,
    EXIT_SIGPIPE,
    EXIT_SIGTERM,
    RigError,
    RunnerError,
    Terminated,
    UsageError,
)

# Verb -> (module, one line). The lines stand here so that `--help` imports none of the modules.
VERBS = {
    "run": "Set up if stale, serve, measure the matrix, write a run directory.",
    "tune": "Search for better values, confirm the best head to head, write an override file.",
    "perf": "Load a server that runs already, with perf_analyzer's options and output.",
    "import": "Print the scenario that does what a perf_analyzer command line does.",
    "setup": "Make the artifacts and the model repository; reuse what is current.",
    "reset": "Undo exactly what setup made, as its ledger says.",
    "plan": "Show the points, what setup would do, and a time estimate; change nothing.",
    "validate": "Check a scenario file and list every mistake.",
    "doctor": "Say what this machine has for a scenario, and how to mend what it lacks.",
    "explain": "Show where a value comes from, layer by layer.",
    "schema": "Print the JSON Schema of scenario files.",
    "list": "List the built-in scenarios.",
    "compare": "Compare two runs: better, worse, equivalent or undecided; a gate for CI.",
    "verify": "Check a run directory: digests, and every number from its raw counts.",
    "selftest": "Measure scripted servers with known answers: is this machine to be trusted?",
    "report": "Recompute the reports of a run directory.",
}


_KEPT = {
    "run": "finished points are kept; the same command with --resume goes on with the next one",
    "tune": "finished points are kept; the same command with --resume goes on with the next one",
    "perf": "finished points are kept",
    "setup": "finished steps are kept; `scenario setup` goes on with the next one",
}
"""What a verb leaves behind when it is interrupted; the others leave nothing half done."""


class _ReaderLeftError(Exception):
    """Nobody reads our output any more; click would make exit code 1 of a BrokenPipeError."""


class Verbs(click.Group):
    """Imports a verb's module only when that verb is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _ReaderLeftError from error

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"runner.cli.{cmd_name}_command")
        command: click.Command = module.command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            raise UsageError(f"there is no command {args[0]!r}", hint=_meant(args[0]))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


def _meant(word: str) -> str:
    if word.endswith((".yaml", ".yml")):
        return f"a command comes first: scenario run {word}"
    close = difflib.get_close_matches(word, VERBS, n=1)
    return f"did you mean {close[0]}?" if close else f"commands: {', '.join(VERBS)}"


@click.command(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="scenario")
def cli() -> None:
    """One YAML file from nothing to a trustworthy table: benchmark inference pipelines on any rig."""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit code, whatever signals come on the way out."""
    try:
        code = invoke(argv)
    except KeyboardInterrupt as error:
        # One more of them, while we said what the one before it did.
        code = EXIT_SIGTERM if isinstance(error, Terminated) else EXIT_SIGINT
    # Everything is undone and written: Python's own end may be cut short, but not with a traceback or as a crash.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda number, frame: os._exit(code or EXIT_SIGINT))
    sys.exit(code)


def invoke(argv: Sequence[str] | None = None) -> int:
    """Run the command line; every error becomes a message on stderr and the exit code of its kind."""
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        return _invoke(argv)
    except (_ReaderLeftError, BrokenPipeError):
        return _unheard()
    finally:
        signal.signal(signal.SIGTERM, before)


def _invoke(argv: Sequence[str] | None) -> int:
    from runner.cli.console import print_error

    try:
        result = cli.main(args=list(argv) if argv is not None else None, prog_name="scenario", standalone_mode=False)
    except RunnerError as error:
        print_error(error)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except OSError as error:
        if error.filename is None:
            raise
        print_error(_of_a_file(error))
        return RigError.exit_code
    except (KeyboardInterrupt, click.Abort) as error:
        # click turns every KeyboardInterrupt, our Terminated included, into its own Abort.
        if isinstance(error, Terminated) or isinstance(error.__cause__, Terminated):
            return _interrupted("terminated", EXIT_SIGTERM, argv)
        return _interrupted("interrupted", EXIT_SIGINT, argv)
    return result if isinstance(result, int) else EXIT_OK


def _of_a_file(error: OSError) -> RigError:
    """What the system says of a file that no module looks after."""
    return RigError(
        f"cannot read or write {os.fsdecode(error.filename)}: {error.strerror}",
        hint="check that the folder exists, its owner and permissions, and the space on its disk",
    )


def _unheard() -> int:
    """Whoever read our output has left: there is nobody to tell, and Python must not try again at exit.

    Not 0: what was left unsaid may have been a gate that was missed.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(nowhere, stream.fileno())
    return EXIT_SIGPIPE


def _terminate(signum: int, frame: FrameType | None) -> None:
    raise Terminated


def _interrupted(word: str, code: int, argv: Sequence[str] | None) -> int:
    words = sys.argv[1:] if argv is None else argv
    kept = _KEPT.get(words[0]) if words else None
    click.echo(f"{word}: {kept}" if kept else word, err=True)
    return code
