"""Entry point: the verbs, and the one place where an error becomes an exit code."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

import click

from runner import __version__
from runner.errors import EXIT_OK, EXIT_SIGINT, EXIT_SIGTERM, RunnerError, Terminated

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


class Verbs(click.Group):
    """Imports a verb's module only when that verb is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f"runner.cli.{cmd_name}_command")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.command(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="scenario")
def cli() -> None:
    """One YAML file from nothing to a trustworthy table: benchmark inference pipelines on any rig."""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave with its exit code."""
    sys.exit(invoke(argv))


def invoke(argv: Sequence[str] | None = None) -> int:
    """Run the command line; every error becomes a message on stderr and the exit code of its kind."""
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        result = cli.main(args=list(argv) if argv is not None else None, prog_name="scenario", standalone_mode=False)
    except RunnerError as error:
        from runner.cli.console import print_error

        print_error(error)
        return error.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except (KeyboardInterrupt, click.Abort) as error:
        # click turns every KeyboardInterrupt, our Terminated included, into its own Abort.
        if isinstance(error, Terminated) or isinstance(error.__cause__, Terminated):
            return _interrupted("terminated", EXIT_SIGTERM, argv)
        return _interrupted("interrupted", EXIT_SIGINT, argv)
    except BrokenPipeError:
        # The reader of our stdout left; there is nobody to tell, and Python must not try again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_OK
    finally:
        signal.signal(signal.SIGTERM, before)
    return result if isinstance(result, int) else EXIT_OK


def _terminate(signum: int, frame: FrameType | None) -> None:
    raise Terminated


def _interrupted(word: str, code: int, argv: Sequence[str] | None) -> int:
    words = sys.argv[1:] if argv is None else argv
    verb = words[0] if words and words[0] in ("tune", "perf") else "run"
    resume = "" if verb == "perf" else f"; `scenario {verb} --resume` goes on with the next one"
    click.echo(f"{word}: finished points are kept{resume}", err=True)
    return code
