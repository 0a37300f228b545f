"""The command line: argv to options to an exit code; every verb has its own module, imported when it is used."""

from runner.cli.main import main

__all__ = ["main"]
