"""Where a service runs: every runtime is a context manager that leaves nothing behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from runner.runtimes.findings import Finding as Finding
from runner.services.base import Endpoint
from runner.services.tls import Tls

if TYPE_CHECKING:
    from runner.scenario.schema import Launch, Trace

Flag = bool | int | float | str
"""Value of one option of a server."""


@dataclass(frozen=True, kw_only=True)
class ServerSpec:
    """One server configuration."""

    repository: Path
    load: tuple[str, ...]
    """Models to load explicitly; their dependents come with them."""
    canary: str
    """Model that must answer its readiness probe before the server counts as up."""
    run_id: str
    """Goes into process and shared-memory names, so that a later run knows what a dead one left."""
    log: Path
    """Where the server's output goes; appended to."""
    flags: Mapping[str, Flag | Sequence[Flag]] = field(default_factory=dict)
    """Further options of the server; of a sequence each value is given once."""
    ready_timeout_s: float = 120.0
    listens_within_s: float = 5.0
    """How long the address of a server that runs already may refuse connections: enough for one that is started at the
    same moment; after that the address is probably wrong."""
    tls: Tls | None = None
    """How to ask for readiness where the server speaks TLS."""
    launch: Launch | None = None
    """How it is started or where it is, where an axis gives it another launch than its runtime has."""
    reads: tuple[Path, ...] = ()
    """Files and folders outside the repository that its models are told of."""
    cpus: tuple[int, ...] = ()
    """Processors that it runs on; none: any."""
    memory_nodes: tuple[int, ...] = ()
    """NUMA nodes that its memory comes from; none: any."""
    trace: Trace | None = None
    """What is traced of the canary's requests while the server is up; None: its settings are left alone."""
    traces: Path | None = None
    """The file that a server of ours writes traces to; `.0`, `.1`, … are added where it writes several."""

    @property
    def models(self) -> tuple[str, ...]:
        """Models that are loaded by name, each once; those they need are not in it."""
        return tuple(dict.fromkeys((*self.load, self.canary)))


class RunningServer(Protocol):
    """A server that is up."""

    @property
    def endpoint(self) -> Endpoint: ...

    def pids(self) -> Sequence[int] | None:
        """Its processes on this machine, roots of their trees; None where they cannot be told from here."""
        ...

    def check(self) -> None:
        """Raise `ServiceError` with the exit status and the last log lines if the server is gone."""
        ...

    def log_tail(self, lines: int = 20) -> Sequence[str]: ...

    def reload(self) -> None:
        """Unload the models with all they need, load them, and wait for the canary; raises `ServiceError`."""
        ...

    def facts(self) -> dict[str, str]:
        """Versions and identifiers for the manifest."""
        ...


class Runtime(Protocol):
    """Starts servers. Contract suite: `tests/contracts/runtime.py`."""

    def preflight(self) -> Sequence[Finding]:
        """Look without starting anything."""
        ...

    def start(self, spec: ServerSpec) -> AbstractContextManager[RunningServer]:
        """Start, wait until the canary model is ready, and stop on leaving whatever happens.

        Raises:
            RigError: the machine lacks something (preflight failed, port taken).
            ServiceError: the server ended or was not ready in time; carries its last log lines.
        """
        ...

    def sweep(self) -> Sequence[str]:
        """Remove what runs that died left behind (processes, shared memory); say what was removed."""
        ...
