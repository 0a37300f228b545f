"""The scenario file as types: what may be written, with units, limits and a sentence for each key.

Frozen and strict: an unknown key is an error, because a misspelt option that is silently ignored produces a wrong
number that looks right. Unions are tagged by one word (`kind`, `source`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from runner.scenario.schema_base import (
    Identifier,
    Name,
    Percentile,
    Scalar,
    Sha256,
    Strict,
    refuse,
)
from runner.scenario.schema_matrix import (
    Axis,
    FloatAxis,
    IntAxis,
    Matrix,
    Pow2Axis,
    ZipAxis,
)
from runner.scenario.schema_setup import (
    Dataset,
    ExportStep,
    FetchStep,
    FolderDataset,
    ScriptStep,
    Step,
    StepBase,
    SyntheticJpegDataset,
)
from runner.scenario.schema_targets import (
    BoolVar,
    EmbeddedLaunch,
    EnumVar,
    FloatVar,
    IntVar,
    Launch,
    Requires,
    StringVar,
    Target,
    Var,
    VarBase,
)
from runner.scenario.schema_workload import Sequences, Validate
from runner.units import Fraction, Seconds

__all__ = [
    "Axis",
    "BoolVar",
    "ConcurrencyLoad",
    "DataInput",
    "Dataset",
    "EmbeddedLaunch",
    "EnumVar",
    "ExportStep",
    "FetchStep",
    "FloatAxis",
    "FloatVar",
    "FolderDataset",
    "GeneratedInput",
    "Identifier",
    "Input",
    "IntAxis",
    "IntVar",
    "Isolation",
    "Launch",
    "Load",
    "Matrix",
    "Measure",
    "ModelSource",
    "Name",
    "Percentile",
    "Pow2Axis",
    "PrecisionSettings",
    "Ready",
    "Report",
    "Repository",
    "Requires",
    "Scalar",
    "Scenario",
    "ScriptStep",
    "Sequences",
    "Server",
    "Sha256",
    "Step",
    "StepBase",
    "Strict",
    "StringVar",
    "SyntheticJpegDataset",
    "Target",
    "Validate",
    "Var",
    "VarBase",
    "WarmupSettings",
    "WindowSettings",
    "Workload",
    "ZipAxis",
]


# --- repository and server ----------------------------------------------------------------------------------------


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
    between_points: Literal["none", "restart"] = "none"
    """Between points of one configuration."""


class Server(Strict):
    """How Triton is started."""

    load: tuple[Name, ...] = ()
    """Models to load; by default the workload's model with everything that it needs."""
    flags: dict[str, Scalar] = Field(default={})
    """Further `tritonserver` options without the dashes."""
    ready: Ready = Ready()
    """When it counts as up."""
    isolation: Isolation = Isolation()
    """What separates measurements."""


# --- workload and load --------------------------------------------------------------------------------------------


class DataInput(Strict):
    """An input tensor fed from an artifact or a path."""

    from_: str = Field(alias="from")
    """`${setup.dataset}` or a folder of files; each file's bytes are one item."""
    pick: Literal["round_robin", "shuffle"] = "round_robin"
    """Order in which items are drawn."""
    seed: int = Field(default=0, ge=0)
    """Seed of `shuffle`."""


class GeneratedInput(Strict):
    """An input tensor made up from the model's own metadata."""

    generate: Literal["random", "zero"]
    """Uniform values over the type's useful range, or zeros."""
    shape: tuple[Annotated[int, Field(ge=1)], ...] | None = None
    """Shape of one item, without the batch dimension; needed where the model leaves a dimension open."""
    count: int = Field(default=16, ge=1, le=10_000)
    """Distinct items."""
    seed: int = Field(default=0, ge=0)
    """Seed of `random`."""


def _input_tag(value: Any) -> str | None:
    if isinstance(value, DataInput) or (isinstance(value, dict) and "from" in value):
        return "input:from"
    if isinstance(value, GeneratedInput) or (isinstance(value, dict) and "generate" in value):
        return "input:generate"
    return None


Input = Annotated[
    Annotated[DataInput, Tag("input:from")] | Annotated[GeneratedInput, Tag("input:generate")],
    Discriminator(
        _input_tag,
        custom_error_type="one_of",
        custom_error_message="expected `{from: …}` for data or `{generate: random}`",
    ),
]


class Workload(Strict):
    """What one request is."""

    model: Name
    """Model that is called."""
    service: Literal["kserve"] = "kserve"
    """How to talk to it."""
    protocol: Literal["grpc"] = "grpc"
    """Transport of the requests."""
    batch: int = Field(default=1, ge=1, le=65_536)
    """Items per request."""
    input: dict[str, Input] = Field(default={})
    """Input tensor -> where its values come from; inputs not named are generated at random."""
    timeout: Seconds = 60.0
    """A request without an answer after this long is a counted failure."""
    streaming: bool = False
    """Requests go over long-lived bidirectional streams, one for each in flight: what decoupled models need."""
    sequences: Sequences | None = None
    """Requests belong to sequences: what stateful models need."""
    validate_: Validate | None = Field(default=None, alias="validate")
    """Compare sampled answers with expected ones."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.sequences is not None and self.batch != 1:
            raise refuse("batch", f"expected 1, as sequence batchers take one item per request, got {self.batch}")
        if self.validate_ is not None and self.streaming:
            raise refuse("validate", "expected `streaming: false`: responses of streams are not compared")
        if self.validate_ is not None and self.sequences is not None:
            raise refuse("validate", "expected no `sequences`: answers of stateful models differ each time")
        return self


class ConcurrencyLoad(Strict):
    """Closed loop: so many requests are kept in flight."""

    kind: Literal["concurrency"] = "concurrency"
    """The load model."""
    concurrency: int = Field(default=1, ge=1, le=100_000)
    """Requests in flight."""


Load = ConcurrencyLoad


# --- measure ------------------------------------------------------------------------------------------------------


class WarmupSettings(Strict):
    """What is dropped before the measured window; the rule decides, these are its floors and its cap."""

    min_time: Seconds | None = None
    """At least so long."""
    min_requests_per_slot: int | None = Field(default=None, ge=0)
    """At least so many requests for each one in flight."""
    max_fraction: Fraction | None = None
    """Largest share of the trial that the rule may drop."""


class WindowSettings(Strict):
    """How long a point is measured."""

    min: Seconds | None = None
    """At least so long, even when every interval is narrow enough."""
    max: Seconds | None = None
    """At most so long, even when an interval is still too wide; the point is then flagged."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise refuse("max", f"expected at least the `min` of {self.min:g}s, got {self.max:g}s")
        return self


class PrecisionSettings(Strict):
    """Relative half-widths of confidence intervals at which a point is good enough."""

    confidence: Fraction | None = None
    """Confidence level of every interval."""
    throughput: Fraction | None = None
    """Half-width of the throughput."""
    mean: Fraction | None = None
    """Half-width of the mean latency."""
    percentiles: dict[Percentile, Fraction] | None = None
    """For example `{p50: 2%, p95: 3%, p99: 5%}`."""


class Measure(Strict):
    """How a point is measured; the profile sets everything, each value can be set over it."""

    profile: Literal["explore", "reference"] = "explore"
    """`explore`: seconds per point with intervals; `reference`: 64 requests without warm-up, as the DALI benchmark."""
    warmup: WarmupSettings = WarmupSettings()
    """What is dropped first."""
    window: WindowSettings = WindowSettings()
    """How long is measured."""
    precision: PrecisionSettings = PrecisionSettings()
    """When it is good enough."""
    requests: int | None = Field(default=None, ge=1)
    """A fixed number of requests instead of the stop rule."""
    percentiles: tuple[Annotated[float, Field(gt=0, lt=100)], ...] = (50, 90, 95, 99)
    """Which percentiles are reported."""
    max_error_rate: Fraction = 0.05
    """A trial with more failures than this is stopped early."""
    drain: Seconds = 10.0
    """Wait for requests in flight at the end."""
    seed: int = Field(default=0, ge=0)
    """Seed of everything random in measuring."""
    records: Literal["none", "full"] = "none"
    """`full`: times and status of every request in a file of the run directory, 40 bytes each."""


class Report(Strict):
    """What is written."""

    formats: tuple[Literal["console", "csv", "json"], ...] = ("console", "csv", "json")
    """`console`: a table on stdout; `csv` and `json`: files in the run directory."""


class Scenario(Strict):
    """One file from nothing to a report."""

    scenario: Literal[1]
    """Major version of this schema."""
    name: Name
    """Names the state and run directories."""
    description: str = ""
    """One line for `scenario list` and reports."""
    extends: tuple[str, ...] = ()
    """Base files, merged first: maps merge deeply, lists replace."""
    vars: dict[Identifier, Var] = Field(default={})
    """Typed inputs."""
    targets: dict[Identifier, Target] = Field(default={})
    """Where the service can run."""
    setup: dict[Identifier, Step] = Field(default={})
    """Steps that make artifacts; order follows from references."""
    repository: Repository = Repository()
    """The models."""
    server: Server = Server()
    """How they are served."""
    workload: Workload
    """What one request is."""
    load: Load = ConcurrencyLoad()
    """How requests are sent."""
    measure: Measure = Measure()
    """How a point is measured."""
    matrix: Matrix = Matrix()
    """Which points are measured."""
    report: Report = Report()
    """What is written."""
