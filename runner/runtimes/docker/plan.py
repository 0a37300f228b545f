"""A container as a value: what it runs, sees and may do. One plan becomes the SDK's arguments or a command line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from runner.scenario.secrets import looks_secret, redact_text

LOOPBACK = "127.0.0.1"
_SCRATCH = "rw,exec,nosuid,nodev,mode=1777"
"""Of /tmp. Executable: the python backend unpacks environments there and runs them."""
_LOG = {"max-size": "64m", "max-file": "1"}
"""The runner keeps the whole log itself; the engine's copy must not fill its disk."""


@dataclass(frozen=True)
class Bind:
    """A file or folder of this machine in the container, read-only unless it is where results go."""

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True)
class GpuRequest:
    """GPUs as the engine is asked for them: by its NVIDIA driver, or by names of the Container Device Interface."""

    count: int = 0
    """-1: all."""
    ids: tuple[str, ...] = ()
    cdi: bool = False


@dataclass(frozen=True, kw_only=True)
class ContainerPlan:
    """Everything that a container is made from; what is not said here it does not get."""

    name: str
    image: str
    command: tuple[str, ...]
    user: str
    labels: Mapping[str, str]
    entrypoint: tuple[str, ...] | None = None
    """None: the image's own."""
    folder: str | None = None
    """Where the command starts; None: where the image says."""
    env: Mapping[str, str] = field(default_factory=dict)
    binds: tuple[Bind, ...] = ()
    publish: Mapping[int, int | None] = field(default_factory=dict)
    """Port in the container -> port of the loopback address, None for a free one."""
    network: Literal["bridge", "host", "none"] = "none"
    ipc: Literal["private", "host"] = "private"
    gpus: GpuRequest | None = None
    shm_bytes: int = 64 * 2**20
    ulimits: Mapping[str, int] = field(default_factory=dict)
    """Name -> limit, -1 for none."""
    cpus: float | None = None
    cpuset: str | None = None
    memory_nodes: str | None = None
    """NUMA nodes that its memory comes from."""
    memory_bytes: int | None = None
    pids: int = 16_384
    read_only: bool = True

    def without_ulimits(self, *names: str) -> ContainerPlan:
        return replace(self, ulimits={name: limit for name, limit in self.ulimits.items() if name not in names})


def sdk_arguments(plan: ContainerPlan) -> dict[str, Any]:
    """For `client.containers.create`."""
    from docker.types import DeviceRequest, LogConfig, Mount, Ulimit

    wanted: dict[str, Any] = {
        "image": plan.image,
        "command": list(plan.command),
        "name": plan.name,
        "entrypoint": list(plan.entrypoint) if plan.entrypoint else None,
        "working_dir": plan.folder,
        "user": plan.user,
        "labels": dict(plan.labels),
        "environment": dict(plan.env),
        "network_mode": plan.network,
        "ports": {f"{inside}/tcp": (LOOPBACK, outside) for inside, outside in plan.publish.items()},
        "ipc_mode": plan.ipc,
        "shm_size": None if plan.ipc == "host" else plan.shm_bytes,
        # Mounts, not volumes: of a path that does not exist, volumes make a folder that belongs to root.
        "mounts": [Mount(b.target, str(b.source), type="bind", read_only=not b.writable) for b in plan.binds],
        "tmpfs": {"/tmp": _SCRATCH},
        "read_only": plan.read_only,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "pids_limit": plan.pids,
        "init": True,
        "device_requests": [DeviceRequest(**gpu_arguments(plan.gpus))] if plan.gpus else None,
        "ulimits": [Ulimit(name=name, soft=limit, hard=limit) for name, limit in plan.ulimits.items()],
        "nano_cpus": round(plan.cpus * 1e9) if plan.cpus else None,
        "cpuset_cpus": plan.cpuset,
        "cpuset_mems": plan.memory_nodes,
        "mem_limit": plan.memory_bytes,
        "memswap_limit": plan.memory_bytes,
        "log_config": LogConfig(type=LogConfig.types.JSON, config=_LOG),
        # An image's own health check would take CPU time while something is measured.
        "healthcheck": {"test": ["NONE"]},
    }
    return {key: value for key, value in wanted.items() if value not in (None, [], {})}


def gpu_arguments(request: GpuRequest) -> dict[str, Any]:
    """For `docker.types.DeviceRequest`."""
    if request.cdi:
        return {"driver": "cdi", "device_ids": list(request.ids)}
    # `video` is the hardware JPEG decoder; not every image asks for it by itself.
    capabilities = [["gpu", "compute", "utility", "video"]]
    if request.ids:
        return {"device_ids": list(request.ids), "capabilities": capabilities}
    return {"count": request.count, "capabilities": capabilities}


def command_line(plan: ContainerPlan) -> list[str]:
    """The same container by the `docker` command, for people; it goes away by itself."""
    return ["docker", "run", "--rm", *_options(plan), plan.image, *(plan.entrypoint or ())[1:], *plan.command]


def _options(plan: ContainerPlan) -> Iterator[str]:
    yield from ("--init", "--user", plan.user, "--network", plan.network, f"--ipc={plan.ipc}")
    yield from ("--cap-drop=ALL", "--security-opt=no-new-privileges", f"--pids-limit={plan.pids}", "--no-healthcheck")
    yield from (f"--tmpfs=/tmp:{_SCRATCH}", *(["--read-only"] if plan.read_only else []))
    if plan.ipc != "host":
        yield f"--shm-size={plan.shm_bytes}"
    for name, value in plan.env.items():
        # Logs keep this line: without a value the variable is passed on from the environment of whoever runs it.
        yield f"--env={name}" if looks_secret(name) or redact_text(value) != value else f"--env={name}={value}"
    for bind in plan.binds:
        yield f"--mount=type=bind,src={bind.source},dst={bind.target}{'' if bind.writable else ',readonly'}"
    for inside, outside in plan.publish.items():
        yield f"--publish={LOOPBACK}:{outside or ''}:{inside}"
    for name, limit in plan.ulimits.items():
        yield f"--ulimit={name}={limit}:{limit}"
    limits = {"--cpus": plan.cpus, "--cpuset-cpus": plan.cpuset, "--cpuset-mems": plan.memory_nodes}
    memory = {"--memory": plan.memory_bytes, "--memory-swap": plan.memory_bytes}
    yield from (f"{option}={value:g}" if isinstance(value, float) else f"{option}={value}"
                for option, value in {**limits, **memory}.items() if value)  # fmt: skip
    if plan.gpus:
        yield from _gpu_options(plan.gpus)
    if plan.folder:
        yield f"--workdir={plan.folder}"
    if plan.entrypoint:
        yield f"--entrypoint={plan.entrypoint[0]}"


def _gpu_options(request: GpuRequest) -> Iterator[str]:
    if request.cdi:
        yield from (f"--device={device}" for device in request.ids)
        return
    which = f'"device={",".join(request.ids)}"' if request.ids else "all" if request.count < 0 else str(request.count)
    yield f"--gpus={which}"
