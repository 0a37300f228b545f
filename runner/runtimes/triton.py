"""A Triton that the runner started, whatever it runs in: who it is, its canary, its python models, its log."""

from __future__ import annotations

import re
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from runner.errors import ServiceError
from runner.processes import start_time
from runner.runtimes import ownership, serverlog, tracing
from runner.runtimes.base import ServerSpec
from runner.runtimes.readiness import wait_ready
from runner.runtimes.serverlog import ServerLog
from runner.services.base import Endpoint
from runner.services.control import Control

_PROBE_TIMEOUT_S = 2.0
_LAST_WORDS = 5
"""Lines at the end of the log that may say why a server that was up is gone."""


@dataclass
class Triton:
    """What is known of one server; how it is started, ended and found gone is the business of its runtime."""

    identity: str
    endpoint: Endpoint
    log: ServerLog
    spec: ServerSpec
    version: str = ""
    """Known once the canary has answered."""
    stubs: tuple[Stub, ...] = ()
    """Python-backend processes once the canary is ready, as far as they can be seen from here."""

    def wait_ready(self, check: Callable[[], None]) -> bool:
        """Wait until the canary answers its readiness probe; False when it was another server that answered.

        `check` runs before each probe and raises when there is no hope.

        Raises:
            ServiceError: not ready in time, or what `check` raised; with its cause and the evidence.
        """
        # Imported here: gRPC takes a third of a second, which only commands that start a server should pay.
        from runner.services.kserve import KServeGrpc

        with closing(KServeGrpc(self.endpoint.grpc, timeout_s=_PROBE_TIMEOUT_S, tls=self.spec.tls)) as service:
            try:
                wait_ready(service, self.spec.canary, self.spec.ready_timeout_s, check)
                found = service.server()
                if found.name == self.identity:
                    self._trace(service)
            except ServiceError as error:
                raise self.explained(error) from error
        self.version = found.version
        if found.name != self.identity:
            return False
        self.stubs = tuple(python_stubs(self.identity))
        return True

    def _trace(self, service: Control) -> None:
        """Trace the canary if asked to; the settings end with the server, so that nothing has to be put back."""
        if self.spec.trace is not None:
            tracing.check_traceable(service, self.spec.trace)
            service.trace(self.spec.canary, tracing.asked(self.spec.trace))

    def traces(self) -> dict[str, str]:
        """What it traces and where, for the manifest."""
        return tracing.facts(self.spec.trace, f"{self.spec.traces.parent.name}/" if self.spec.traces else "")

    def answers_at(self, address: str) -> bool:
        """Whether this very server answers gRPC at another address, too."""
        from runner.services.kserve import KServeGrpc

        with closing(KServeGrpc(address, timeout_s=_PROBE_TIMEOUT_S, tls=self.spec.tls)) as service:
            try:
                return service.server().name == self.identity
            except ServiceError:
                return False

    def reload(self, check: Callable[[], None]) -> None:
        """Unload the models with all they need, load them, and wait for the canary."""
        from runner.runtimes.reloading import reload_models
        from runner.services.kserve import KServeGrpc

        # The python models' processes end on purpose now.
        self.stubs = ()
        with closing(KServeGrpc(self.endpoint.grpc, timeout_s=self.spec.ready_timeout_s, tls=self.spec.tls)) as service:
            try:
                reload_models(service, self.spec, check)
            except ServiceError as error:
                raise self.explained(error) from error
        self.stubs = tuple(python_stubs(self.identity))

    def crippled(self) -> ServiceError | None:
        """The error of a python model whose process is gone, if there is one."""
        for stub in self.stubs:
            if not stub.lives():
                return ServiceError(
                    f"the process of python model {stub.model!r} (pid {stub.pid}) is gone; "
                    "the server stays up, but every request to it fails",
                    hint=f"it crashed or was killed (out of memory?); the server log {self.log.path} may say more",
                )
        return None

    def failed_load(self) -> ServiceError | None:
        """The error of a model that the log says could not be loaded, if there is one."""
        failed = self.log.failed_model()
        return ServiceError(f"model {failed!r} failed to load") if failed else None

    def explained(self, error: ServiceError) -> ServiceError:
        """The error with its cause, a remedy and the evidence from the log."""
        # Once it served, only what it wrote last can be the reason; earlier errors are those of single requests.
        lines = self.log.tail(_LAST_WORDS) if self.version else self.log.lines()
        cause = serverlog.cause(lines)
        return ServiceError(
            f"{error.message}: {cause}" if cause else error.message,
            hint=serverlog.remedy(lines) or error.hint or f"the whole log is {self.log.path}",
            log_tail=self.log.evidence(),
        )


@dataclass(frozen=True)
class Stub:
    """The process of one instance of a python model."""

    pid: int
    started: int
    model: str

    def lives(self) -> bool:
        return start_time(self.pid) == self.started


def new_identity(run_id: str) -> str:
    """Unique, starts with what people recognise, fits a file name and a container's name with room to spare."""
    readable = re.sub(r"[^A-Za-z0-9.-]+", "-", run_id)[:60].strip(".-") or "run"
    return f"scenario-{readable}-{uuid.uuid4().hex[:12]}"


def python_stubs(identity: str) -> Iterator[Stub]:
    """The python-backend processes of a server, found by the marker that they carry."""
    for pid in ownership.marked_processes(identity):
        try:
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        started = start_time(pid)
        if arguments[0].endswith("triton_python_backend_stub") and started is not None and len(arguments) > 8:
            yield Stub(pid, started, re.sub(r"_\d+_\d+$", "", arguments[8]))


def status_text(status: int) -> str:
    """An exit status in words; negative where a signal ended the process."""
    if status >= 0:
        return f"exit status {status}"
    try:
        return f"signal {signal.Signals(-status).name}"
    except ValueError:
        return f"signal {-status}"
