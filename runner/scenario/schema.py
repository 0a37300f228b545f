"""The scenario file as types: what may be written, with units, limits and a sentence for each key.

Frozen and strict: an unknown key is an error, because a misspelt option that is silently ignored produces a wrong
number that looks right. Unions are tagged by one word (`kind`, `source`).
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from runner.scenario.schema_base import (
    Identifier,
    Name,
    Percentile,
    Scalar,
    Sha256,
    Strict,
    refuse,
)
from runner.scenario.schema_client import ClientSettings, OpenLoad
from runner.scenario.schema_dali import DaliStep
from runner.scenario.schema_docker import DockerLaunch, Gpus, Ulimits
from runner.scenario.schema_inputs import DataInput, Decode, Generate, GeneratedInput, Input, Portion, SharedMemory
from runner.scenario.schema_load import (
    ConcurrencyLoad,
    ConstantLoad,
    GammaLoad,
    IntervalsLoad,
    Load,
    PeriodicLoad,
    PoissonLoad,
    ReplayLoad,
)
from runner.scenario.schema_matrix import (
    Anchor,
    Axis,
    FloatAxis,
    IntAxis,
    Matrix,
    Pow2Axis,
    ZipAxis,
)
from runner.scenario.schema_measure import (
    Measure,
    PrecisionSettings,
    PrecisionStability,
    SloSettings,
    Stability,
    WarmupSettings,
    WindowSettings,
    WindowsStability,
)
from runner.scenario.schema_remote import RemoteLaunch
from runner.scenario.schema_server import Isolation, ModelSource, Ready, Repository, Server
from runner.scenario.schema_setup import (
    Dataset,
    ExportStep,
    FetchStep,
    FolderDataset,
    ScriptStep,
    Step,
    SyntheticJpegDataset,
)
from runner.scenario.schema_sla import SlaLoad
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
from runner.scenario.schema_telemetry import Telemetry
from runner.scenario.schema_tensorrt import TensorrtStep
from runner.scenario.schema_trace import Trace
from runner.scenario.schema_tune import Tune
from runner.scenario.schema_workload import (
    Call,
    OutputFile,
    PeerEndpoint,
    Sequences,
    TlsSettings,
    Validate,
    Version,
)
from runner.units import ByteSize, Seconds

__all__ = [
    "Anchor",
    "Axis",
    "BoolVar",
    "Call",
    "ClientSettings",
    "ConcurrencyLoad",
    "ConstantLoad",
    "DaliStep",
    "DataInput",
    "Dataset",
    "Decode",
    "DockerLaunch",
    "EmbeddedLaunch",
    "EnumVar",
    "ExportStep",
    "FetchStep",
    "FloatAxis",
    "FloatVar",
    "FolderDataset",
    "GammaLoad",
    "Generate",
    "GeneratedInput",
    "Gpus",
    "Identifier",
    "Input",
    "IntAxis",
    "IntVar",
    "IntervalsLoad",
    "Isolation",
    "Launch",
    "Load",
    "Matrix",
    "Measure",
    "ModelSource",
    "Name",
    "OpenLoad",
    "OutputFile",
    "PeerEndpoint",
    "Percentile",
    "PeriodicLoad",
    "PoissonLoad",
    "Portion",
    "Pow2Axis",
    "PrecisionSettings",
    "PrecisionStability",
    "Ready",
    "RemoteLaunch",
    "ReplayLoad",
    "Report",
    "Repository",
    "Requires",
    "Scalar",
    "Scenario",
    "ScriptStep",
    "Sequences",
    "Server",
    "Sha256",
    "SlaLoad",
    "SloSettings",
    "Stability",
    "Step",
    "Strict",
    "StringVar",
    "SyntheticJpegDataset",
    "Target",
    "Telemetry",
    "TensorrtStep",
    "TlsSettings",
    "Trace",
    "Tune",
    "Ulimits",
    "Validate",
    "Var",
    "VarBase",
    "WarmupSettings",
    "WindowSettings",
    "WindowsStability",
    "Workload",
    "ZipAxis",
]


# --- workload and load --------------------------------------------------------------------------------------------


class Workload(Call):
    """What one request is."""

    bls_models: tuple[Name, ...] = ()
    """Models that its code calls by itself (business logic scripting): loaded too, and their statistics shown."""
    bls_versions: dict[Name, Version] = Field(default={})
    """Of those models the version whose statistics are shown, in quotes; by default all versions together."""
    service: Literal["kserve"] = "kserve"
    """How to talk to it."""
    protocol: Literal["grpc", "http"] = "grpc"
    """Transport of the requests: gRPC, or HTTP/1.1 with one connection per request in flight."""
    tensors: Literal["binary", "json"] = "binary"
    """How tensors travel over HTTP: raw bytes behind a JSON head, or as JSON themselves."""
    output_tensors: Literal["binary", "json"] | None = None
    """The same for those of the answers; by default as `tensors`."""
    headers: dict[str, str] = Field(default={})
    """Further HTTP headers, or gRPC metadata, of every request."""
    tls: TlsSettings | None = None
    """Encrypt connections; by default they are in clear text."""
    compression: Literal["none", "gzip", "deflate"] = "none"
    """Compression of the requests, done once before anything is timed."""
    response_compression: Literal["none", "gzip", "deflate"] = "none"
    """Compression of the answers, asked for with each request; over gRPC also
    `server.flags.grpc-infer-response-compression-level`."""
    endpoints: tuple[PeerEndpoint, ...] = ()
    """Further servers that share the load with the launched one."""
    weight: int = Field(default=1, ge=1, le=1_000_000)
    """Requests of the launched server in each round, beside those of `endpoints`."""
    batch: int = Field(default=1, ge=1, le=65_536)
    """Items per request."""
    input: dict[str, Input] = Field(default={})
    """Input tensor -> where its values come from; inputs not named are generated at random."""
    data: str | Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Several inputs at once: perf_analyzer's JSON, or a list of such files that are used one after the other; an
    `.npz` file, or a folder with one file for each input."""
    order: Literal["round_robin", "shuffle"] = "round_robin"
    """How requests are drawn from those made beforehand; `shuffle` by `measure.seed`."""
    mix: tuple[Portion, ...] = ()
    """Kinds of requests, drawn at random by weight with `measure.seed`; throughput counts the items of each."""
    shared_memory: SharedMemory = "none"
    """Pass tensors through memory shared with a server on this machine; requests then hold only references."""
    shared_memory_device: int = Field(default=0, ge=0)
    """GPU whose memory is used, by CUDA's number; only for `cuda`."""
    output_bytes: ByteSize | None = None
    """Room in shared memory for one item of an output whose size the model leaves open."""
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
        if self.validate_ is not None and self.sequences is not None:
            raise refuse("validate", "expected no `sequences`: answers of stateful models differ each time")
        return self

    @model_validator(mode="after")
    def _versions_are_of_named_models(self) -> Self:
        for name in self.bls_versions.keys() - set(self.bls_models):
            raise refuse("bls_versions", f"expected models of `bls_models`, got `{name}`", "add it to `bls_models`")
        return self

    @model_validator(mode="after")
    def _endpoints_share_the_load(self) -> Self:
        for endpoint in self.endpoints:
            if getattr(endpoint, self.protocol) is None:
                raise refuse("endpoints", f"expected `{self.protocol}: host:port` in each of them")
        if self.endpoints and self.sequences is not None:
            raise refuse("endpoints", "expected none beside `sequences`: servers do not share a sequence's state")
        if self.endpoints and self.shared_memory != "none":
            raise refuse("endpoints", "expected none beside `shared_memory`: only one server knows the regions")
        if self.weight != 1 and not self.endpoints:
            raise refuse("weight", "expected `endpoints` beside it: there is nothing to share with")
        return self

    @model_validator(mode="after")
    def _answers_are_looked_into(self) -> Self:
        asked = self.validate_
        if asked is None:
            return self
        if self.shared_memory == "cuda":
            raise refuse("validate", "expected shared_memory `none` or `system`: outputs on a GPU are not compared")
        if asked.expect == "data" and self.data is None:
            raise refuse("validate", "`expect: data` needs `workload.data`", "add `data`, or name `outputs`")
        if asked.expect != "recorded" and self.mix:
            raise refuse("mix", f"expected no mix beside `expect: {asked.expect}`", "write `expect: recorded`")
        return self

    @model_validator(mode="after")
    def _messages_are_changed(self) -> Self:
        if self.streaming and self.protocol != "grpc":
            raise refuse("streaming", f"expected protocol `grpc`, got `{self.protocol}`", "write `protocol: grpc`")
        for name in (name for name in ("sequences", "streaming") if getattr(self, name)):
            if self.compression != "none":
                raise refuse(name, f"expected compression `none`, got `{self.compression}`", "remove `compression`")
            if self.shared_memory != "none":
                message = f"expected shared_memory `none`, got `{self.shared_memory}`"
                raise refuse(name, message, "remove `shared_memory`")
        return self

    @model_validator(mode="after")
    def _tensors_fit_protocol(self) -> Self:
        for name in ("tensors", "output_tensors"):
            if getattr(self, name) == "json" and self.protocol != "http":
                raise refuse(name, "expected `binary`: only HTTP carries tensors as JSON")
            if getattr(self, name) == "json" and self.shared_memory != "none":
                raise refuse(name, "expected `binary`: tensors in shared memory do not travel", f"remove `{name}`")
        return self

    @model_validator(mode="after")
    def _mix_is_drawn_by_weight(self) -> Self:
        if self.mix and self.order != "round_robin":
            raise refuse("order", "a mix is drawn by weight", "remove `order`")
        if self.mix and self.shared_memory != "none":
            raise refuse("mix", "requests of different kinds cannot share memory regions", "remove `shared_memory`")
        return self


# --- report and scenario -------------------------------------------------------------------------------------------


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
    tune: Tune | None = None
    """What `scenario tune` searches."""
    report: Report = Report()
    """What is written."""

    @model_validator(mode="after")
    def _streams_are_of_grpc(self) -> Self:
        if self.load.streams_per_connection is not None and self.workload.protocol != "grpc":
            problem = "`streams_per_connection` is for gRPC: over HTTP a connection carries one request at a time"
            raise refuse("load", problem, "write `connections`")
        return self
