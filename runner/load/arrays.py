"""Items from `.npy` and `.npz` files, mapped into memory: what is not drawn is never read."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from runner.errors import ServiceError
from runner.load.items import Array, Tensor, address_of, elements, from_bfloat16, numpy_type
from runner.load.shapes import fits

_LOCAL_HEADER = 30
"""Fixed part of a ZIP member's own header; its name and extra field follow, then its bytes."""


def read_array(file: Path, key: str | None, tensor: Tensor) -> Array:
    """The array of a `.npy` file, or of a `.npz` file the one called `key`, like the tensor, or the only one."""
    where = f"{address_of(tensor)}: {file}"
    try:
        if file.suffix != ".npz":
            return _mapped(file)
        return _member(file, key, tensor)
    except (ValueError, OSError, zipfile.BadZipFile, EOFError) as error:
        raise ServiceError(
            f"{where} cannot be read as an array: {error}",
            hint="save plain arrays with numpy.save or numpy.savez; texts as fixed-width bytes (dtype 'S')",
        ) from error


def names_in(file: Path) -> tuple[str, ...]:
    """Names of the arrays in a `.npz` file."""
    try:
        with zipfile.ZipFile(file) as archive:
            return tuple(name.removesuffix(".npy") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile) as error:
        raise ServiceError(
            f"workload.data: {file} is no .npz file: {error}", hint="write it with numpy.savez"
        ) from error


def items_of(array: Array, tensor: Tensor, where: str) -> list[Array]:
    """The array as items: along its first axis when it has one dimension more than an item, else it is one item.

    Raises:
        ServiceError: another datatype, or a shape that is neither.
    """
    array = _typed(array, tensor, where)
    if fits(tensor.shape, array.shape):
        return [array]
    if array.ndim and fits(tensor.shape, array.shape[1:]):
        if len(array) == 0:
            raise ServiceError(f"{where} holds no items", hint="its first axis counts the items: save at least one")
        return list(array)
    raise ServiceError(
        f"{where} has the shape {list(array.shape)}, but {tensor.name} takes items of {list(tensor.shape)}",
        hint=f"save one item of {list(tensor.shape)}, or several along a first axis; -1 stands for any size",
    )


def _mapped(file: Path) -> Array:
    try:
        loaded: Any = np.load(file, mmap_mode="r", allow_pickle=False)
    except ValueError:
        # An array without elements cannot be mapped.
        loaded = np.load(file, allow_pickle=False)
    if not isinstance(loaded, np.ndarray):
        raise ValueError("it is not a .npy file")
    return loaded


def _member(file: Path, key: str | None, tensor: Tensor) -> Array:
    names = names_in(file)
    name = key or (tensor.name if tensor.name in names or len(names) != 1 else names[0])
    if name not in names:
        raise ServiceError(
            f"{address_of(tensor)}: {file} has no array {name!r}",
            hint=f"it has {', '.join(names)}; choose one with `key`",
        )
    with zipfile.ZipFile(file) as archive:
        info = archive.getinfo(f"{name}.npy")
    mapped = _mapped_member(file, info) if info.compress_type == zipfile.ZIP_STORED else None
    if mapped is not None:
        return mapped
    with np.load(file, allow_pickle=False) as arrays:
        loaded: Array = arrays[name]
    return loaded


def _mapped_member(file: Path, info: zipfile.ZipInfo) -> Array | None:
    """An uncompressed member as a map of its part of the file; None for arrays that cannot be mapped."""
    with file.open("rb") as stream:
        stream.seek(info.header_offset)
        header = stream.read(_LOCAL_HEADER)
        skip = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        stream.seek(info.header_offset + _LOCAL_HEADER + skip)
        form: Any = np.lib.format
        read = form.read_array_header_1_0 if form.read_magic(stream) == (1, 0) else form.read_array_header_2_0
        shape, fortran, dtype = read(stream)
        if dtype.hasobject or 0 in shape:
            return None
        order = "F" if fortran else "C"
        return np.memmap(file, dtype, "r", stream.tell(), shape, order)  # type: ignore[call-overload, no-any-return]


def _typed(array: Array, tensor: Tensor, where: str) -> Array:
    wanted = numpy_type(tensor)
    if tensor.datatype == "BYTES" and array.dtype.kind in "SU":
        texts = [text if isinstance(text, bytes) else text.encode() for text in array.reshape(-1).tolist()]
        return elements(texts).reshape(array.shape)
    if tensor.datatype == "BF16" and array.dtype.kind in "uV" and array.dtype.itemsize == 2:
        return from_bfloat16(np.asarray(array).view(np.uint16))
    # `=`: another byte order is the same type; it is turned when the request is encoded.
    if array.dtype.newbyteorder("=") == wanted.newbyteorder("=") and tensor.datatype != "BYTES":
        return array if array.dtype == wanted else array.astype(wanted)
    expected = "fixed-width bytes or text" if tensor.datatype == "BYTES" else wanted.name
    raise ServiceError(
        f"{where} holds {array.dtype.name}, but {tensor.name} is {tensor.datatype} and needs {expected}",
        hint=f"convert it before you save it: array.astype({wanted.name!r})" if wanted.kind != "O" else None,
    )
