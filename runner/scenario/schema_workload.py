"""Parts of `workload`: encryption, sequences of requests, and what is checked of the answers."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from runner.scenario.schema_base import HOST_PORT, Name, Strict, refuse
from runner.scenario.schema_inputs import Generate, Size
from runner.units import Fraction

_RESERVED = ("sequence_", "triton_", "binary_data_", "shared_memory_")
_RESERVED_HINT = "see workload.sequences, workload.streaming, workload.tensors and workload.shared_memory"
HostPort = Annotated[str, Field(pattern=HOST_PORT)]


class TlsSettings(Strict):
    """Encrypted connections to the service; files are PEM or DER, keys without a passphrase."""

    ca: str | None = None
    """Certificates to believe in; by default those of the machine."""
    cert: str | None = None
    """The client's own certificate, where the service wants one."""
    key: str | None = None
    """Private key of `cert`."""
    verify: bool = True
    """False believes any server: for tests only."""
    server_name: str | None = None
    """Whom the server's certificate must be for, when that is not the host of its address."""

    @model_validator(mode="after")
    def _whole_identity(self) -> Self:
        if (self.cert is None) != (self.key is None):
            raise refuse("key" if self.key is None else "cert", "expected `cert` and `key` together")
        return self


Version = Annotated[str, Field(pattern=r"^[0-9]{1,18}$")]
"""A model's version, in quotes."""


class Call(Strict):
    """Which model is called, what a request says beside its tensors, and what inputs hold that nobody describes."""

    model: Name
    """Model that is called."""
    version: Version | None = None
    """Its version, in quotes; by default the server chooses by its version policy."""
    parameters: dict[str, bool | int | str] = Field(default={})
    """Parameters of every request, for example `priority` or those that the model's own code reads."""
    shape: dict[str, tuple[Size, ...]] = Field(default={})
    """Shape of one item of an input whose model leaves dimensions open; `data` or `input` may say another one."""
    generate: Generate = Generate()
    """Values of inputs that neither `input` nor `data` names."""

    @model_validator(mode="after")
    def _parameters_are_free(self) -> Self:
        for name in self.parameters:
            if name.startswith(_RESERVED):
                raise refuse("parameters", f"`{name}` is set by the protocol itself", _RESERVED_HINT)
        return self


class Sequences(Strict):
    """Requests of a stateful model: several sequences at a time, each in order and with one request in flight at most;
    what perf_analyzer calls `--serial-sequences` is the rule here. Over gRPC, its streams and HTTP, but without
    `compression`."""

    count: int | None = Field(default=None, ge=1, le=100_000)
    """Sequences alive at the same time; by default `load.concurrency`, or 4 where the load has none."""
    length: int | None = Field(default=None, ge=1)
    """Requests of a sequence, on average; by default 20, or as many steps as its stream of `workload.data` has."""
    variation: Fraction = 0.2
    """Lengths are uniform in length ± this share; those that come from streams are exact."""
    first_id: int = Field(default=1, ge=1, le=2**62)
    """Lowest sequence id."""
    ids: int = Field(default=2**31 - 1, ge=1, le=2**62)
    """Number of ids; they are used in turn, and again once their sequence has ended."""

    @model_validator(mode="after")
    def _enough_ids(self) -> Self:
        if self.count is not None and self.ids < self.count:
            raise refuse("ids", f"expected at least the `count` of {self.count}, got {self.ids}")
        return self


class PeerEndpoint(Strict):
    """One more server that shares the load; it must serve the same model."""

    grpc: HostPort | None = None
    """host:port for gRPC."""
    http: HostPort | None = None
    """host:port for HTTP."""
    weight: int = Field(default=1, ge=1, le=1_000_000)
    """Its requests in each round."""


class OutputFile(Strict):
    """The expected values of an output: item n belongs to item n of the inputs."""

    from_: str = Field(alias="from")
    """`${setup.step}`, a file, or a folder of files in sorted order, as for an input."""
    format: Literal["raw", "npy", "npz", "lines"] | None = None
    """How files are read; by default `.npy` and `.npz` as arrays, others as raw bytes."""
    key: str | None = None
    """Which array of an `.npz` file; by default the one called like the tensor, or the only one."""


class Validate(Strict):
    """Sampled answers are compared with the expected ones; a wrong one is a failed request, `wrong_output`."""

    expect: Literal["recorded", "data", "files"] = "recorded"
    """`recorded`: what the server answers once, before the load; `data`: outputs beside the inputs of `workload.data`,
    `validation_data` in JSON; `files`: those under `outputs`."""
    outputs: dict[str, OutputFile] = Field(default={})
    """Output tensor -> its expected values, with `expect: files`; outputs not named are not compared."""
    mode: Literal["exact", "tolerance", "argmax", "digest"] = "exact"
    """`exact`: every byte; `digest`: that by SHA-256, so that references need no memory; `tolerance`: every number, by
    `rtol` and `atol`; `argmax`: the best class of each item."""
    every: int = Field(default=100, ge=1)
    """Every so many requests of a connection one is compared; 1 compares all."""
    rtol: float = Field(default=1e-3, ge=0, le=1)
    """Allowed difference relative to the expected number."""
    atol: float = Field(default=1e-5, ge=0)
    """Allowed difference beside that."""

    @model_validator(mode="after")
    def _outputs_come_from_files(self) -> Self:
        if self.outputs and self.expect != "files":
            raise refuse("expect", f"expected `files` beside `outputs`, got `{self.expect}`", "write `expect: files`")
        if self.expect == "files" and not self.outputs:
            raise refuse("expect", "expected `outputs` beside `files`", "name each output and its file")
        return self
