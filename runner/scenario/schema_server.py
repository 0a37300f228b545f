"""Schema of `repository` and `server`: the models, and how Triton serves them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from runner.scenario.schema_base import Name, Scalar, Strict
from runner.scenario.schema_trace import Trace
from runner.units import Seconds


class ModelSource(Strict):
    """One model of the repository: an ordinary Triton folder plus what this scenario changes in it."""

    from_: str = Field(alias="from")
    """Model folder with `config.pbtxt` and version folders, relative to this file or among the built-in ones."""
    files: dict[str, str] = Field(default={})
    """Files to add, path in the model folder -> `${setup.step}` or a path."""
    config: dict[str, Any] = Field(default={})
    """Overrides of ModelConfig fields by their protobuf names."""
    args: dict[str, Scalar] = Field(default={})
    """Parameters that reach the model script or pipeline, as ModelConfig `parameters`."""


class Repository(Strict):
    """The Triton model repository, assembled in the state directory; sources stay as they are."""

    models: dict[Name, ModelSource] = Field(default={})
    """Model name -> source."""


class Ready(Strict):
    """When the server counts as up."""

    timeout: Seconds = 120.0
    """From launch to the first real answer of the model."""


class Isolation(Strict):
    """What separates one measurement from the next."""

    between_configs: Literal["restart"] = "restart"
    """A changed server configuration always gets a fresh server."""
    between_points: Literal["none", "reload", "restart"] = "none"
    """Between points of one configuration; `reload` unloads and loads the model with all that it needs."""
    between_repeats: Literal["none", "reload", "restart"] = "restart"
    """Between the repeats of the points; what lasts as long as a server does not vary without a restart."""


class Server(Strict):
    """How Triton is started."""

    load: tuple[Name, ...] = ()
    """Models to load; by default the workload's model with everything that it needs."""
    flags: dict[str, Scalar | tuple[Scalar, ...]] = Field(default={})
    """Further `tritonserver` options without the dashes; a list gives an option once for each of its values."""
    ready: Ready = Ready()
    """When it counts as up."""
    isolation: Isolation = Isolation()
    """What separates measurements."""
    trace: Trace | None = None
    """What it traces of the measured requests; by default its trace settings are left alone."""
