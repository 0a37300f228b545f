"""Containers made, started and removed; what the engine refuses is taken back before anybody hears of it."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.errors import RigError
from runner.runtimes.docker.engine import explanation, is_engine_error, is_missing
from runner.runtimes.docker.images import Say
from runner.runtimes.docker.plan import ContainerPlan, sdk_arguments
from runner.runtimes.triton import status_text

_RLIMITS = {"3": "stack", "7": "nofile", "8": "memlock"}
_RLIMIT = re.compile(r"rlimit type (\d+)|RLIMIT_(\w+)")
_GONE_WAIT_S = 5.0
OUT_OF_MEMORY = "the container ran out of memory"
# The kernel's own counters, version 2 and 1: of a process that dies while others live on, the engine says nothing.
_LOOK_FOR_KILLS = ["sh", "-c", "cat /sys/fs/cgroup/memory.events /sys/fs/cgroup/memory/memory.oom_control 2>/dev/null"]


@dataclass(frozen=True)
class Ended:
    """How a container ended."""

    status: int
    out_of_memory: bool
    error: str = ""

    @property
    def text(self) -> str:
        """In words; a status above 128 is how shells and engines write a signal."""
        how = status_text(128 - self.status if self.status > 128 else self.status)
        memory = f"; {OUT_OF_MEMORY}" if self.out_of_memory else ""
        return f"{how}{memory}{f' ({self.error})' if self.error else ''}"


@contextmanager
def started(client: Any, plan: ContainerPlan, say: Say) -> Iterator[tuple[Any, tuple[str, ...]]]:
    """A running container and the ulimits that it could not have; removed on leaving, whatever happens.

    Raises:
        RigError: the engine cannot make or start it.
    """
    refused: tuple[str, ...] = ()
    try:
        while True:
            try:
                container = client.containers.create(**sdk_arguments(plan))
                container.start()
                break
            except Exception as error:
                if not is_engine_error(error):
                    raise
                # Made is not started: a container that could not start stays as `created`.
                remove(client, plan.name)
                limits = refused_ulimits(explanation(error), plan)
                if not limits:
                    raise
                say(f"the engine may not set the ulimit {' and '.join(limits)} to what launch.ulimits asks for")
                plan, refused = plan.without_ulimits(*limits), (*refused, *limits)
        yield container, refused
    finally:
        remove(client, plan.name)


def remove(client: Any, name: str) -> None:
    """End and remove a container with its volumes; none by that name is as good."""
    try:
        client.api.remove_container(name, force=True, v=True)
    except Exception as error:
        if not is_engine_error(error):
            raise
        if not is_missing(error) and "in progress" not in explanation(error):
            raise RigError(
                f"the container {name} cannot be removed: {explanation(error)}", hint=f"docker rm --force {name}"
            ) from error


def refused_ulimits(said: str, plan: ContainerPlan) -> tuple[str, ...]:
    """Which of the plan's ulimits the engine complains about; all when it does not say."""
    if "rlimit" not in said.lower():
        return ()
    match = _RLIMIT.search(said)
    name = (_RLIMITS.get(match[1] or "") or (match[2] or "").lower()) if match else ""
    return (name,) if name in plan.ulimits else tuple(plan.ulimits)


def ended(container: Any) -> Ended | None:
    """Ask the engine how the container ended; None while it runs."""
    container.reload()
    state = container.attrs["State"]
    if state.get("Running") or state.get("Status") == "created":
        return None
    return Ended(int(state.get("ExitCode", 0)), bool(state.get("OOMKilled")), str(state.get("Error") or ""))


def killed_for_memory(container: Any) -> bool:
    """Whether the kernel killed any process of a container for want of memory; False where nobody can tell."""
    try:
        container.reload()
        if container.attrs["State"].get("OOMKilled"):
            return True
        counters = container.exec_run(_LOOK_FOR_KILLS).output.decode(errors="replace")
    except Exception as error:
        if not is_engine_error(error):
            raise
        return False
    return any(int(count) for count in re.findall(r"^oom_kill (\d+)", counters, re.MULTILINE))


class LogFile:
    """Copies a container's output into a file from its first byte on, in a thread of its own."""

    def __init__(self, container: Any, path: Path) -> None:
        self._container, self._path = container, path
        self._thread = threading.Thread(target=self._copy, name="container log", daemon=True)
        self._thread.start()

    def drain(self) -> None:
        """Wait until what a container that ended has written is in the file."""
        self._thread.join(_GONE_WAIT_S)

    def _copy(self) -> None:
        # An engine that goes away ends the copy; whoever looks at the container says so.
        with suppress(Exception), self._path.open("ab", buffering=0) as file:
            for chunk in self._container.logs(stream=True, follow=True):
                file.write(chunk)
