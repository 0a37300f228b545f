"""Schema of a container that serves: `launch: {kind: docker, …}`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

from runner.scenario.schema_base import Strict
from runner.units import ByteSize, UnitError, format_bytes, parse_bytes

_GPUS = "`none`, `all`, how many, or a list of indices and UUIDs"


def _gpus(value: Any) -> Any:
    """One spelling for each request: 0 and an empty list are `none`."""
    if isinstance(value, list | tuple) and all(isinstance(each, str) or type(each) is int for each in value):
        return tuple(str(each) for each in value) or "none"
    if value in ("none", "all") or (type(value) is int and value > 0):
        return value
    if type(value) is int and value == 0:
        return "none"
    raise PydanticCustomError("unit", "{problem}", {"problem": f"expected {_GPUS}, got {value!r}", "hint": None})


def _limit(value: Any) -> Any:
    if value == "unlimited":
        return value
    try:
        return parse_bytes(value)
    except UnitError as error:
        problem = error.message.replace("a size such as", "`unlimited` or a size such as")
        raise PydanticCustomError("unit", "{problem}", {"problem": problem, "hint": error.hint}) from None


Gpus = Annotated[
    Literal["none", "all"] | int | tuple[str, ...],
    BeforeValidator(_gpus),
    WithJsonSchema(
        {
            "title": "GPUs",
            "examples": ["all"],
            "anyOf": [
                {"enum": ["none", "all"]},
                {"type": "integer", "minimum": 0},
                {"type": "array", "items": {"type": ["string", "integer"]}},
            ],
        }
    ),
]
"""Which GPUs."""
Limit = Annotated[
    int | Literal["unlimited"],
    BeforeValidator(_limit),
    PlainSerializer(lambda limit: limit if limit == "unlimited" else format_bytes(limit)),
    WithJsonSchema({"title": "a size or `unlimited`", "type": "string", "examples": ["64MiB"]}),
]
"""A limit in bytes, or none."""


class Ulimits(Strict):
    """Limits of the server's processes; one that the engine may not raise is left as it is, with a warning."""

    memlock: Limit = "unlimited"
    """Memory that may be locked: what pinned buffers for copies to a GPU need."""
    stack: Limit = 64 * 2**20
    """Largest stack of a thread."""


class DockerLaunch(Strict):
    """A container of a Docker engine, or of Podman's Docker-compatible socket; hardened by default."""

    kind: Literal["docker"]
    """How the server is started."""
    image: str = Field(min_length=1)
    """Serving image with `tritonserver` on its PATH; pulled when it is not there, always run by its digest."""
    gpus: Gpus = "none"
    """GPUs: `none`, `all`, how many, or a list of indices and UUIDs; proved inside the container before it is used."""
    shm_size: ByteSize = 2**30
    """Size of its /dev/shm, where python models keep their tensors; nothing of it is used up beforehand."""
    network: Literal["bridge", "host"] = "bridge"
    """`bridge`: a network of its own, ports published on the loopback address; `host`: this machine's network."""
    ipc: Literal["private", "host"] = "private"
    """`host` shares this machine's /dev/shm: what `workload.shared_memory: system` needs."""
    user: Annotated[str, Field(pattern=r"^[0-9]+(:[0-9]+)?$")] | None = None
    """`UID` or `UID:GID`; by default yours, 1000:1000 where you are root, 0:0 where the engine runs without root."""
    env: dict[str, str] = Field(default={})
    """Further environment variables."""
    mounts: dict[Annotated[str, Field(pattern="^/")], str] = Field(default={})
    """Path in the container -> file or folder of this machine; read-only."""
    ulimits: Ulimits = Ulimits()
    """Limits of its processes."""
    cpus: float | None = Field(default=None, gt=0)
    """CPU time that it may use, in cores; without a limit by default."""
    cpuset: Annotated[str, Field(pattern=r"^[0-9]+([,-][0-9]+)*$")] | None = None
    """The cores that it may run on, for example `0-7,16`."""
    memory: ByteSize | None = None
    """Memory that it may use, swap included; without a limit by default."""
    pids: int = Field(default=16_384, ge=64)
    """Processes and threads that it may have."""
    read_only: bool = True
    """False lets the server write into its image's folders, /tmp apart; for images that cannot run otherwise."""
