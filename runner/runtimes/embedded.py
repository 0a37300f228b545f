"""The Triton server of the `nvidia-pytriton` wheel as a child process: real Triton without container or GPU.

It has the python backend and ensembles. Everything private to one server lies in one directory, named by the server's
identity, which also names its shared memory and marks its processes: what a dead run left is found and removed by it.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from runner.errors import RigError, ServiceError
from runner.processes import start_time
from runner.runtimes import _supervise, ownership, ports, preflight, serverlog
from runner.runtimes.base import Finding, RunningServer, ServerSpec
from runner.runtimes.command import (
    EXIT_TIMEOUT_S,
    Ports,
    endpoint,
    fixed_ports,
    server_argv,
    shm_prefix,
    stub_script,
)
from runner.runtimes.interrupts import terminations_as_exit
from runner.runtimes.preflight import Wheel
from runner.runtimes.readiness import wait_ready
from runner.runtimes.serverlog import ServerLog

ATTEMPTS = 3
"""Between choosing a free port and the server binding it, somebody else may take it."""
_STOP_GRACE_S = EXIT_TIMEOUT_S + 5.0
_PROBE_TIMEOUT_S = 2.0
_LAST_WORDS = 5
"""Lines at the end of the log that may say why a server that was up is gone."""


class _PortTakenError(Exception):
    """The server found a port taken that was free a moment before."""


class EmbeddedRuntime:
    """A `Runtime` that keeps the private files of its servers below `state`; by default where all state is."""

    def __init__(self, state: Path | None = None) -> None:
        self._state = (state or default_state()).absolute()
        self._checked = False

    def preflight(self) -> Sequence[Finding]:
        """Look for everything that is known to make the server fail, hang or answer wrongly."""
        return tuple(preflight.findings(preflight.find_wheel(), self._state))

    @contextmanager
    def start(self, spec: ServerSpec) -> Iterator[RunningServer]:
        """Start a server, wait for its canary model, and stop it on leaving whatever happens."""
        wheel = self._checked_wheel()
        with terminations_as_exit(), ExitStack() as stack:
            yield self._up(wheel, spec, stack)

    def sweep(self) -> Sequence[str]:
        """Remove processes, shared memory and directories of servers whose runner died."""
        return [
            removed
            for directory in ownership.abandoned(self._state)
            for removed in ownership.remove_leftovers(directory, shm_prefix(directory.name))
        ]

    def _checked_wheel(self) -> Wheel:
        if not self._checked:
            _refuse(self.preflight())
            self._checked = True
        wheel = preflight.find_wheel()
        if wheel is None:
            raise RigError("the nvidia-pytriton wheel is gone", hint="install it again")
        return wheel

    def _up(self, wheel: Wheel, spec: ServerSpec, stack: ExitStack) -> EmbeddedServer:
        """A server whose canary is ready; chooses other ports when somebody is faster."""
        fixed = fixed_ports(spec.flags)
        for _ in range(ATTEMPTS):
            chosen = ports.choose_ports(fixed)
            attempt = stack.enter_context(ExitStack())
            try:
                server = EmbeddedServer.launch(wheel, spec, chosen, self._state, attempt)
                server.wait_ready()
                return server
            except _PortTakenError:
                attempt.close()
            except OSError as error:
                raise RigError(
                    f"cannot prepare the server in {self._state} with its log {spec.log}: {error}",
                    hint="make room on the disk and check who may write there; SCENARIO_HOME names another folder",
                ) from error
        raise RigError(
            f"the server found its ports taken {ATTEMPTS} times in a row, the last time {chosen}",
            hint="something on this machine takes ports as they become free; stop it, or set server.flags.grpc-port",
        )


@dataclass
class EmbeddedServer:
    """A `RunningServer`: one `tritonserver` process and everything that belongs to it."""

    identity: str
    process: subprocess.Popen[bytes]
    ports: Ports
    log: ServerLog
    wheel: Wheel
    spec: ServerSpec
    version: str = ""
    stubs: tuple[tuple[int, int, str], ...] = ()
    """Python-backend processes once the canary is ready: pid, start time, model."""

    def __post_init__(self) -> None:
        self.endpoint = endpoint(self.ports)

    @classmethod
    def launch(cls, wheel: Wheel, spec: ServerSpec, chosen: Ports, state: Path, stack: ExitStack) -> EmbeddedServer:
        """Start the process; closing `stack` ends it and removes all that it left."""
        identity = _identity(spec.run_id)
        argv = server_argv(wheel.program, spec, chosen, state / identity / "backends", identity)
        directory = state / identity
        directory.mkdir(parents=True)
        stack.callback(ownership.remove_leftovers, directory, shm_prefix(identity))
        ownership.write_owner(directory)
        _lay_out_backend(wheel, directory / "backends" / "python")
        spec.log.parent.mkdir(parents=True, exist_ok=True)
        with spec.log.open("ab") as output:
            log = ServerLog(spec.log, output.tell())
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", _supervise.__file__, str(os.getpid()), *argv],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_environment(identity, directory),
                # Models look for imports in the current folder first: the user's must not hide their packages.
                cwd=spec.log.parent,
                # Ctrl-C on the terminal is for the runner, which stops the server in order.
                start_new_session=True,
            )
        server = cls(identity, process, chosen, log, wheel, spec)
        stack.callback(server.stop)
        return server

    def wait_ready(self) -> None:
        """Wait until the canary answers its readiness probe on *this* server."""
        spec = self.spec
        # Imported here: gRPC takes a third of a second, which only commands that start a server should pay.
        from runner.services.kserve import KServeGrpc

        with closing(KServeGrpc(self.endpoint.grpc, timeout_s=_PROBE_TIMEOUT_S, tls=spec.tls)) as service:
            try:
                wait_ready(service, spec.canary, spec.ready_timeout_s, self._check_start)
                name, self.version = service.server()
            except ServiceError as error:
                raise self._explained(error) from error
        if name != self.identity:
            raise _PortTakenError
        self.check()
        self.stubs = tuple(_stubs(self.identity))

    def check(self) -> None:
        """Raise when the server is gone, or when one of its python models is: it would fail every request."""
        if error := self._gone() or self._crippled():
            raise self._explained(error)

    def reload(self) -> None:
        """Unload the models with all they need, load them, and wait for the canary."""
        from runner.runtimes.reloading import reload_models
        from runner.services.kserve import KServeGrpc

        # The python models' processes end on purpose now.
        self.stubs = ()
        with closing(KServeGrpc(self.endpoint.grpc, timeout_s=self.spec.ready_timeout_s, tls=self.spec.tls)) as service:
            try:
                reload_models(service, self.spec, self.check)
            except ServiceError as error:
                raise self._explained(error) from error
        self.stubs = tuple(_stubs(self.identity))

    def log_tail(self, lines: int = 20) -> Sequence[str]:
        return self.log.tail(lines)

    def facts(self) -> dict[str, str]:
        """Versions and identifiers for the manifest."""
        interpreter = preflight.probe_interpreter()
        return {
            "runtime": "embedded",
            "server": f"tritonserver {self.version}",
            "server_pid": str(self.process.pid),
            "nvidia_pytriton": self.wheel.version,
            "python": interpreter.python,
            "numpy": interpreter.numpy or "",
        }

    def stop(self) -> None:
        """End the server in order; at once if it does not comply or the user insists."""
        try:
            # Without one of its models the server would only sit out its exit timeout.
            if self.process.poll() is None and not self._crippled():
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
        return None if status is None else ServiceError(f"the server ended with {_status(status)}")

    def _crippled(self) -> ServiceError | None:
        for pid, started, model in self.stubs:
            if start_time(pid) != started:
                return ServiceError(
                    f"the process of python model {model!r} (pid {pid}) is gone; "
                    "the server stays up, but every request to it fails",
                    hint=f"it crashed or was killed (out of memory?); the server log {self.log.path} may say more",
                )
        return None

    def _check_start(self) -> None:
        """`check` while the server comes up: also sees a taken port and a model that failed to load."""
        if error := self._gone():
            raise _PortTakenError if self.log.port_taken() else error
        if failed := self.log.failed_model():
            raise ServiceError(f"model {failed!r} failed to load")

    def _explained(self, error: ServiceError) -> ServiceError:
        """The error with its cause, a remedy and the evidence from the log."""
        # Once it served, only what it wrote last can be the reason; earlier errors are those of single requests.
        lines = self.log.tail(_LAST_WORDS) if self.version else self.log.lines()
        cause = serverlog.cause(lines)
        return ServiceError(
            f"{error.message}: {cause}" if cause else error.message,
            hint=serverlog.remedy(lines) or error.hint or f"the whole log is {self.log.path}",
            log_tail=self.log.evidence(),
        )


def default_state() -> Path:
    """`servers` in $SCENARIO_HOME, else in the XDG state directory."""
    if home := os.environ.get("SCENARIO_HOME"):
        return Path(home).expanduser() / "servers"
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "scenario" / "servers"


def _refuse(findings: Sequence[Finding]) -> None:
    """Raise for the findings that make a start hopeless, all at once."""
    failed = [finding for finding in findings if finding.level == "fail"]
    if failed:
        raise RigError(
            "the embedded server cannot run here: " + "; ".join(f"{f.check}: {f.detail}" for f in failed),
            hint="; ".join(f.remedy for f in failed if f.remedy) or None,
        )


def _identity(run_id: str) -> str:
    """Unique, starts with what people recognise, fits a file name with room to spare."""
    readable = re.sub(r"[^A-Za-z0-9.-]+", "-", run_id)[:60].strip(".-") or "run"
    return f"scenario-{readable}-{uuid.uuid4().hex[:12]}"


def _lay_out_backend(wheel: Wheel, folder: Path) -> None:
    """A python backend that runs in our interpreter; the installed one stays as it is."""
    folder.mkdir(parents=True)
    for name in ("libtriton_python.so", "triton_python_backend_utils.py"):
        (folder / name).symlink_to(wheel.backend / name)
    stub = folder / "triton_python_backend_stub"
    stub.write_text(stub_script(wheel.stub, Path(sys.executable).parent, preflight.library_folder()))
    stub.chmod(0o755)


def _environment(identity: str, directory: Path) -> dict[str, str]:
    scratch = directory / "tmp"
    scratch.mkdir()
    return os.environ | {ownership.MARKER: identity, "TMPDIR": str(scratch)}


def _stubs(identity: str) -> Iterator[tuple[int, int, str]]:
    for pid in ownership.marked_processes(identity):
        try:
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        started = start_time(pid)
        if arguments[0].endswith("triton_python_backend_stub") and started is not None and len(arguments) > 8:
            yield pid, started, re.sub(r"_\d+_\d+$", "", arguments[8])


def _status(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"signal {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"
