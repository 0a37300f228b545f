"""The runtime that a target's `launch` asks for."""

from __future__ import annotations

from collections.abc import Callable

from runner.runtimes.base import Runtime
from runner.scenario.schema import DockerLaunch, Launch, RemoteLaunch


def runtime_for(
    launch: Launch,
    say: Callable[[str], None] = lambda message: None,
    *,
    offline: bool = False,
    identify: bool = False,
) -> Runtime:
    """Imported when chosen: each brings libraries along that the others do without."""
    match launch:
        case DockerLaunch():
            from runner.runtimes.docker import DockerRuntime

            return DockerRuntime(launch, say, offline=offline)
        case RemoteLaunch():
            from runner.runtimes.remote import RemoteRuntime

            return RemoteRuntime(launch, say, identify=identify)
        case _:
            from runner.runtimes.embedded import EmbeddedRuntime

            return EmbeddedRuntime(program=launch.program)
