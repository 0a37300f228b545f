"""A Triton server in a container."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from runner.errors import RigError, ServiceError
from runner.processes import start_time
from runner.runtimes import ownership
from runner.runtimes.command import EXIT_TIMEOUT_S, Ports, endpoint
from runner.runtimes.docker.containers import OUT_OF_MEMORY, Ended, LogFile, ended, killed_for_memory
from runner.runtimes.docker.engine import EngineFacts, as_service_errors, explanation, is_engine_error, is_missing
from runner.runtimes.docker.images import Image
from runner.runtimes.docker.plan import ContainerPlan
from runner.runtimes.ports import PortTakenError
from runner.runtimes.triton import Triton
from runner.services.base import Endpoint

_STOP_GRACE_S = EXIT_TIMEOUT_S + 5
PROGRAM = "tritonserver"
INSIDE = Ports(http=8000, grpc=8001, metrics=8002)
"""Ports in a container that has a network of its own."""
NOT_EXECUTED = 127
"""Exit status of the container's init when there is no such program."""
_LAST_WORDS = 5
_MORE_MEMORY = "raise launch.memory, or serve fewer instances or smaller batches"
_ASK_EVERY_S = 1.0
"""Asking the engine costs it a few milliseconds of CPU time, on the machine that is measured."""


@dataclass
class DockerServer:
    """A `RunningServer`: one container."""

    triton: Triton
    container: Any
    plan: ContainerPlan
    image: Image
    engine: EngineFacts
    output: LogFile
    gpus: tuple[str, ...] = ()
    refused_ulimits: tuple[str, ...] = ()
    process: tuple[int, int] | None = None
    """Pid and start time of the container's first process where this machine's process table shows it."""
    _asked: float = 0.0

    @property
    def endpoint(self) -> Endpoint:
        return self.triton.endpoint

    def wait_ready(self) -> None:
        """Wait until the canary answers its readiness probe on *this* server."""
        if not self.triton.wait_ready(self._check_start):
            raise PortTakenError
        self.process = self._visible_process()
        self._avoid_proxy()
        self.check()

    def pids(self) -> Sequence[int] | None:
        """The container's first process, the root of all the others, where this machine's process table shows it."""
        return (self.process[0],) if self.process else None

    def check(self) -> None:
        """Raise when the container ended, or when one of its python models did: it would fail every request."""
        if error := self._gone() or self._crippled():
            raise self.triton.explained(error)

    def reload(self) -> None:
        """Unload the models with all they need, load them, and wait for the canary."""
        self.triton.reload(self.check)

    def log_tail(self, lines: int = 20) -> Sequence[str]:
        return self.triton.log.tail(lines)

    def facts(self) -> dict[str, str]:
        """Versions and identifiers for the manifest."""
        plan, limits = self.plan, {name: str(limit) for name, limit in self.plan.ulimits.items()}
        limits |= dict.fromkeys(self.refused_ulimits, "refused by the engine")
        facts = {
            "runtime": "docker",
            "server": f"tritonserver {self.triton.version}",
            "image": self.image.name,
            "image_id": self.image.id,
            "image_digest": self.image.digest,
            "engine": self.engine.text,
            "container": self.container.id[:12],
            "gpus": "; ".join(self.gpus) or "none",
            "network": plan.network,
            "reached_at": self.endpoint.grpc,
            "user": plan.user,
            "shm_bytes": "shared with this machine" if plan.ipc == "host" else str(plan.shm_bytes),
            **{f"ulimit_{name}": limit for name, limit in limits.items()},
            **self.triton.traces(),
        }
        # An image that no registry knows has no digest there.
        return {name: text for name, text in facts.items() if text}

    def stop(self) -> None:
        """End the server in order; at once if it does not comply. Whoever started the container removes it."""
        with suppress(ServiceError):
            # Without one of its models the server would only sit out its exit timeout.
            grace_s = 0 if self._crippled() else _STOP_GRACE_S
            with as_service_errors():
                self.container.stop(timeout=grace_s)
        self.output.drain()

    def _gone(self) -> ServiceError | None:
        if self.process and start_time(self.process[0]) == self.process[1]:
            return None
        now = time.monotonic()
        if not self.process and now - self._asked < _ASK_EVERY_S:
            return None
        self._asked = now
        return self._ended()

    def _ended(self) -> ServiceError | None:
        try:
            found = ended(self.container)
        except Exception as error:
            if not is_engine_error(error):
                raise
            what = "somebody removed the container" if is_missing(error) else explanation(error)
            return ServiceError(f"the server is gone: {what}")
        if found is None:
            return None
        # Its last words may still be on their way.
        self.output.drain()
        if not self.triton.version and never_ran(found, self.triton.log.tail(_LAST_WORDS)):
            raise no_program(self.image.name)
        return ServiceError(f"the server ended with {found.text}", hint=_MORE_MEMORY if found.out_of_memory else None)

    def _crippled(self) -> ServiceError | None:
        error = self.triton.crippled()
        return error and self._with_memory(error)

    def _with_memory(self, error: ServiceError) -> ServiceError:
        """The error, and that the kernel killed a process of the container for want of memory, if it did."""
        if not killed_for_memory(self.container):
            return error
        return ServiceError(f"{error.message}; {OUT_OF_MEMORY}", hint=_MORE_MEMORY)

    def _check_start(self) -> None:
        """`check` while the server comes up: also sees a taken port and a model that failed to load."""
        if error := self._gone():
            raise PortTakenError if self.plan.network == "host" and self.triton.log.port_taken() else error
        if failed := self.triton.failed_load():
            raise self._with_memory(failed)

    def _avoid_proxy(self) -> None:
        """Talk to the container's own address where that works.

        A published port of the loopback address is served by a process of the engine that copies every byte: it would
        be measured along with the server. From another machine or a virtual one only the published port can be reached.
        """
        if self.plan.network != "bridge":
            return
        self.container.reload()
        networks = self.container.attrs["NetworkSettings"].get("Networks") or {}
        address = next((network["IPAddress"] for network in networks.values() if network.get("IPAddress")), None)
        if address and self.triton.answers_at(f"{address}:{INSIDE.grpc}"):
            self.triton.endpoint = endpoint(INSIDE, address)

    def _visible_process(self) -> tuple[int, int] | None:
        """The engine may run elsewhere, where its pids mean other processes: only one with our marker counts."""
        self.container.reload()
        pid = int(self.container.attrs["State"].get("Pid") or 0)
        started = start_time(pid) if pid in ownership.marked_processes(self.triton.identity) else None
        return (pid, started) if started is not None else None


def never_ran(found: Ended, said: Sequence[str]) -> bool:
    """Whether there was no program to run: Podman's init process ends with 1 and says it."""
    return found.status == NOT_EXECUTED or any("failed to exec" in line for line in said)


def no_program(image: str) -> RigError:
    """The error of an image that serves nothing."""
    return RigError(
        f"the image {image} has no `{PROGRAM}` on its PATH", hint="name a serving image of Triton in `launch.image`"
    )
