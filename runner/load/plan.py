"""The load plan: the one description of a load that the native engine receives."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Identity:
    """The client's certificate chain and private key, in PEM."""

    chain: str
    key: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Tls:
    """Encrypt connections."""

    roots: str = ""
    """PEM certificates to believe in; needed unless nothing is verified."""
    verify: bool = True
    server_name: str | None = None
    """Whom the server's certificate must be for, if not for the endpoint's host."""
    identity: Identity | None = None


@dataclass(frozen=True, kw_only=True)
class Weighted:
    """One more endpoint, and how many requests it gets in each round."""

    endpoint: str
    weight: int = 1


@dataclass(frozen=True, kw_only=True)
class GrpcUnary:
    """Unary calls of one gRPC method over HTTP/2."""

    endpoint: str
    """host:port."""
    method: str
    """/package.Service/Method."""
    metadata: tuple[tuple[str, str], ...] = ()
    connections: int = 1
    """Connections of each worker to each endpoint; streams are spread over them evenly. 0: as `max_streams` asks."""
    max_streams: int = 0
    """Most requests in flight on a connection; 0: as many as the server allows."""
    streaming: bool = False
    """One long-lived bidirectional call for each request in flight; the final-response marker ends a request."""
    tls: Tls | None = None
    encoding: Literal["gzip", "deflate"] | None = None
    """How the payloads are compressed."""
    accept: Literal["gzip", "deflate"] | None = None
    """How the service may compress its answers."""
    weight: int = 1
    others: tuple[Weighted, ...] = ()
    """Further endpoints that share the load."""
    kind: Literal["grpc"] = "grpc"


@dataclass(frozen=True, kw_only=True)
class Http:
    """Requests over HTTP/1.1; a payload is the remaining headers, an empty line, and the body, which with sequences
    begins with room for their parameters (`runner.services.document`)."""

    endpoint: str
    """host:port."""
    path: str
    method: str = "POST"
    headers: tuple[tuple[str, str], ...] = ()
    connections: int = 0
    """Most connections of each worker to each endpoint; 0: one for each request in flight."""
    tls: Tls | None = None
    weight: int = 1
    others: tuple[Weighted, ...] = ()
    """Further endpoints that share the load."""
    kind: Literal["http"] = "http"


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
class Periodic:
    """A closed loop that grows: `step` more requests in flight once each slot of the newest step has been answered
    `request_period` times. Ends when that holds for the last step."""

    start: int
    end: int
    step: int = 1
    request_period: int = 10
    kind: Literal["periodic"] = "periodic"


@dataclass(frozen=True, kw_only=True)
class Constant:
    """Evenly spaced sends; request n is meant for n / rate seconds."""

    rate: float
    """Requests per second."""
    kind: Literal["constant"] = "constant"


@dataclass(frozen=True, kw_only=True)
class Poisson:
    """Exponential gaps, drawn from the plan's seed: independent users."""

    rate: float
    """Mean requests per second."""
    kind: Literal["poisson"] = "poisson"


@dataclass(frozen=True, kw_only=True)
class Gamma:
    """Gamma-distributed gaps, drawn from the plan's seed: smoother (cv < 1) or burstier (cv > 1) than Poisson."""

    rate: float
    """Mean requests per second."""
    cv: float
    """Standard deviation of a gap divided by its mean."""
    kind: Literal["gamma"] = "gamma"


@dataclass(frozen=True, kw_only=True)
class Intervals:
    """Given gaps between sends, repeated for ever."""

    gaps_ns: tuple[int, ...]
    kind: Literal["intervals"] = "intervals"


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Given send times after the start, ascending, each once; the load ends with the last."""

    offsets_ns: tuple[int, ...]
    kind: Literal["replay"] = "replay"


Order = Literal["round_robin", "shuffle", "weighted", "per_slot"]


Arrivals = Constant | Poisson | Gamma | Intervals | Replay


@dataclass(frozen=True, kw_only=True)
class OpenLoop:
    """Send at given times, whether or not earlier requests have finished."""

    arrivals: Arrivals
    max_in_flight: int = 10_000
    """Requests that are due while so many are in flight are not sent but counted as dropped."""
    kind: Literal["open"] = "open"


Schedule = ClosedLoop | Periodic | OpenLoop


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """How requests take their payloads from the pool; fields as in `LoadPlan`."""

    order: Order = "round_robin"
    payload_items: tuple[int, ...] = ()
    payload_weights: tuple[float, ...] = ()
    slots: int = 0
    data_streams: tuple[int, ...] = ()

    def applied(self, plan: LoadPlan) -> LoadPlan:
        """The same load with this drawing."""
        return dataclasses.replace(plan, **{each.name: getattr(self, each.name) for each in dataclasses.fields(self)})


@dataclass(frozen=True, kw_only=True)
class Sequences:
    """Requests belong to sequences of which `count` are alive at the same time, each with one in flight at most."""

    count: int
    length: int = 20
    """0: as long as its stream."""
    variation: float = 0.2
    """Lengths are uniform in length · (1 ± variation), at least 1."""
    first_id: int = 1
    id_count: int = 2**31 - 1
    """Ids go round from `first_id` on; those of living sequences are passed over."""


@dataclass(frozen=True, kw_only=True)
class Exact:
    """Every byte of every output."""

    kind: Literal["exact"] = "exact"


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """|got - expected| ≤ atol + rtol · |expected| for every number; NaN equals NaN."""

    rtol: float
    atol: float
    kind: Literal["tolerance"] = "tolerance"


@dataclass(frozen=True, kw_only=True)
class Argmax:
    """The same largest element along the last dimension."""

    kind: Literal["argmax"] = "argmax"


@dataclass(frozen=True, kw_only=True)
class Digest:
    """Every byte, by the SHA-256 of each output, which stands in the place of its bytes in the expected answer."""

    kind: Literal["digest"] = "digest"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an output lies in the region of its slot."""

    name: str
    offset: int
    size: int


@dataclass(frozen=True, kw_only=True)
class SharedOutputs:
    """Outputs in shared memory: a region for each slot, all of them laid out alike."""

    regions: tuple[str, ...]
    """Their files, by slot."""
    outputs: tuple[Place, ...]


@dataclass(frozen=True, kw_only=True)
class Validate:
    """Compare sampled answers with the expected one of their payload."""

    expected: tuple[bytes, ...]
    """For each payload its expected responses, each a KServe message behind gRPC's prefix; with `shared` for each
    payload of one slot."""
    every: int = 1
    """Every so many requests of each connection one is looked at, the first included."""
    compare: Exact | Tolerance | Argmax | Digest = field(default_factory=Exact)
    shared: SharedOutputs | None = None


@dataclass(frozen=True, kw_only=True)
class LoadPlan:
    """What to send, when, and when to stop. The engine refuses nonsense with the path of the field."""

    transport: GrpcUnary | Http | NullTransport
    schedule: Schedule
    order: Order = "round_robin"
    """How requests draw from the payload pool; `shuffle` deals a fresh permutation of the pool each time round,
    `weighted` draws at random by `payload_weights`, and with `per_slot` a request in slot i takes those of block i."""
    payload_items: tuple[int, ...] = ()
    """Of each payload, what a request with it counts for; empty: `Slice.items` stays 0."""
    payload_weights: tuple[float, ...] = ()
    """Of each payload, for `weighted`."""
    slots: int = 0
    """Equal blocks of the pool, for `per_slot`; at least as many as requests can be in flight."""
    data_streams: tuple[int, ...] = ()
    """The pool begins with streams of so many payloads; each sequence sends one of them from its start."""
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
    sequences: Sequences | None = None
    validate: Validate | None = None
    records: str | None = None
    """File that gets a record of every request, see `runner.results.request_records`."""

    def to_json(self) -> str:
        """Encode for the engine, which opens no file and gets expected answers as bytes."""
        fields = dataclasses.asdict(self)
        fields["records"] = self.records is not None
        if fields["validate"] is not None:
            del fields["validate"]["expected"]
        return json.dumps(fields, separators=(",", ":"))
