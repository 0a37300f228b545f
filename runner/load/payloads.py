"""Payloads: items composed into requests and encoded once, before anything is timed."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

import numpy as np
import numpy.typing as npt

from runner.errors import ServiceError
from runner.load.items import Array, Items, Model
from runner.load.plan import Drawing
from runner.load.references import References

MAX_POOL_BYTES = 512 * 2**20
MAX_MESSAGES = 10_000


class Encoder(Protocol):
    """What is needed of a service: see `runner.services.base.Service`."""

    def encode(self, model: str, inputs: Mapping[str, npt.NDArray[np.generic]]) -> bytes: ...


class StreamingService(Protocol):
    """As `Encoder`, for streams."""

    def encode_stream(self, model: str, inputs: Mapping[str, npt.NDArray[np.generic]]) -> bytes: ...
    def encode_answer(self, model: str, outputs: Mapping[str, npt.NDArray[np.generic]]) -> bytes: ...


@dataclass(frozen=True)
class StreamEncoder:
    """Encodes the requests of a stream."""

    service: StreamingService

    def encode(self, model: str, inputs: Mapping[str, npt.NDArray[np.generic]]) -> bytes:
        return self.service.encode_stream(model, inputs)

    def encode_answer(self, model: str, outputs: Mapping[str, npt.NDArray[np.generic]]) -> bytes:
        """Answers are the same everywhere."""
        return self.service.encode_answer(model, outputs)


@dataclass(frozen=True)
class Payloads:
    """The request messages of one point, ready to be sent any number of times."""

    messages: tuple[bytes, ...]
    items_per_request: int
    nbytes: int
    """Of all messages together."""
    digest: str
    """sha256 over the messages, each preceded by its length."""
    padding_bytes: int = 0
    """Zeros that fill shorter items up to the longest of their request."""
    cut: str | None = None
    """Why the pool does not hold every item equally often, or None."""
    drawing: Drawing = field(default_factory=Drawing)
    """How requests take their message."""
    shared: str | None = None
    """The shared memory that the messages refer to, in words."""
    mix: str | None = None
    """The kinds of requests in words, where there are several."""
    references: References = field(default_factory=References)
    """What their answers are compared with."""

    def facts(self) -> dict[str, str]:
        """What the manifest says of them."""
        facts = {
            "payload_messages": str(len(self.messages)),
            "payload_bytes": str(self.nbytes),
            "payload_padding_bytes": str(self.padding_bytes),
            "payload_sha256": self.digest,
        }
        more = {"payload_cut": self.cut, "payload_mix": self.mix, "payload_shared_memory": self.shared}
        return facts | {key: value for key, value in more.items() if value}


def build_payloads(
    service: Encoder,
    model: Model,
    items: Sequence[Items],
    batch: int,
    *,
    max_bytes: int = MAX_POOL_BYTES,
    max_messages: int = MAX_MESSAGES,
) -> Payloads:
    """Requests of `batch` items each, so many that every item is used equally often.

    Items wrap around where the batch does not divide their number. Items of one dimension and different lengths are
    padded with zeros to the longest of their request: decoders ignore the tail.

    Raises:
        ServiceError: the model takes no such batch, or items cannot be stacked.
    """
    wanted = requests_for([len(input_items.arrays) for input_items in items], batch)
    messages, padding, reason = list[bytes](), 0, _cut_items(items)
    size = 0
    for tensors, added in islice(compose(model, items, batch), max_messages):
        message = service.encode(model.name, tensors)
        if messages and size + len(message) > max_bytes:
            break
        messages.append(message)
        size += len(message)
        padding += added
    if len(messages) < wanted:
        limit = f"{max_bytes} bytes" if len(messages) < min(wanted, max_messages) else f"{max_messages} messages"
        reason = f"{len(messages)} of {wanted} requests: the pool is limited to {limit}"
    return Payloads(tuple(messages), batch, size, digest_of(messages), padding, reason)


def compose(model: Model, items: Sequence[Items], batch: int) -> Iterator[tuple[dict[str, Array], int]]:
    """The tensors of each request in turn, and how many bytes of padding they hold.

    Raises:
        ServiceError: as `build_payloads`.
    """
    _check_batch(model, batch)
    wanted = requests_for([len(input_items.arrays) for input_items in items], batch)
    for request in islice(_requests(items, batch), wanted):
        tensors = {name: _stack(name, parts, model.max_batch_size > 0) for name, parts in request.items()}
        yield {name: array for name, (array, _) in tensors.items()}, sum(added for _, added in tensors.values())


def joined(pools: Sequence[Payloads]) -> Payloads:
    """All messages in one pool; `items_per_request` is the first one's."""
    messages = tuple(message for pool in pools for message in pool.messages)
    return Payloads(
        messages,
        pools[0].items_per_request,
        sum(pool.nbytes for pool in pools),
        digest_of(messages),
        sum(pool.padding_bytes for pool in pools),
        "; ".join(pool.cut for pool in pools if pool.cut) or None,
    )


def requests_for(counts: Sequence[int], batch: int) -> int:
    """Smallest number of requests in which every item of every input appears equally often."""
    return math.lcm(*(count // math.gcd(count, batch) for count in counts)) if counts else 1


def _check_batch(model: Model, batch: int) -> None:
    if batch > max(model.max_batch_size, 1):
        limit = model.max_batch_size
        raise ServiceError(
            f"workload.batch is {batch}, but model {model.name!r} takes "
            + (f"at most {limit} items per request" if limit else "no batches (max_batch_size is 0)"),
            hint=f"use a batch of at most {max(limit, 1)}, or raise max_batch_size of the model "
            "and of everything behind it",
        )


def _cut_items(items: Sequence[Items]) -> str | None:
    for entry in items:
        if len(entry.arrays) < entry.available:
            return f"{len(entry.arrays)} of {entry.available} items of {entry.tensor} read: they exceed the byte limit"
    return None


def _requests(items: Sequence[Items], batch: int) -> Iterator[dict[str, list[Array]]]:
    """Without end: the next request, as the items of each tensor."""
    draws = {entry.tensor: _draw(entry) for entry in items}
    while True:
        yield {tensor: list(islice(draw, batch)) for tensor, draw in draws.items()}


def _draw(items: Items) -> Iterator[Array]:
    """Without end: all items once each, then again, shuffled anew each time round where the scenario says so."""
    order = list(range(len(items.arrays)))
    shuffler = None if items.shuffle_seed is None else random.Random(items.shuffle_seed)
    while True:
        if shuffler is not None:
            shuffler.shuffle(order)
        yield from (items.arrays[index] for index in order)


def _stack(tensor: str, parts: Sequence[Array], batched: bool) -> tuple[Array, int]:
    """The request's array and how many bytes of padding it holds."""
    if not batched:
        return parts[0], 0
    if len({part.shape for part in parts}) == 1:
        return np.stack(parts), 0
    if any(part.ndim != 1 or part.dtype == np.object_ for part in parts):
        shapes = sorted({str(list(part.shape)) for part in parts})
        raise ServiceError(
            f"workload.input.{tensor}: items of different shapes cannot share a request ({', '.join(shapes[:3])}, …)",
            hint="use items of one shape, or a batch of 1",
        )
    stacked = np.zeros((len(parts), max(part.size for part in parts)), dtype=parts[0].dtype)
    for row, part in zip(stacked, parts, strict=True):
        row[: part.size] = part
    return stacked, stacked.nbytes - sum(part.nbytes for part in parts)


def digest_of(messages: Sequence[bytes]) -> str:
    digest = hashlib.sha256()
    for message in messages:
        digest.update(len(message).to_bytes(8, "little"))
        digest.update(message)
    return digest.hexdigest()
