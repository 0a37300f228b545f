"""The scenario file as types: what may be written, with units, limits and a sentence for each key.

Frozen and strict: an unknown key is an error, because a misspelt option that is silently ignored produces a wrong
number that looks right. Unions are tagged by one word (`kind`, `source`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from runner.units import ByteSize, Fraction, Seconds

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]*$", max_length=64)]
Scalar = bool | int | float | str
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Strict(BaseModel):
    """Frozen, closed to unknown keys, with keys spelt as in the file (`from` is an alias in Python)."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, use_attribute_docstrings=True)


# --- vars and targets ---------------------------------------------------------------------------------------------


class VarBase(Strict):
    """What every typed input has."""

    flag: Annotated[str, Field(pattern=r"^--[a-z][a-z0-9-]*$")] | None = None
    """Command-line option that sets it, for example `--max-batch`."""
    env: Annotated[str, Field(pattern=r"^[A-Z_][A-Z0-9_]*$")] | None = None
    """Environment variable that sets it."""
    help: str = ""
    """One line for `--help`."""


class IntVar(VarBase):
    """A whole number."""

    type: Literal["int"]
    default: int
    min: int | None = None
    max: int | None = None


class FloatVar(VarBase):
    """A number."""

    type: Literal["float"]
    default: float
    min: float | None = None
    max: float | None = None


class StringVar(VarBase):
    """Any text."""

    type: Literal["string"]
    default: str


class BoolVar(VarBase):
    """True or false."""

    type: Literal["bool"]
    default: bool


class EnumVar(VarBase):
    """One of a few words."""

    type: Literal["enum"]
    of: tuple[str, ...] = Field(min_length=1)
    """The words."""
    default: str


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
    """The Triton server that ships in the `nvidia-pytriton` wheel, as a child process of the runner."""

    kind: Literal["embedded"] = "embedded"


Launch = EmbeddedLaunch


class Target(Strict):
    """Where the service runs: a launch and a named bundle of overrides."""

    requires: Requires = Requires()
    """What the machine must have; the first target whose needs are met is the default."""
    launch: Launch = EmbeddedLaunch()
    """How the server is started."""
    set: dict[str, Any] = {}
    """Overrides by address, as with `--set`."""


# --- setup --------------------------------------------------------------------------------------------------------


class StepBase(Strict):
    """What every setup step has."""

    always: bool = False
    """Run even when nothing that is served or sent refers to it."""


class FetchStep(StepBase):
    """Download one file; resumed after a break, checked, cached for offline use."""

    kind: Literal["fetch"]
    url: str
    """http, https or file URL."""
    mirrors: tuple[str, ...] = ()
    """Tried in order when `url` fails."""
    sha256: Sha256 | None = None
    """Digest of the file; without it the step is refused unless `--trust-first-use` records what came."""
    size: ByteSize | None = None
    """Expected size, for the disk estimate and an early refusal."""
    filename: Name | None = None
    """Name of the artifact; by default the last part of the URL."""


class ExportStep(StepBase):
    """Run an export script in the target; it writes one model file."""

    kind: Literal["export"]
    script: str
    """A script of `setup_scripts/`, or a path relative to this file; called with `--output PATH` and the arguments."""
    args: dict[str, Scalar] = {}
    """Passed as `--key value`."""
    output: Name = "model.onnx"
    """File name of the model."""


class SyntheticJpegDataset(StepBase):
    """Seeded synthetic photographs as JPEG: same seed, same bytes on the same library version."""

    kind: Literal["dataset"]
    source: Literal["synthetic_jpeg"]
    count: int = Field(default=64, ge=1, le=100_000)
    """Images."""
    seed: int = Field(default=0, ge=0)
    width: tuple[Annotated[int, Field(ge=16)], Annotated[int, Field(le=16384)]] = (320, 1280)
    """Smallest and largest width in pixels; heights follow common aspect ratios."""
    quality: int = Field(default=85, ge=1, le=100)
    """JPEG quality."""


class FolderDataset(StepBase):
    """The images of a folder, checked once so that a corrupt file is named before anything is measured."""

    kind: Literal["dataset"]
    source: Literal["folder"]
    path: str
    """Folder, relative to this file."""
    pattern: str = "*.jp*g"
    """Which files, case-insensitive glob, in sorted order."""
    limit: int | None = Field(default=None, ge=1)
    """Use only the first so many."""


class ScriptStep(StepBase):
    """Run any script in the target; it writes one file or folder."""

    kind: Literal["script"]
    script: str
    """A script of `setup_scripts/`, or a path relative to this file; called with `--output PATH` and the arguments."""
    args: dict[str, Scalar] = {}
    """Passed as `--key value`; a `${setup.step}` becomes the path of that step's artifact."""
    output: Name = "output"
    """Name of the file or folder that it writes."""


Dataset = Annotated[SyntheticJpegDataset | FolderDataset, Field(discriminator="source")]
Step = Annotated[FetchStep | ExportStep | Dataset | ScriptStep, Field(discriminator="kind")]


# --- repository and server ----------------------------------------------------------------------------------------


class ModelSource(Strict):
    """One model of the repository: an ordinary Triton folder plus what this scenario changes in it."""

    from_: str = Field(alias="from")
    """Model folder with `config.pbtxt` and version folders, relative to this file or among the built-in ones."""
    files: dict[str, str] = {}
    """Files to add, path in the model folder -> `${setup.step}` or a path."""
    config: dict[str, Any] = {}
    """Overrides of ModelConfig fields by their protobuf names."""
    args: dict[str, Scalar] = {}
    """Parameters that reach the model script or pipeline, as ModelConfig `parameters`."""


class Repository(Strict):
    """The Triton model repository, assembled in the state directory; sources stay as they are."""

    models: dict[Name, ModelSource] = {}
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
    flags: dict[str, Scalar] = {}
    """Further `tritonserver` options without the dashes."""
    ready: Ready = Ready()
    isolation: Isolation = Isolation()


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
    input: dict[str, DataInput | GeneratedInput] = {}
    """Input tensor -> where its values come from; inputs not named are generated at random."""
    timeout: Seconds = 60.0
    """A request without an answer after this long is a counted failure."""


class ConcurrencyLoad(Strict):
    """Closed loop: so many requests are kept in flight."""

    kind: Literal["concurrency"] = "concurrency"
    concurrency: int = Field(default=1, ge=1, le=100_000)
    """Requests in flight."""


Load = ConcurrencyLoad


# --- measure ------------------------------------------------------------------------------------------------------


class WarmupSettings(Strict):
    """What is dropped before the measured window; the rule decides, these are its floors and its cap."""

    min_time: Seconds | None = None
    min_requests_per_slot: int | None = Field(default=None, ge=0)
    max_fraction: Fraction | None = None
    """Largest share of the trial that the rule may drop."""


class WindowSettings(Strict):
    """How long a point is measured."""

    min: Seconds | None = None
    max: Seconds | None = None


class PrecisionSettings(Strict):
    """Relative half-widths of confidence intervals at which a point is good enough."""

    confidence: Fraction | None = None
    throughput: Fraction | None = None
    mean: Fraction | None = None
    percentiles: dict[str, Fraction] | None = None
    """For example `{p50: 2%, p95: 3%, p99: 5%}`."""


class Measure(Strict):
    """How a point is measured; the profile sets everything, each value can be set over it."""

    profile: Literal["explore", "reference"] = "explore"
    """`explore`: seconds per point with intervals. `reference`: 64 requests and no warm-up, as the DALI benchmark does."""
    warmup: WarmupSettings = WarmupSettings()
    window: WindowSettings = WindowSettings()
    precision: PrecisionSettings = PrecisionSettings()
    requests: int | None = Field(default=None, ge=1)
    """A fixed number of requests instead of the stop rule."""
    percentiles: tuple[Annotated[float, Field(gt=0, lt=100)], ...] = (50, 90, 95, 99)
    """Which percentiles are reported."""
    max_error_rate: Fraction = 0.05
    """A trial with more failures than this is stopped early."""
    drain: Seconds = 10.0
    """Wait for requests in flight at the end."""
    seed: int = Field(default=0, ge=0)


# --- matrix and report --------------------------------------------------------------------------------------------


class Pow2Axis(Strict):
    """Powers of two from the first to the last, both included when they are powers of two."""

    pow2: tuple[int, int]


class IntAxis(Strict):
    """Whole numbers from the first to the last."""

    int: tuple[int, int]
    step: int = Field(default=1, ge=1)  # type: ignore[valid-type]


class FloatAxis(Strict):
    """Numbers from the first to the last, `step` apart, or `points` of them on a linear or logarithmic scale."""

    float: tuple[float, float]
    step: float | None = Field(default=None, gt=0)  # type: ignore[valid-type]
    points: int | None = Field(default=None, ge=2, le=10_000)
    log: bool = False


class ZipAxis(Strict):
    """Several addresses that change together."""

    zip: dict[str, tuple[Any, ...]]


Axis = tuple[Any, ...] | Pow2Axis | IntAxis | FloatAxis | ZipAxis


class Matrix(Strict):
    """The points: the product of the axes, first axis outermost."""

    axes: dict[str, Axis] = {}
    """Address -> values (a label -> `{zip: …}`)."""
    skip: tuple[str, ...] = ()
    """Predicates; a point for which one holds is listed as skipped, with the reason."""


class Report(Strict):
    """What is written."""

    formats: tuple[Literal["console", "csv", "json"], ...] = ("console", "csv", "json")


class Scenario(Strict):
    """One file from nothing to a report."""

    scenario: Literal[1]
    """Major version of this schema."""
    name: Name
    """Names the state and run directories."""
    description: str = ""
    extends: tuple[str, ...] = ()
    """Base files, merged first: maps merge deeply, lists replace."""
    vars: dict[Identifier, Var] = {}
    """Typed inputs."""
    targets: dict[Identifier, Target] = {}
    """Where the service can run."""
    setup: dict[Identifier, Step] = {}
    """Steps that make artifacts; order follows from references."""
    repository: Repository = Repository()
    server: Server = Server()
    workload: Workload
    load: Load = ConcurrencyLoad()
    measure: Measure = Measure()
    matrix: Matrix = Matrix()
    report: Report = Report()
