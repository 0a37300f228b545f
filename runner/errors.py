"""Every error a user can meet, one small tree, each with its exit code.

RunnerError (1)                 a defect of this tool
├── UsageError (2)              the command line makes no sense
│   └── ScenarioError (2)       the file is invalid; carries every diagnostic, not just the first
├── RigError (3)                this machine lacks something: a library, a port, disk space, a GPU
│   └── SetupError (3)          a setup step failed; names the step and its log
├── ServiceError (4)            the server did not start, died, or refused the workload; carries its last log lines
├── LoadError (4)               the load could not be made: bad plan, no connection
├── PointsError (5)             results were written, but some points are invalid or missing
└── GateError (10)              a service-level objective or a comparison gate was missed

Interruptions are not errors: KeyboardInterrupt (130) and its subclass Terminated (143); the run can be resumed.
Neither is a reader of our output that leaves early, as `head` does (141).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from runner.scenario.diagnostics import Diagnostic

EXIT_OK = 0
EXIT_SIGINT = 130
EXIT_SIGPIPE = 141
EXIT_SIGTERM = 143


class RunnerError(Exception):
    """Base of the tree; `hint` is what the user should do about it, one sentence."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(RunnerError):
    """The command line makes no sense."""

    exit_code = 2


class ScenarioError(UsageError):
    """The scenario is invalid; `diagnostics` holds every mistake that was found, in file order."""

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        count = len(diagnostics)
        super().__init__(f"{count} mistake{'s' if count != 1 else ''} in the scenario")
        self.diagnostics = tuple(diagnostics)


class RigError(RunnerError):
    """This machine lacks something that the scenario needs."""

    exit_code = 3


class SetupError(RigError):
    """A setup step failed; what earlier steps made stays."""


class ServiceError(RunnerError):
    """The server did not start, died, or refused the workload; `log_tail` holds its last lines, oldest first."""

    exit_code = 4

    def __init__(self, message: str, *, hint: str | None = None, log_tail: Sequence[str] = ()) -> None:
        super().__init__(message, hint=hint)
        self.log_tail = tuple(log_tail)


class LoadError(RunnerError):
    """The load could not be made: the engine refused the plan, or nothing listens where it should connect."""

    exit_code = 4


class PointsError(RunnerError):
    """Results were written, but some points are invalid or missing."""

    exit_code = 5


class GateError(RunnerError):
    """A service-level objective or a comparison gate was missed."""

    exit_code = 10


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived: everything is cleaned up as after Ctrl-C, and the exit code says which it was."""
