"""Schema of `vars` and `targets`."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from runner.scenario.schema_base import OPTION, PROGRAM, VARIABLE, Strict, check_bounds
from runner.scenario.schema_docker import DockerLaunch
from runner.scenario.schema_remote import RemoteLaunch
from runner.units import ByteSize


class VarBase(Strict):
    """What every typed input has."""

    flag: Annotated[str, Field(pattern=OPTION)] | None = None
    """Command-line option that sets it, for example `--max-batch`."""
    env: Annotated[str, Field(pattern=VARIABLE)] | None = None
    """Environment variable that sets it."""
    help: str = ""
    """One line for `--help`."""


class IntVar(VarBase):
    """A whole number."""

    type: Literal["int"]
    """Kind of value."""
    default: int
    """The value, unless a layer above sets another one."""
    min: int | None = None
    """Smallest value allowed."""
    max: int | None = None
    """Largest value allowed."""

    @model_validator(mode="after")
    def _in_range(self) -> Self:
        check_bounds(self.default, self.min, self.max)
        return self


class FloatVar(VarBase):
    """A number."""

    type: Literal["float"]
    """Kind of value."""
    default: float
    """The value, unless a layer above sets another one."""
    min: float | None = None
    """Smallest value allowed."""
    max: float | None = None
    """Largest value allowed."""

    @model_validator(mode="after")
    def _in_range(self) -> Self:
        check_bounds(self.default, self.min, self.max)
        return self


class StringVar(VarBase):
    """Any text."""

    type: Literal["string"]
    """Kind of value."""
    default: str
    """The value, unless a layer above sets another one."""


class BoolVar(VarBase):
    """True or false."""

    type: Literal["bool"]
    """Kind of value."""
    default: bool
    """The value, unless a layer above sets another one."""


class EnumVar(VarBase):
    """One of a few words."""

    type: Literal["enum"]
    """Kind of value."""
    of: tuple[str, ...] = Field(min_length=1)
    """The words."""
    default: str
    """The value, unless a layer above sets another one."""

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if self.default not in self.of:
            raise PydanticCustomError(
                "scenario_choice", "{problem}", {"field": "default", "known": list(self.of), "got": self.default}
            )
        return self


Var = Annotated[IntVar | FloatVar | StringVar | BoolVar | EnumVar, Field(discriminator="type")]


class Requires(Strict):
    """What a machine must have for a target to be chosen by itself."""

    gpus: int = Field(default=0, ge=0)
    """NVIDIA GPUs visible to the driver, at least."""
    docker: bool = False
    """A reachable Docker engine."""
    disk: ByteSize | None = None
    """Free space where state is kept."""


class EmbeddedLaunch(Strict):
    """A Triton server as a child process of the runner: the one of the `nvidia-pytriton` wheel, or an installed one."""

    kind: Literal["embedded"] = "embedded"
    """How the server is started."""
    program: Annotated[str, Field(pattern=PROGRAM)] | None = None
    """An installed `tritonserver` with its own backends, an absolute path or a name on PATH; by default the wheel's."""


_KINDS = ("embedded", "docker", "remote")
_TELLING = {"image": "docker", "url": "remote", "grpc": "remote", "http": "remote"}
"""Keys that say which kind it is where that is not written."""


def _tag(value: Any) -> str | None:
    """Without a kind it is the embedded server, unless it names an image or an address."""
    if not isinstance(value, dict):
        return f"launch:{getattr(value, 'kind', 'embedded')}"
    kind = value.get("kind", next((kind for key, kind in _TELLING.items() if key in value), "embedded"))
    return f"launch:{kind}" if kind in _KINDS else None


Launch = Annotated[
    Annotated[EmbeddedLaunch, Tag("launch:embedded")]
    | Annotated[DockerLaunch, Tag("launch:docker")]
    | Annotated[RemoteLaunch, Tag("launch:remote")],
    Discriminator(
        _tag,
        custom_error_type="union_tag_invalid",
        custom_error_context={"discriminator": "kind", "tag": "", "expected_tags": ", ".join(_KINDS)},
    ),
]


class Target(Strict):
    """Where the service runs: a launch and a named bundle of overrides."""

    requires: Requires = Requires()
    """What the machine must have; the first target whose needs are met is the default."""
    launch: Launch = EmbeddedLaunch()
    """How the server is started or reached."""
    set: dict[str, Any] = Field(default={})
    """Overrides by address, as with `--set`."""
