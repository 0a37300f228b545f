"""Schema of `targets.*.rig`: settings of the machine for the time of a run."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, PlainSerializer, Tag, WithJsonSchema
from pydantic_core import PydanticCustomError

from runner.scenario.cpu_list import EXPECTED, format_cpus, parse_cpus
from runner.scenario.schema_base import Strict
from runner.scenario.schema_docker import Gpus
from runner.units import Watts


def _cpus(value: Any) -> tuple[int, ...]:
    """From `0-7,16`, one number, or a list of numbers."""
    if isinstance(value, list | tuple) and value and all(type(each) is int and each >= 0 for each in value):
        return tuple(sorted(set(value)))
    try:
        return parse_cpus(str(value) if type(value) is int else value)
    except (ValueError, AttributeError):
        problem = f"expected {EXPECTED}, got {value!r}"
        raise PydanticCustomError("unit", "{problem}", {"problem": problem, "hint": None}) from None


Cpus = Annotated[
    tuple[int, ...],
    BeforeValidator(_cpus),
    PlainSerializer(format_cpus),
    WithJsonSchema({"title": "a list of CPUs", "type": ["string", "integer", "array"], "examples": ["0-7"]}),
]
"""Processors, written `0-7,16`."""
MAX_MHZ = 100_000


def _clock(value: Any) -> Any:
    if value in ("base", "max") or (type(value) is int and 0 < value <= MAX_MHZ):
        return value
    problem = f"expected `base`, `max`, or MHz such as 1410, got {value!r}"
    raise PydanticCustomError("unit", "{problem}", {"problem": problem, "hint": None})


Clock = Annotated[
    Literal["base", "max"] | int,
    BeforeValidator(_clock),
    WithJsonSchema(
        {
            "title": "a clock",
            "anyOf": [{"enum": ["base", "max"]}, {"type": "integer", "minimum": 1}],
            "examples": [1410],
        }
    ),
]
"""A clock: of the board's specification, its highest, or MHz."""


class NumaNode(Strict):
    """All processors of a NUMA node, and its memory."""

    numa: int = Field(ge=0, le=1023)
    """Number of the node."""


class Clocks(Strict):
    """Clocks by domain."""

    graphics: Clock | None = None
    """Of the multiprocessors: `base`, `max`, or MHz."""
    memory: int | None = Field(default=None, ge=1, le=MAX_MHZ)
    """Of the memory, in MHz."""


def _tag(value: Any) -> str:
    return "rig:map" if isinstance(value, dict | Strict) else "rig:short"


LockClocks = Annotated[Annotated[Clock, Tag("rig:short")] | Annotated[Clocks, Tag("rig:map")], Discriminator(_tag)]
"""A clock of the multiprocessors, or clocks by domain."""
ServerCpus = Annotated[Annotated[Cpus, Tag("rig:short")] | Annotated[NumaNode, Tag("rig:map")], Discriminator(_tag)]
"""Processors, or a node with its memory."""


class Rig(Strict):
    """Settings of the machine for the time of a run: asked for by the target, written down, taken back at the end."""

    gpus: Gpus | None = None
    """GPUs that the settings are for; by default those of the launch, all of them where it names none."""
    lock_clocks: LockClocks | None = None
    """Clocks to lock: `base`, `max`, or MHz of the multiprocessors; a map for both domains."""
    power_limit: Annotated[Watts, Field(gt=0)] | None = None
    """Power limit of each GPU."""
    persistence: bool | None = None
    """Whether the driver stays loaded while nobody uses the GPU."""
    server_cpus: ServerCpus | None = None
    """Processors that the server and its models run on; `{numa: N}` for a node and its memory."""
    client_cpus: Cpus | None = None
    """Processors of the load engine's threads, unless `load.pin_cpus` names others."""

    @property
    def controls_gpus(self) -> bool:
        """Whether anything of a GPU is to be set."""
        return self.lock_clocks is not None or self.power_limit is not None or self.persistence is not None

    @property
    def clocks(self) -> Clocks:
        """The clocks to lock, by domain."""
        lock = self.lock_clocks
        return lock if isinstance(lock, Clocks) else Clocks(graphics=lock)
