"""The load plan: the one description of a load that the native engine receives."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class GrpcUnary:
    """Unary calls of one gRPC method over cleartext HTTP/2."""

    endpoint: str
    """host:port."""
    method: str
    """/package.Service/Method."""
    metadata: tuple[tuple[str, str], ...] = ()
    connections: int = 1
    """Connections of each worker; streams are spread over them evenly."""
    kind: Literal["grpc"] = "grpc"


@dataclass(frozen=True, kw_only=True)
class NullTransport:
    """Answers at once, in process: what remains is the engine's own cost, its ceiling on this machine."""

    kind: Literal["null"] = "null"


@dataclass(frozen=True, kw_only=True)
class ClosedLoop:
    """Keep `concurrency` requests in flight: the next is sent when one finishes."""

    concurrency: int
    kind: Literal["closed"] = "closed"


@dataclass(frozen=True, kw_only=True)
class LoadPlan:
    """What to send, when, and when to stop. The engine refuses nonsense with the path of the field."""

    transport: GrpcUnary | NullTransport
    schedule: ClosedLoop
    order: Literal["round_robin", "shuffle"] = "round_robin"
    """How requests draw from the payload pool; `shuffle` deals a fresh permutation of the pool each time round."""
    seed: int = 0
    max_requests: int | None = None
    """Stop sending after this many requests."""
    max_duration_ns: int | None = None
    slice_ns: int = 100_000_000
    connect_timeout_ns: int = 5_000_000_000
    request_timeout_ns: int = 60_000_000_000
    drain_timeout_ns: int = 10_000_000_000
    workers: int = 0
    """Threads with an event loop and connections of their own; 0 lets the engine choose."""
    pin_cpus: tuple[int, ...] = field(default=())

    def to_json(self) -> str:
        """Encode for the engine."""
        return json.dumps(dataclasses.asdict(self), separators=(",", ":"))
