"""The native load engine: a plan and ready bytes in, counts and histograms out.

Private: `runner.load` is the only importer. The engine never logs, prints, reads scenario files or knows what a model
is.
All times are integer nanoseconds on one monotonic clock; offsets count from the start of the run.
"""

from collections.abc import Callable, Sequence
from typing import final

__all__ = [
    "ConnectError",
    "EngineError",
    "LoadResult",
    "PayloadPool",
    "PlanError",
    "Slice",
    "Tick",
    "__version__",
    "bucket_bounds",
    "bucket_index",
    "run",
    "statuses",
]

__version__: str

class EngineError(Exception):
    """Anything the engine refuses or cannot do; the base of the errors below."""

class PlanError(EngineError):
    """The plan is not valid; the message starts with the path of the offending field."""

class ConnectError(EngineError):
    """No connection to the endpoint could be made before the run began."""

@final
class PayloadPool:
    """Encoded request messages, shared by every worker and never copied again.

    For gRPC each payload is one protobuf message without the 5-byte frame prefix.
    """

    def __new__(cls, payloads: Sequence[bytes]) -> PayloadPool: ...
    def __len__(self) -> int: ...
    @property
    def nbytes(self) -> int: ...

@final
class Slice:
    """What completed in one short, half-open interval [start_ns, end_ns), all workers together.

    `latency`, `service` and `send_lag` are sparse histograms of successful requests: little-endian pairs of
    (u32 bucket index, u64 count), ascending by index; `bucket_bounds` says what a bucket index means.
    """

    start_ns: int
    end_ns: int
    sent: int
    ok: int
    items: int
    """What the successful requests count for together: sums of the plan's `payload_items`."""
    failed: dict[str, int]
    dropped: int
    in_flight: int
    """Requests in flight at end_ns."""
    in_flight_ns: int
    """Integral of the number in flight over the slice: request-nanoseconds, for Little's law."""
    latency_sum_ns: int
    latency_max_ns: int
    bytes_sent: int
    bytes_received: int
    cpu_ns: int
    """User plus system time of the worker threads."""
    stall_max_ns: int
    """Longest time one worker spent away from its event loop."""
    latency: bytes
    service: bytes
    send_lag: bytes
    extra_counts: dict[str, int]
    """See `runner.load.engine.Extra`."""
    extra_histograms: dict[str, bytes]
    """Those that hold something, in the same form."""
    records: bytes
    """One record for each outcome, where the plan asks for them; see `runner.results.request_records`."""

@final
class Tick:
    """Progress: the slices closed since the previous tick, oldest first, and running totals."""

    elapsed_ns: int
    slices: list[Slice]
    sent: int
    ok: int
    failed: int
    in_flight: int

@final
class LoadResult:
    """Everything that was counted. Slices already handed to a tick are not repeated here."""

    started_unix_ns: int
    elapsed_ns: int
    """First send to the end of the drain."""
    slices: list[Slice]
    """Slices closed after the last tick, the drain's included (`end_ns > stopped_ns`)."""
    stopped_ns: int
    """When sending stopped; later slices only drain."""
    sent: int
    ok: int
    failed: dict[str, int]
    dropped: int
    unfinished: int
    """Sent, but without an outcome when the drain time was over (right-censored)."""
    examples: dict[str, str]
    """The first message seen for each failure code."""
    reconnects: int
    workers: int

def run(
    plan: str,
    payloads: PayloadPool,
    on_tick: Callable[[Tick], bool | int | None] | None = None,
    expected: PayloadPool | None = None,
) -> LoadResult:
    """Keep the load described by `plan` (JSON, see `runner.load.LoadPlan`) until a tick returns True or the plan ends.

    `expected` has a response message for each payload; it goes with `validate` in the plan.

    A tick that returns a number keeps so many requests of a closed loop in flight from then on.
    Releases the GIL; `on_tick` runs on the calling thread after each closed slice. An exception raised in it, or
    KeyboardInterrupt, stops the load and comes back as itself.
    """

def bucket_bounds(index: int) -> tuple[int, int]:
    """Lowest and highest value, in nanoseconds, that bucket `index` of a histogram counts (both inclusive)."""

def bucket_index(value_ns: int) -> int:
    """Bucket that counts `value_ns`."""

def statuses() -> dict[int, str]:
    """Numbers of outcomes in request records with their words; HTTP statuses stand for themselves."""
