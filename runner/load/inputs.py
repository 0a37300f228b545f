"""Input tensors: from what the scenario says and what the model declares to items, one array each."""

from __future__ import annotations

import difflib
import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from runner.errors import ServiceError
from runner.scenario.schema import DataInput, GeneratedInput

Array = npt.NDArray[np.generic]

MAX_ITEM_BYTES = 512 * 2**20
"""Read no more than this of one input's files."""

_SETUP_REFERENCE = re.compile(r"\$\{setup\.([A-Za-z_][\w-]*)\}(?:/(.*))?")
_GENERATED_TEXT_LENGTH = 16


class Tensor(Protocol):
    """What is needed of a model's input: see `runner.services.base.TensorSpec`."""

    @property
    def name(self) -> str: ...
    @property
    def datatype(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def optional(self) -> bool: ...


class Model(Protocol):
    """What is needed of a model: see `runner.services.base.ModelMetadata`."""

    @property
    def name(self) -> str: ...
    @property
    def max_batch_size(self) -> int: ...
    @property
    def inputs(self) -> Sequence[Tensor]: ...


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


@dataclass(frozen=True)
class _Range:
    """Numpy type of a datatype and the half-open range of values that models can be expected to accept."""

    dtype: str
    low: float
    high: float


_RANGES = {
    "UINT8": _Range("u1", 0, 256),
    "INT8": _Range("i1", -128, 128),
    # Wider integers are mostly indices: small ones are valid in any vocabulary, random bits in none.
    **{f"UINT{bits}": _Range(f"<u{bits // 8}", 0, 128) for bits in (16, 32, 64)},
    **{f"INT{bits}": _Range(f"<i{bits // 8}", 0, 128) for bits in (16, 32, 64)},
    "BOOL": _Range("?", 0, 2),
    "FP16": _Range("<f2", 0, 1),
    "FP32": _Range("<f4", 0, 1),
    "FP64": _Range("<f8", 0, 1),
    "BF16": _Range("<f4", 0, 1),
}


def build_items(
    inputs: Mapping[str, DataInput | GeneratedInput],
    model: Model,
    artifacts: Mapping[str, Path],
    *,
    base: Path = Path(),
    max_bytes: int = MAX_ITEM_BYTES,
) -> tuple[Items, ...]:
    """Items for every input of the model; those that the scenario does not name are generated at random.

    `artifacts` says where each setup step's output is, for `${setup.step}`; other paths are relative to `base`.

    Raises:
        ServiceError: an input that the model does not have, data that do not fit it, or files that cannot be read.
    """
    _refuse_unknown(inputs, model)
    return tuple(
        _items(tensor, inputs.get(tensor.name), artifacts, base, max_bytes)
        for tensor in model.inputs
        if tensor.name in inputs or not tensor.optional
    )


def _refuse_unknown(inputs: Mapping[str, object], model: Model) -> None:
    known = [tensor.name for tensor in model.inputs]
    for name in inputs:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
            guess = f"did you mean {nearest[0]!r}? " if nearest else ""
            described = ", ".join(f"{t.name} ({t.datatype} {list(t.shape)})" for t in model.inputs)
            raise ServiceError(
                f"workload.input.{name}: model {model.name!r} has no input of this name",
                hint=f"{guess}its inputs are {described}",
            )


def _items(
    tensor: Tensor,
    wanted: DataInput | GeneratedInput | None,
    artifacts: Mapping[str, Path],
    base: Path,
    max_bytes: int,
) -> Items:
    if isinstance(wanted, DataInput):
        path = resolve(wanted.from_, artifacts, base, tensor.name)
        return _from_files(tensor, wanted, path, max_bytes)
    return _generated(tensor, wanted or GeneratedInput(generate="random"))


# --- files --------------------------------------------------------------------------------------------------------


def resolve(source: str, artifacts: Mapping[str, Path], base: Path, tensor: str) -> Path:
    """The path that `from` means: an artifact, a path below one, or a path relative to `base`."""
    reference = _SETUP_REFERENCE.fullmatch(source)
    if reference is None:
        path = base / Path(source).expanduser()
    elif reference[1] in artifacts:
        path = artifacts[reference[1]] / (reference[2] or "")
    else:
        raise ServiceError(
            f"workload.input.{tensor}.from: setup made no artifact {reference[1]!r}",
            hint=f"the artifacts are {', '.join(sorted(artifacts)) or 'none'}",
        )
    if not path.exists():
        raise ServiceError(
            f"workload.input.{tensor}.from: {path} does not exist",
            hint="run `scenario setup`, or correct the path (relative paths are relative to the scenario file)",
        )
    return path


def _from_files(tensor: Tensor, wanted: DataInput, path: Path, max_bytes: int) -> Items:
    files = _files(path, tensor.name)
    shuffle_seed = wanted.seed if wanted.pick == "shuffle" else None
    if shuffle_seed is not None:
        # When the limit cuts, it must not keep just the first names of the alphabet.
        random.Random(shuffle_seed).shuffle(files)
    chosen = list(_within(files, max_bytes))
    return Items(
        tensor=tensor.name,
        datatype=tensor.datatype,
        arrays=tuple(_item(tensor, file) for file in chosen),
        source=str(path),
        available=len(files),
        shuffle_seed=shuffle_seed,
    )


def _files(path: Path, tensor: str) -> list[Path]:
    """The file itself, or every file below the folder in sorted order, hidden ones left out."""
    if path.is_file():
        return [path]
    found = (entry for entry in path.rglob("*") if entry.is_file())
    visible = [e for e in found if not any(part.startswith(".") for part in e.relative_to(path).parts)]
    if not visible:
        raise ServiceError(f"workload.input.{tensor}.from: {path} holds no files", hint="each file in it is one item")
    return sorted(visible)


def _within(files: Sequence[Path], max_bytes: int) -> Iterator[Path]:
    """The first files that fit the limit together, at least one."""
    total = 0
    for file in files:
        total += file.stat().st_size
        if total > max_bytes and file is not files[0]:
            return
        yield file


def _item(tensor: Tensor, file: Path) -> Array:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ServiceError(
            f"workload.input.{tensor.name}: cannot read {file}: {error.strerror}",
            hint="every file of the folder is sent: mend or remove it",
        ) from error
    if not data:
        raise ServiceError(f"workload.input.{tensor.name}: {file} is empty", hint="remove it, or make it anew")
    if tensor.datatype == "BYTES":
        return _one_element(tensor, data)
    return _raw_tensor(tensor, data, file)


def _one_element(tensor: Tensor, data: bytes) -> Array:
    if any(size not in (-1, 1) for size in tensor.shape):
        raise ServiceError(
            f"workload.input.{tensor.name}: a file is one element, but the model wants {list(tensor.shape)} per item",
            hint="use `generate: random`, or a model whose BYTES input holds one element",
        )
    array = np.empty(1, dtype=np.object_)
    array[0] = data
    return array.reshape((1,) * len(tensor.shape))


def _raw_tensor(tensor: Tensor, data: bytes, file: Path) -> Array:
    """The file's bytes as the tensor itself, little-endian; one open dimension is found from the length."""
    dtype = np.dtype("<u2") if tensor.datatype == "BF16" else np.dtype(_range(tensor).dtype)
    fixed = math.prod(size for size in tensor.shape if size != -1) * dtype.itemsize
    open_dimensions = tensor.shape.count(-1)
    fits = len(data) == fixed if open_dimensions == 0 else open_dimensions == 1 and len(data) % fixed == 0
    if not fits:
        raise ServiceError(
            f"workload.input.{tensor.name}: {file} has {len(data)} bytes, which do not make one item of "
            f"{tensor.datatype} {list(tensor.shape)}",
            hint="each file holds the bytes of one item, little-endian and row-major, without a header",
        )
    array = np.frombuffer(data, dtype=dtype).reshape(tensor.shape)
    if tensor.datatype == "BF16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array


# --- generated ----------------------------------------------------------------------------------------------------


def _generated(tensor: Tensor, wanted: GeneratedInput) -> Items:
    shape = _item_shape(tensor, wanted)
    count = 1 if wanted.generate == "zero" else wanted.count
    if tensor.datatype == "BYTES":
        arrays = tuple(_texts(shape, wanted, index) for index in range(count))
    else:
        source = np.random.default_rng(wanted.seed)
        arrays = tuple(_numbers(_range(tensor), shape, wanted, source) for _ in range(count))
    described = "zeros" if wanted.generate == "zero" else f"random, seed {wanted.seed}"
    return Items(tensor.name, tensor.datatype, arrays, f"generated ({described})", available=count)


def _item_shape(tensor: Tensor, wanted: GeneratedInput) -> tuple[int, ...]:
    """The shape to generate: the model's own, its open dimensions filled from the scenario."""
    where = f"workload.input.{tensor.name}"
    if wanted.shape is None:
        if -1 not in tensor.shape:
            return tensor.shape
        example = [8 if size == -1 else size for size in tensor.shape]
        raise ServiceError(
            f"{where}: values cannot be made up while the model leaves the shape open "
            f"({tensor.datatype} {list(tensor.shape)})",
            hint=f"write `{tensor.name}: {{generate: {wanted.generate}, shape: {example}}}` under workload.input, "
            "or give it data with `from`",
        )
    declared, given = tensor.shape, wanted.shape
    if len(given) != len(declared) or any(d not in (-1, g) for d, g in zip(declared, given, strict=True)):
        raise ServiceError(
            f"{where}.shape: {list(given)} does not fit the model's {list(declared)}",
            hint="give one item's shape, without the batch dimension; -1 in the model's shape stands for any size",
        )
    return given


def _numbers(value_range: _Range, shape: tuple[int, ...], wanted: GeneratedInput, source: np.random.Generator) -> Array:
    dtype = np.dtype(value_range.dtype)
    if wanted.generate == "zero":
        return np.zeros(shape, dtype=dtype)
    if dtype.kind == "f":
        return source.random(shape, dtype=np.float32).astype(dtype)
    return source.integers(int(value_range.low), int(value_range.high), size=shape).astype(dtype)


def _texts(shape: tuple[int, ...], wanted: GeneratedInput, index: int) -> Array:
    source = random.Random(f"{wanted.seed}/{index}")
    array = np.empty(math.prod(shape), dtype=np.object_)
    for place in range(array.size):
        letters = source.choices(b"abcdefghijklmnopqrstuvwxyz", k=_GENERATED_TEXT_LENGTH)
        array[place] = b"" if wanted.generate == "zero" else bytes(letters)
    return array.reshape(shape)


def _range(tensor: Tensor) -> _Range:
    if tensor.datatype not in _RANGES:
        raise ServiceError(
            f"workload.input.{tensor.name}: values of datatype {tensor.datatype!r} cannot be made",
            hint=f"the datatypes are {', '.join((*_RANGES, 'BYTES'))}",
        )
    return _RANGES[tensor.datatype]
