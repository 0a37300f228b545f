"""What one input tensor can be: items, each an array without a batch dimension; and how bytes become one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from runner.errors import ServiceError

Array = npt.NDArray[np.generic]


class Tensor(Protocol):
    """What is needed of a model's input or output: see `runner.services.base.TensorSpec`."""

    @property
    def name(self) -> str: ...
    @property
    def datatype(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def optional(self) -> bool: ...


@dataclass(frozen=True)
class ExpectedTensor:
    """An output whose expected values come from files."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    optional: bool = True


@dataclass(frozen=True)
class ShapedTensor:
    """An input for whose open dimensions the scenario has sizes (`workload.shape`)."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    optional: bool
    usual: tuple[int, ...]
    """Shape of an item that says none itself."""


def usual_shape(tensor: Tensor) -> tuple[int, ...]:
    """The shape of an item that says none itself; -1 where nobody has said it."""
    return tensor.usual if isinstance(tensor, ShapedTensor) else tensor.shape


def address_of(tensor: Tensor) -> str:
    """Where a scenario says what a tensor holds."""
    part = "validate.outputs" if isinstance(tensor, ExpectedTensor) else "input"
    return f"workload.{part}.{tensor.name}"


class Model(Protocol):
    """What is needed of a model: see `runner.services.base.ModelMetadata`."""

    @property
    def name(self) -> str: ...
    @property
    def max_batch_size(self) -> int: ...
    @property
    def inputs(self) -> Sequence[Tensor]: ...
    @property
    def outputs(self) -> Sequence[Tensor]: ...


@dataclass(frozen=True)
class Items:
    """Everything that one input tensor can be, in the order in which items are drawn."""

    tensor: str
    datatype: str
    arrays: tuple[Array, ...]
    """One item each, without a batch dimension."""
    source: str
    """Where they came from, for the manifest."""
    available: int
    """Items that the source has; more than `arrays` when the byte limit cut them."""
    shuffle_seed: int | None = None
    """Deal a fresh permutation each time round; None: in order."""
    streams: tuple[int, ...] = ()
    """Of data that come in streams, how many items each has; a sequence of requests sends one of them."""


NUMPY = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
    "BF16": "<f4",
}
"""Numpy type of the arrays of a datatype; BF16 has none of its own and is float32 until it is encoded."""

DATATYPES = (*NUMPY, "BYTES")


def numpy_type(tensor: Tensor) -> np.dtype[Any]:
    """The type of a tensor's arrays.

    Raises:
        ServiceError: a datatype that nobody knows.
    """
    if tensor.datatype == "BYTES":
        return np.dtype(np.object_)
    if tensor.datatype not in NUMPY:
        raise ServiceError(
            f"{address_of(tensor)}: values of datatype {tensor.datatype!r} cannot be made",
            hint=f"the datatypes are {', '.join(DATATYPES)}",
        )
    return np.dtype(NUMPY[tensor.datatype])


def wire_size(datatype: str) -> int | None:
    """Bytes of one element in a request; None where elements have no common size."""
    if datatype == "BYTES":
        return None
    return 2 if datatype == "BF16" else np.dtype(NUMPY[datatype]).itemsize


def shape_for(declared: tuple[int, ...], count: int) -> tuple[int, ...] | None:
    """The declared shape with its one open dimension found from the number of elements; None when they do not fit."""
    fixed = math.prod(size for size in declared if size != -1)
    match declared.count(-1):
        case 0:
            return declared if count == fixed else None
        case 1 if fixed and count % fixed == 0:
            return tuple(count // fixed if size == -1 else size for size in declared)
    return None


def from_bfloat16(bits: Array) -> Array:
    """float32 of 16-bit patterns."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def elements(texts: Sequence[bytes]) -> Array:
    """A flat array of byte strings."""
    array = np.empty(len(texts), dtype=np.object_)
    array[:] = texts
    return array


def from_raw(tensor: Tensor, data: bytes, where: str, shape: tuple[int, ...] | None = None) -> Array:
    """The item whose bytes these are, little-endian and row-major; one open dimension is found from the length.

    Raises:
        ServiceError: the bytes do not make one item; `where` says which bytes they are.
    """
    dtype = np.dtype("<u2") if tensor.datatype == "BF16" else numpy_type(tensor)
    declared = shape or usual_shape(tensor)
    found = shape_for(declared, len(data) // dtype.itemsize) if len(data) % dtype.itemsize == 0 else None
    if found is None:
        raise ServiceError(
            f"{where} has {len(data)} bytes, which do not make one item of {tensor.datatype} {list(declared)}",
            hint="raw data are the bytes of one item, little-endian and row-major, without a header",
        )
    array = np.frombuffer(data, dtype=dtype).reshape(found)
    return from_bfloat16(array) if tensor.datatype == "BF16" else array
