"""Tensors as bytes: the KServe binary form of every datatype, little-endian, row-major."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.generic]

WIRE: dict[str, np.dtype[np.generic]] = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
"""Datatypes with a numpy type of their own; BYTES and BF16 have none and are packed by hand."""

DATATYPES = (*WIRE, "BF16", "BYTES")
_LENGTH = struct.Struct("<I")


def to_wire(array: Array, datatype: str) -> bytes:
    """The bytes of an array as `datatype`.

    BF16 takes a float32 array, rounded to nearest even; BYTES takes an object array of bytes or str.

    Raises:
        ValueError: the array's type is not that of `datatype`; values are never converted silently.
    """
    if datatype == "BYTES":
        return b"".join(_framed(array))
    if datatype == "BF16":
        return _to_bfloat16(array)
    wanted = _wire_type(datatype)
    if array.dtype != wanted:
        raise ValueError(f"a {datatype} tensor needs a numpy array of {wanted.name}, not {array.dtype.name}")
    return np.ascontiguousarray(array, dtype=wanted).tobytes()


def from_wire(raw: bytes, datatype: str, shape: Sequence[int]) -> Array:
    """The array that `raw` holds; BF16 comes back as float32, BYTES as an object array of bytes.

    Raises:
        ValueError: the bytes do not fill the shape exactly.
    """
    count = math.prod(shape)
    if datatype == "BYTES":
        return _object_array(list(_unframed(raw)), count).reshape(tuple(shape))
    wire = np.dtype("<u2") if datatype == "BF16" else _wire_type(datatype)
    if len(raw) != count * wire.itemsize:
        raise ValueError(
            f"a {datatype} tensor of shape {list(shape)} has {count * wire.itemsize} bytes, {len(raw)} were found"
        )
    flat = np.frombuffer(raw, dtype=wire)
    if datatype == "BF16":
        flat = (flat.astype(np.uint32) << 16).view(np.float32)
    return flat.reshape(tuple(shape))


def _wire_type(datatype: str) -> np.dtype[np.generic]:
    if datatype not in WIRE:
        raise ValueError(f"unknown datatype {datatype!r}; one of {', '.join(DATATYPES)}")
    return WIRE[datatype]


def _framed(array: Array) -> Iterator[bytes]:
    """Each element in row-major order, preceded by its length."""
    if array.dtype.kind not in "OSU":
        raise ValueError(f"a BYTES tensor needs an object array of bytes or str, not {array.dtype.name}")
    for element in array.flatten().tolist():
        data = element.encode() if isinstance(element, str) else element
        if not isinstance(data, bytes):
            raise ValueError(f"a BYTES tensor holds bytes or str, not {type(element).__name__}")
        yield _LENGTH.pack(len(data))
        yield data


def _unframed(raw: bytes) -> Iterator[bytes]:
    position = 0
    while position < len(raw):
        start = position + _LENGTH.size
        if start > len(raw):
            raise ValueError("a BYTES tensor ends inside a length")
        position = start + _LENGTH.unpack_from(raw, position)[0]
        if position > len(raw):
            raise ValueError("a BYTES tensor ends inside an element")
        yield raw[start:position]


def _object_array(elements: list[bytes], count: int) -> Array:
    if len(elements) != count:
        raise ValueError(f"a BYTES tensor of {count} elements was announced, {len(elements)} were found")
    array = np.empty(count, dtype=np.object_)
    array[:] = elements
    return array


def _to_bfloat16(array: Array) -> bytes:
    if array.dtype != np.float32:
        raise ValueError(f"a BF16 tensor needs a numpy array of float32, not {array.dtype.name}")
    bits = np.ascontiguousarray(array).view(np.uint32).astype(np.uint64)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
    # Rounding the mantissa of a NaN upwards could carry it into an infinity.
    return np.where(np.isnan(array), np.uint16(0x7FC0), rounded).astype("<u2").tobytes()
