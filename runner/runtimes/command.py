"""The command line of a Triton server, as pure functions of what is wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from runner.errors import RigError
from runner.runtimes.base import ServerSpec
from runner.services.base import Endpoint
from runner.units import whole_number

EXIT_TIMEOUT_S = 10
"""How long Triton waits for requests in flight when it is asked to stop."""

_OURS = {
    "allow-grpc": "measurement talks gRPC",
    "backend-directory": "it points at this run's python stub",
    "id": "readiness checks that it talks to this very server",
    "load-model": "use server.load",
    "model-control-mode": "models are loaded explicitly, see server.load",
    "model-repository": "the repository is assembled from `repository`",
}
_ADDED = ("backend-config", "trace-config")
"""Options that hold one setting each time they are given: the scenario's come after ours."""


@dataclass(frozen=True)
class Ports:
    """TCP ports of one server."""

    http: int
    grpc: int
    metrics: int


def endpoint(ports: Ports, host: str = "127.0.0.1") -> Endpoint:
    """Where a server answers."""
    return Endpoint(http=f"{host}:{ports.http}", grpc=f"{host}:{ports.grpc}", metrics=f"{host}:{ports.metrics}")


def fixed_ports(flags: Mapping[str, object]) -> dict[str, int]:
    """Ports that the scenario itself asks for: http, grpc, metrics -> number."""
    wanted = {kind: flags[f"{kind}-port"] for kind in ("http", "grpc", "metrics") if f"{kind}-port" in flags}
    for kind, port in wanted.items():
        if not 0 < (whole_number(str(port)) or 0) < 65536:
            raise RigError(
                f"server.flags.{kind}-port is {port!r}; a port is a number from 1 to 65535",
                hint="leave it out and a free port is chosen",
            )
    return {kind: int(str(port)) for kind, port in wanted.items()}


def server_argv(
    program: Path | str,
    spec: ServerSpec,
    ports: Ports,
    backends: Path | None,
    identity: str,
    *,
    address: str = "127.0.0.1",
) -> list[str]:
    """The whole command: what the runner needs first, then the scenario's own flags, which win where both exist.

    Without `backends` the server uses those that it was installed with.

    Raises:
        RigError: a flag that would take the server out of the runner's hands.
    """
    for name in spec.flags:
        if name in _OURS:
            raise RigError(f"server.flags.{name} cannot be set: {_OURS[name]}", hint=f"remove server.flags.{name}")
    ours: dict[str, object] = {
        "id": identity,
        "model-repository": spec.repository.absolute(),
        "model-control-mode": "explicit",
        **({"backend-directory": backends} if backends else {}),
        "backend-config": f"python,shm-region-prefix-name={shm_prefix(identity)}",
        "http-address": address,
        "http-port": ports.http,
        "grpc-address": address,
        "grpc-port": ports.grpc,
        "metrics-address": address,
        "metrics-port": ports.metrics,
        "exit-timeout-secs": EXIT_TIMEOUT_S,
        **({"trace-config": ["mode=triton", f"triton,file={spec.traces.absolute()}"]} if spec.traces else {}),
    }
    added = {name: value for name, value in spec.flags.items() if name in _ADDED}
    flags = {**ours, **{name: value for name, value in spec.flags.items() if name not in added}}
    options = (*flags.items(), *added.items(), ("load-model", spec.models))
    return [str(program), *(option for name, value in options for option in _options(name, value))]


def shm_prefix(identity: str) -> str:
    """Start of the names of a server's shared-memory segments: unique to it, so sweeping them is safe."""
    return f"{identity}_"


def stub_script(stub: Path, binaries: Path, libraries: Path) -> str:
    """A python-backend stub that runs in our interpreter's environment.

    The stub embeds Python and finds its packages through the `python3` that comes first on PATH; libpython may lie
    outside the loader's folders. Variables that would redirect either are removed.
    """
    return (
        "#!/bin/sh\n"
        f"PATH={_quoted(binaries)}:$PATH\n"
        f"LD_LIBRARY_PATH={_quoted(libraries)}${{LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}}\n"
        "export PATH LD_LIBRARY_PATH\n"
        "unset PYTHONHOME PYTHONPATH\n"
        f'exec {_quoted(stub)} "$@"\n'
    )


def _options(name: str, value: object) -> list[str]:
    """`--name=value`; of several values one option each."""
    values = value if isinstance(value, list | tuple) else (value,)
    return [f"--{name}={str(each).lower() if isinstance(each, bool) else each}" for each in values]


def _quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "'\\''") + "'"
