"""Expected answers in the one form that the load engine compares with: ModelInferResponses behind gRPC's prefix."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from runner.errors import ServiceError
from runner.services.base import Tensors, TensorSpec
from runner.services.tensors import to_wire

_PREFIX = struct.Struct(">BI")


def answer(outputs: Iterable[tuple[str, str, Sequence[int], bytes]]) -> bytes:
    """A ModelInferResponse of tensors: name, datatype, shape, and bytes as they travel."""
    from tritonclient.grpc import service_pb2 as pb

    response: Any = pb.ModelInferResponse()
    for name, datatype, shape, raw in outputs:
        response.outputs.add(name=name, datatype=datatype, shape=shape)
        response.raw_output_contents.append(raw)
    return bytes(response.SerializeToString(deterministic=True))


def encoded_answer(known: Iterable[TensorSpec], outputs: Tensors) -> bytes:
    """A ModelInferResponse of arrays.

    Raises:
        ServiceError: an output that the model does not have, or that has another type.
    """
    datatypes: Mapping[str, str] = {tensor.name: tensor.datatype for tensor in known}
    for name in outputs:
        if name not in datatypes:
            raise ServiceError(f"the model has no output {name!r}", hint=f"it has {', '.join(datatypes)}")
    try:
        return answer((n, datatypes[n], array.shape, to_wire(array, datatypes[n])) for n, array in outputs.items())
    except ValueError as error:
        raise ServiceError(f"expected outputs: {error}") from error


def digested(message: bytes) -> bytes:
    """The same answer with the SHA-256 of each output in the place of its bytes."""
    from tritonclient.grpc import service_pb2 as pb

    response: Any = pb.ModelInferResponse.FromString(message)
    contents = [hashlib.sha256(raw).digest() for raw in response.raw_output_contents]
    del response.raw_output_contents[:]
    response.raw_output_contents.extend(contents)
    return bytes(response.SerializeToString(deterministic=True))


def framed(messages: Iterable[bytes]) -> bytes:
    """Messages behind each other, each with its length before it."""
    return b"".join(_PREFIX.pack(0, len(message)) + message for message in messages)
