"""Requests whose tensors lie in memory shared with the server; a message holds only where.

One region holds the inputs of all requests, which the server only reads. Each request in flight has an output region of
its own: the engine takes the messages of slot i only for slot i (`per_slot`), so no two answers overwrite each other.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from runner.errors import ServiceError
from runner.load.items import Items, Model, Tensor, wire_size
from runner.load.payloads import MAX_POOL_BYTES, Payloads, compose, digest_of, requests_for
from runner.load.plan import Drawing, Place, SharedOutputs
from runner.load.references import References
from runner.load.regions import Kind, Region, SharedTensor, SystemRegion, is_abandoned, new_names

MAX_MESSAGES = 100_000
"""Slots times requests: each slot needs its own copy of every (small) message."""
_ALIGNMENT = 64
"""As tensor libraries like their memory."""
_GIVE_UP_AFTER = 3
"""Failures one after the other: the server is gone, and its knowledge of our regions with it."""
_LET_GO_S = 2.0
"""A server lets go of a region only after it has sent the last answer; of one that we gave up, who knows when."""


@runtime_checkable
class SharesMemory(Protocol):
    """What is needed of a service: see `runner.services.kserve` and `runner.services.kserve_http`."""

    def encode(self, model: str, inputs: Mapping[str, npt.NDArray[np.generic]]) -> bytes: ...
    def tensor_bytes(self, model: str, name: str, array: npt.NDArray[np.generic]) -> bytes: ...
    def encode_shared(
        self, model: str, inputs: Mapping[str, SharedTensor], outputs: Mapping[str, SharedTensor]
    ) -> bytes: ...
    def register_region(self, region: Region) -> None: ...
    def unregister_region(self, kind: Kind, name: str) -> bool:
        """False while a request uses it."""
        ...

    def registered_regions(self, kind: Kind) -> Sequence[str]: ...


@dataclass(frozen=True)
class SharedPayloads:
    """Messages that refer to regions, which exist as long as the context that made them."""

    payloads: Payloads
    regions: Mapping[str, Region]
    outputs: tuple[Mapping[str, SharedTensor], ...]
    """Of each slot, where its outputs lie."""

    def output(self, slot: int, name: str) -> bytes:
        """What the server wrote last for this slot, with the room that it left."""
        place = self.outputs[slot][name]
        return self.regions[place.region].read(place.offset, place.nbytes)


@contextmanager
def shared_payloads(
    service: object,
    model: Model,
    items: Sequence[Items],
    batch: int,
    *,
    kind: Kind,
    slots: int,
    run_id: str,
    device: int = 0,
    output_bytes: int | None = None,
    max_bytes: int = MAX_POOL_BYTES,
) -> Iterator[SharedPayloads]:
    """Requests for `slots` in flight, their regions registered; everything is undone on leaving.

    Raises:
        ServiceError: an output has no known size; the service shares no memory, or refuses a region.
        LoadError: there is not enough memory.
        RigError: `cuda` without a driver or with another device than there is.
    """
    if not isinstance(service, SharesMemory):
        raise ServiceError(f"workload.shared_memory: {kind} memory cannot be shared with this service")
    sizes = _output_sizes(model, batch, output_bytes)
    requests, cut = _requests(service, model, items, batch, max(MAX_MESSAGES // slots, 1), max_bytes)
    _forget_abandoned(service, kind)
    names = new_names(run_id)
    with ExitStack() as stack:
        make = _maker(kind, device, stack)

        def region(part: str, size: int) -> Region:
            made = make(f"{names}.{part}", max(size, 1))
            stack.callback(made.close)
            return made

        placed, source = _place_inputs(requests, region)
        outputs = [_place(f"{names}.out{slot}", sizes) for slot in range(slots)]
        room = sum(_aligned(size) for size in sizes.values())
        regions = [source, *(region(f"out{slot}", room) for slot in range(slots if sizes else 0))]
        with _registered(service, regions):
            messages = [service.encode_shared(model.name, each, outputs[n]) for n in range(slots) for each in placed]
            again = partial(_plain_requests, service, model, items, batch, len(requests))
            yield SharedPayloads(
                Payloads(
                    tuple(messages),
                    batch,
                    sum(map(len, messages)),
                    digest_of([data for request in requests for _, data in request.values()]),
                    cut=cut,
                    drawing=Drawing(order="per_slot", slots=slots),
                    shared=f"{kind}, {source.size} bytes in, {slots} times {room} bytes out",
                    references=References(requests=again, shared=_shared_outputs(regions[1:], outputs[0])),
                ),
                {each.name: each for each in regions},
                tuple(outputs),
            )


def _plain_requests(
    service: SharesMemory, model: Model, items: Sequence[Items], batch: int, count: int
) -> Iterator[bytes]:
    """The same requests with their tensors in the message: reference answers come without shared memory."""
    for tensors, _ in islice(compose(model, items, batch), count):
        yield service.encode(model.name, tensors)


def _shared_outputs(regions: Sequence[Region], outputs: Mapping[str, SharedTensor]) -> SharedOutputs | None:
    """Where the engine finds what the server wrote; None of memory that is not a file."""
    files = tuple(str(region.file) for region in regions if region.file is not None)
    places = tuple(Place(name=name, offset=place.offset, size=place.nbytes) for name, place in outputs.items())
    return SharedOutputs(regions=files, outputs=places) if files else None


_Request = Mapping[str, tuple[tuple[int, ...], bytes]]
"""Tensor -> shape and bytes."""


def _requests(
    service: SharesMemory, model: Model, items: Sequence[Items], batch: int, most: int, max_bytes: int
) -> tuple[list[_Request], str | None]:
    wanted = requests_for([len(each.arrays) for each in items], batch)
    requests, size = list[_Request](), 0
    for tensors, _ in islice(compose(model, items, batch), most):
        request = {n: (array.shape, service.tensor_bytes(model.name, n, array)) for n, array in tensors.items()}
        size += sum(_aligned(len(data)) for _, data in request.values())
        if requests and size > max_bytes:
            break
        requests.append(request)
    if len(requests) == wanted:
        return requests, None
    return requests, f"{len(requests)} of {wanted} requests: shared memory is limited to {most} and {max_bytes} bytes"


def _output_sizes(model: Model, batch: int, output_bytes: int | None) -> dict[str, int]:
    items = batch if model.max_batch_size > 0 else 1
    return {tensor.name: items * _item_bytes(tensor, output_bytes) for tensor in model.outputs}


def _item_bytes(tensor: Tensor, output_bytes: int | None) -> int:
    element = wire_size(tensor.datatype)
    if element is not None and -1 not in tensor.shape:
        return element * math.prod(tensor.shape)
    if output_bytes is None:
        raise ServiceError(
            f"workload.shared_memory: the size of output {tensor.name} ({tensor.datatype} {list(tensor.shape)}) is "
            "not known beforehand",
            hint="add `output_bytes`, the room for one item of it, for example `output_bytes: 64KiB`",
        )
    return output_bytes


def _maker(kind: Kind, device: int, stack: ExitStack) -> Callable[[str, int], Region]:
    if kind == "system":
        return SystemRegion
    from runner.load.cuda import CudaDevice, CudaRegion

    gpu = CudaDevice(device)
    stack.callback(gpu.close)
    return lambda name, size: CudaRegion(name, size, gpu)


def _place_inputs(
    requests: Sequence[_Request], region: Callable[[str, int], Region]
) -> tuple[list[dict[str, SharedTensor]], Region]:
    """All inputs behind each other in one region."""
    total = sum(_aligned(len(data)) for request in requests for _, data in request.values())
    source = region("in", total)
    placed, offset = list[dict[str, SharedTensor]](), 0
    for request in requests:
        places: dict[str, SharedTensor] = {}
        for name, (shape, data) in request.items():
            source.write(offset, data)
            places[name] = SharedTensor(source.name, offset, len(data), shape)
            offset += _aligned(len(data))
        placed.append(places)
    return placed, source


def _place(region: str, sizes: Mapping[str, int]) -> dict[str, SharedTensor]:
    places, offset = dict[str, SharedTensor](), 0
    for name, size in sizes.items():
        places[name] = SharedTensor(region, offset, size)
        offset += _aligned(size)
    return places


def _aligned(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


@contextmanager
def _registered(service: SharesMemory, regions: Sequence[Region]) -> Iterator[None]:
    """Each region by its own name; a server-wide unregistration would take other clients' regions along."""
    known = list[Region]()
    try:
        for region in regions:
            known.append(region)
            service.register_region(region)
        yield
    finally:
        deadline = time.monotonic() + _LET_GO_S
        while (known := list(_still_used(service, known))) and time.monotonic() < deadline:
            time.sleep(0.01)


def _still_used(service: SharesMemory, regions: Iterable[Region]) -> Iterator[Region]:
    """Those that the server does not forget yet."""
    failures = 0
    for region in regions:
        try:
            if not service.unregister_region(region.kind, region.name):
                yield region
            failures = 0
        except ServiceError:
            failures += 1
        if failures == _GIVE_UP_AFTER:
            return


def _forget_abandoned(service: SharesMemory, kind: Kind) -> None:
    """A server that outlived the client of a killed run still holds its regions, and with them their memory."""
    for name in service.registered_regions(kind):
        if is_abandoned(name):
            service.unregister_region(kind, name)
