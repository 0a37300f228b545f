"""A Triton server as a child process: the one of the `nvidia-pytriton` wheel, or one that is installed.

The wheel's has the python backend and ensembles, and needs neither container nor GPU. Everything private to one server
lies in one directory, named by the server's identity, which also names its shared memory and marks its processes: what
a dead run left is found and removed by it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from runner.errors import RigError, ServiceError
from runner.runtimes import _supervise, ownership, ports, programs
from runner.runtimes.base import Finding, RunningServer, ServerSpec
from runner.runtimes.command import (
    EXIT_TIMEOUT_S,
    Ports,
    endpoint,
    fixed_ports,
    server_argv,
    shm_prefix,
)
from runner.runtimes.interrupts import terminations_as_exit
from runner.runtimes.ports import ATTEMPTS, PortTakenError, lost_error
from runner.runtimes.programs import Program
from runner.runtimes.serverlog import ServerLog
from runner.runtimes.state import state_folder
from runner.runtimes.triton import Triton, new_identity, status_text
from runner.scenario.schema import EmbeddedLaunch
from runner.services.base import Endpoint

_STOP_GRACE_S = EXIT_TIMEOUT_S + 5.0


class EmbeddedRuntime:
    """A `Runtime` that keeps the private files of its servers below `state`; by default where all state is.

    `program` is an installed `tritonserver`, a path or a name on PATH; by default the wheel's is used.
    """

    def __init__(self, state: Path | None = None, *, program: str | None = None) -> None:
        self._state = (state or default_state()).absolute()
        self._program = program
        self._checked = set[str | None]()

    def preflight(self) -> Sequence[Finding]:
        """Look for everything that is known to make the server fail, hang or answer wrongly."""
        return tuple(programs.findings(self._program, self._state))

    @contextmanager
    def start(self, spec: ServerSpec) -> Iterator[RunningServer]:
        """Start a server, wait for its canary model, and stop it on leaving whatever happens."""
        named = spec.launch.program if isinstance(spec.launch, EmbeddedLaunch) else self._program
        program = self._checked_program(named)
        with terminations_as_exit(), ExitStack() as stack:
            yield self._up(program, spec, stack)

    def sweep(self) -> Sequence[str]:
        """Remove processes, shared memory and directories of servers whose runner died."""
        return [
            removed
            for directory in ownership.abandoned(self._state)
            for removed in ownership.remove_leftovers(directory, shm_prefix(directory.name))
        ]

    def _checked_program(self, name: str | None) -> Program:
        if name not in self._checked:
            _refuse(tuple(programs.findings(name, self._state)))
            self._checked.add(name)
        return programs.find_program(name)

    def _up(self, program: Program, spec: ServerSpec, stack: ExitStack) -> EmbeddedServer:
        """A server whose canary is ready; chooses other ports when somebody is faster."""
        fixed = fixed_ports(spec.flags)
        for _ in range(ATTEMPTS):
            chosen = ports.choose_ports(fixed)
            attempt = stack.enter_context(ExitStack())
            try:
                server = EmbeddedServer.launch(program, spec, chosen, self._state, attempt)
                server.wait_ready()
                return server
            except PortTakenError:
                attempt.close()
            except OSError as error:
                raise RigError(
                    f"cannot prepare the server in {self._state} with its log {spec.log}: {error}",
                    hint="make room on the disk and check who may write there; SCENARIO_HOME names another folder",
                ) from error
        raise lost_error(ATTEMPTS)


@dataclass
class EmbeddedServer:
    """A `RunningServer`: one `tritonserver` process and everything that belongs to it."""

    triton: Triton
    process: subprocess.Popen[bytes]
    program: Program

    @property
    def endpoint(self) -> Endpoint:
        return self.triton.endpoint

    @classmethod
    def launch(cls, program: Program, spec: ServerSpec, chosen: Ports, state: Path, stack: ExitStack) -> EmbeddedServer:
        """Start the process; closing `stack` ends it and removes all that it left."""
        identity = new_identity(spec.run_id)
        directory = state / identity
        directory.mkdir(parents=True)
        stack.callback(ownership.remove_leftovers, directory, shm_prefix(identity))
        ownership.write_owner(directory)
        argv = server_argv(program.path, spec, chosen, program.backends(directory), identity)
        for file in (spec.log, spec.traces or spec.log):
            file.parent.mkdir(parents=True, exist_ok=True)
        with spec.log.open("ab") as output:
            log = ServerLog(spec.log, output.tell())
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", _supervise.__file__, str(os.getpid()), *_place(spec), *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_environment(identity, directory),
                # Models look for imports in the current folder first: the user's must not hide their packages.
                cwd=spec.log.parent,
                # Ctrl-C on the terminal is for the runner, which stops the server in order.
                start_new_session=True,
            )
        server = cls(Triton(identity, endpoint(chosen), log, spec), process, program)
        stack.callback(server.stop)
        return server

    def wait_ready(self) -> None:
        """Wait until the canary answers its readiness probe on *this* server."""
        if not self.triton.wait_ready(self._check_start):
            raise PortTakenError
        self.check()

    def pids(self) -> Sequence[int]:
        """The server and its python models: those have left its tree where they were started by another process."""
        return (self.process.pid, *(stub.pid for stub in self.triton.stubs))

    def check(self) -> None:
        """Raise when the server is gone, or when one of its python models is: it would fail every request."""
        if error := self._gone() or self.triton.crippled():
            raise self.triton.explained(error)

    def reload(self) -> None:
        """Unload the models with all they need, load them, and wait for the canary."""
        self.triton.reload(self.check)

    def log_tail(self, lines: int = 20) -> Sequence[str]:
        return self.triton.log.tail(lines)

    def facts(self) -> dict[str, str]:
        """Versions and identifiers for the manifest."""
        server = {"server": f"tritonserver {self.triton.version}", "server_pid": str(self.process.pid)}
        return {"runtime": "embedded", **server, **self.program.facts(), **self.triton.traces()}

    def stop(self) -> None:
        """End the server in order; at once if it does not comply or the user insists."""
        try:
            # Without one of its models the server would only sit out its exit timeout.
            if self.process.poll() is None and not self.triton.crippled():
                self.process.send_signal(signal.SIGTERM)
                self.process.wait(_STOP_GRACE_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self._kill()

    def _kill(self) -> None:
        if self.process.poll() is None:
            # Not reaped yet, so the number still means this group and no other.
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def _gone(self) -> ServiceError | None:
        status = self.process.poll()
        return None if status is None else ServiceError(f"the server ended with {status_text(status)}")

    def _check_start(self) -> None:
        """`check` while the server comes up: also sees a taken port and a model that failed to load."""
        if error := self._gone():
            raise PortTakenError if self.triton.log.port_taken() else error
        if failed := self.triton.failed_load():
            raise failed


def default_state() -> Path:
    """Where the private files of servers are kept."""
    return state_folder("servers")


def _refuse(findings: Sequence[Finding]) -> None:
    """Raise for the findings that make a start hopeless, all at once."""
    failed = [finding for finding in findings if finding.level == "fail"]
    if failed:
        raise RigError(
            "the embedded server cannot run here: " + "; ".join(f"{f.check}: {f.detail}" for f in failed),
            hint="; ".join(f.remedy for f in failed if f.remedy) or None,
        )


def _place(spec: ServerSpec) -> list[str]:
    """Options of `_supervise` for where the server runs."""
    places = {"cpus": spec.cpus, "memory": spec.memory_nodes}
    return [f"--{option}={','.join(map(str, numbers))}" for option, numbers in places.items() if numbers]


def _environment(identity: str, directory: Path) -> dict[str, str]:
    scratch = directory / "tmp"
    scratch.mkdir()
    return os.environ | {ownership.MARKER: identity, "TMPDIR": str(scratch)}
