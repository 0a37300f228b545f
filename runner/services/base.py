"""How to talk to an inference service: what every service offers to measurement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from runner.results.records import ModelFacts, ModelStatistics
from runner.services.tls import Tls


@dataclass(frozen=True)
class Endpoint:
    """Addresses of a running service, each host:port, and what it takes to be let in."""

    http: str
    """Empty where it serves no HTTP."""
    grpc: str
    """Empty where it serves no gRPC."""
    metrics: str | None = None
    """Where it exports metrics: host:port, or a URL."""
    tls: Tls | None = None
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """HTTP headers or gRPC metadata of every call; they may be secret."""


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a model; `shape` is that of one item (no batch dimension), -1 where it is open."""

    name: str
    datatype: str
    """KServe name: UINT8, FP32, BYTES, …"""
    shape: tuple[int, ...]
    optional: bool = False
    """An input that a request may leave out."""


@dataclass(frozen=True)
class ModelMetadata:
    """What a service says of a model."""

    name: str
    version: str
    platform: str
    max_batch_size: int
    """0 where the model has no batch dimension."""
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    composing_models: tuple[str, ...] = ()
    """Steps of an ensemble in pipeline order, nested ensembles resolved."""
    facts: ModelFacts | None = None
    """How the service runs it, where it says so."""
    sequences: bool = False
    """It is stateful: its requests belong to sequences."""
    decoupled: bool = False
    """A request may have any number of answers."""


SharedMemoryKind = Literal["system", "cuda"]


class Region(Protocol):
    """A piece of shared memory: see `runner.load.regions`; one in GPU memory also has a `handle` and its `device`."""

    kind: SharedMemoryKind
    name: str
    size: int


class SharedTensor(Protocol):
    """Where a tensor lies: see `runner.load.regions`."""

    @property
    def region(self) -> str: ...
    @property
    def offset(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def shape(self) -> tuple[int, ...]: ...


Tensors = Mapping[str, npt.NDArray[np.generic]]
"""Tensor name -> array with its batch dimension where the model has one."""


@dataclass(frozen=True, kw_only=True)
class Route:
    """How a load reaches the service: everything but the messages that `encode` makes."""

    kind: Literal["grpc", "http"]
    address: str
    """host:port."""
    path: str
    """gRPC method, or path of the POST."""
    headers: tuple[tuple[str, str], ...] = ()
    tls: Tls | None = None
    encoding: Literal["gzip", "deflate"] | None = None
    """Compression of gRPC messages; over HTTP each message says so itself."""
    accept: Literal["gzip", "deflate"] | None = None
    """How gRPC answers may be compressed; over HTTP a header says so."""


class Service(Protocol):
    """Talks to one endpoint. Contract suite: `tests/contracts/service.py`.

    Every method raises `ServiceError` when the service refuses or does not answer in time.
    """

    def route(self, model: str, endpoint: Endpoint) -> Route:
        """Where the messages of `encode` go."""
        ...

    def stream_route(self, model: str, endpoint: Endpoint) -> Route:
        """Where the messages of `encode_stream` go: a bidirectional stream."""
        ...

    def ready(self, model: str) -> bool:
        """True when the model can be called now; False, not an error, while the server is still coming up."""
        ...

    def metadata(self, model: str) -> ModelMetadata: ...

    def statistics(self, models: Sequence[str]) -> tuple[ModelStatistics, ...]:
        """Counters since the server started, in the order asked for."""
        ...

    def encode(self, model: str, inputs: Tensors) -> bytes:
        """One request message, ready to send any number of times."""
        ...

    def encode_stream(self, model: str, inputs: Tensors) -> bytes:
        """As `encode`, for a stream: every answer is to say whether it is the last."""
        ...

    def encode_answer(self, model: str, outputs: Tensors) -> bytes:
        """An answer with these outputs, as `replies` returns it: what the load engine compares with."""
        ...

    def replies(
        self, model: str, message: bytes, *, stream: bool = False, timeout_s: float = 60.0
    ) -> tuple[bytes, ...]:
        """The answers to a message of `encode`, or with `stream` of `encode_stream`: ModelInferResponses, whatever the
        protocol; responses without an output are left out. Never used for load."""
        ...

    def infer(self, model: str, inputs: Tensors, timeout_s: float = 10.0) -> dict[str, npt.NDArray[np.generic]]:
        """One real inference, for canaries and validation; never used for load."""
        ...

    def close(self) -> None: ...
