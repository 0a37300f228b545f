"""perf_analyzer's JSON input files: `{"data": [step, …]}` or `{"data": [[step, …], …]}`, one item for each step, and
the outputs to expect under `validation_data` in the same form.

A value is a list of numbers, texts or true and false (nested as the shape, or flat in row-major order), or
`{"content": list or {"b64": …}, "shape": […]}`, or `{"b64": …, "shape": […]}`. Two things are kinder than there: whole
numbers are accepted for floating-point tensors, and a base64 BYTES value may leave out its length prefixes when it is
a single element.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from runner.errors import ServiceError
from runner.load.items import Array, Items, Model, Tensor, elements, from_raw, numpy_type, shape_for, usual_shape
from runner.load.shapes import fits

_NOT_TENSORS = frozenset({"model", "timestamp", "delay", "session_id"})
"""Keys of a step that say something else than a tensor's value."""


@dataclass(frozen=True)
class Step:
    """One item of every tensor that the step names."""

    arrays: Mapping[str, Array]
    file: Path
    place: str
    """Where in the file, for messages."""


class _ProblemError(Exception):
    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


def read_json(file: Path, model: Model) -> tuple[tuple[Step, ...], ...]:
    """The streams of a file, each a row of steps.

    Raises:
        ServiceError: no such form, or a value that does not fit the model; says file, stream and step.
    """
    return _read(_load(file), file, "data", model.inputs)


def _read(document: Any, file: Path, key: str, known: Sequence[Tensor]) -> tuple[tuple[Step, ...], ...]:
    tensors = {tensor.name: tensor for tensor in known}
    return tuple(
        tuple(_step(step, file, place, tensors, key) for place, step in stream)
        for stream in _streams(document, file, key)
    )


def items_from_json(files: Sequence[Path], model: Model) -> dict[str, Items]:
    """Items of every tensor in the files, their streams one after the other: item n of each tensor is step n.

    Raises:
        ServiceError: as `read_json`; also when a step lacks a tensor that another one has, or that the model needs.
    """
    streams = [stream for file in files for stream in read_json(file, model)]
    found = _items([step for stream in streams for step in stream], model.inputs)
    lengths = tuple(len(stream) for stream in streams)
    return {name: replace(items, streams=lengths) for name, items in found.items()}


def expected_from_json(files: Sequence[Path], model: Model) -> dict[str, Items]:
    """Items of the outputs under `validation_data`, which has the streams and steps of `data`.

    Raises:
        ServiceError: as `items_from_json`; also without `validation_data`, or when its steps are not as many.
    """
    return _items([step for file in files for stream in _expected(file, model) for step in stream], model.outputs)


def _expected(file: Path, model: Model) -> tuple[tuple[Step, ...], ...]:
    document = _load(file)
    streams = _read(document, file, "validation_data", model.outputs)
    inputs = [len(stream) for stream in _streams(document, file, "data")]
    if [len(stream) for stream in streams] != inputs:
        raise ServiceError(
            f"workload.data: {file}: validation_data has {_counted([len(stream) for stream in streams])}, but data has "
            f"{_counted(inputs)}",
            hint="step n of each stream of validation_data holds the outputs for step n of that stream of data",
        )
    return streams


def _counted(streams: Sequence[int]) -> str:
    return f"{len(streams)} streams of {', '.join(map(str, streams))} steps"


def _items(steps: Sequence[Step], known: Sequence[Tensor]) -> dict[str, Items]:
    tensors = {tensor.name: tensor for tensor in known}
    given = [name for name in tensors if any(name in step.arrays for step in steps)]
    for step in steps:
        for name in given:
            if name not in step.arrays:
                raise ServiceError(
                    f"workload.data: {step.file}: {step.place} lacks {name}, which other steps have",
                    hint="give it in every step: requests take the same tensors of each",
                )
    files = ", ".join(dict.fromkeys(str(step.file) for step in steps))
    return {
        name: Items(
            name, tensors[name].datatype, tuple(step.arrays[name] for step in steps), f"{files} ({name})", len(steps)
        )
        for name in given
    }


def _load(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except (ValueError, OSError, RecursionError) as error:
        place = f"line {error.lineno}, column {error.colno}: " if isinstance(error, json.JSONDecodeError) else ""
        message = error.msg if isinstance(error, json.JSONDecodeError) else error
        raise ServiceError(
            f"workload.data: {file}: {place}{message}", hint="expected JSON as perf_analyzer's --input-data takes it"
        ) from error


def _streams(document: Any, file: Path, key: str) -> Iterator[list[tuple[str, Any]]]:
    data = document.get(key) if isinstance(document, dict) else None
    if not isinstance(data, list) or not data:
        raise ServiceError(
            f'workload.data: {file}: expected an object with a list "{key}" that is not empty, '
            f"got {_words(document if not isinstance(document, dict) else document.get(key))}",
            hint=f'write {{"{key}": [{{"TENSOR": [1, 2, 3]}}, …]}}',
        )
    nested = [isinstance(entry, list) for entry in data]
    if any(nested) and not all(nested):
        where = f"{key}[{nested.index(not nested[0])}]"
        raise ServiceError(
            f"workload.data: {file}: {where} is {_words(data[nested.index(not nested[0])])}, but {key}[0] is "
            f"{_words(data[0])}",
            hint="write one stream as a list of steps, or several as a list of such lists",
        )
    if not nested[0]:
        yield [(f"{key}[{number}] (step {number})", step) for number, step in enumerate(data)]
        return
    for number, stream in enumerate(data):
        if not stream:
            raise ServiceError(
                f"workload.data: {file}: {key}[{number}] (stream {number}) has no steps", hint="remove it"
            )
        yield [(f"{key}[{number}][{n}] (stream {number}, step {n})", step) for n, step in enumerate(stream)]


def _step(step: Any, file: Path, place: str, tensors: Mapping[str, Tensor], key: str) -> Step:
    where = f"workload.data: {file}: {place}"
    kind = "input" if key == "data" else "output"
    if not isinstance(step, dict):
        raise ServiceError(f"{where}: expected an object, got {_words(step)}", hint='write {"INPUT": [1, 2, 3]}')
    arrays: dict[str, Array] = {}
    for name, value in step.items():
        if name not in tensors:
            if name in _NOT_TENSORS:
                continue
            raise ServiceError(f"{where}: the model has no {kind} {name!r}", hint=f"it has {', '.join(tensors)}")
        try:
            arrays[name] = _array(tensors[name], value)
        except _ProblemError as problem:
            hint = problem.hint or "a step is one item of each tensor, without the batch dimension; see docs/inputs.md"
            raise ServiceError(f"{where}.{name}: {problem.message}", hint=hint) from problem
    missing = [name for name, tensor in tensors.items() if name not in arrays and not tensor.optional]
    if missing and not arrays:
        raise ServiceError(f"{where}: names no {kind} of the model", hint=f"it has {', '.join(tensors)}")
    return Step(arrays, file, place)


def _array(tensor: Tensor, value: Any) -> Array:
    content, shape = value, None
    if isinstance(value, dict):
        unknown = set(value) - {"content", "b64", "shape"}
        if unknown or ("content" in value) == ("b64" in value):
            _refuse(f"expected `content` or `b64`, and `shape`, got {', '.join(map(repr, value)) or 'an empty object'}")
        shape = _shape(tensor, value["shape"]) if "shape" in value else None
        content = value if "b64" in value else value["content"]
    if isinstance(content, dict):
        return _decoded(tensor, content, shape)
    if not isinstance(content, list):
        _refuse(f"expected a list, got {_words(content)}")
    flat, nesting = _flat(content)
    found = shape or _found_shape(tensor, len(flat), nesting)
    if math.prod(found) != len(flat):
        _refuse(f"expected {math.prod(found)} values for {tensor.datatype} {list(found)}, got {len(flat)}")
    return _typed(tensor, flat).reshape(found)


def _shape(tensor: Tensor, given: Any) -> tuple[int, ...]:
    if not isinstance(given, list) or not all(type(size) is int and size >= 0 for size in given):
        _refuse(f"shape: expected a list of sizes, got {given!r}")
    if not fits(tensor.shape, given):
        _refuse(f"shape: {given} does not fit the model's {list(tensor.shape)}", "leave out the batch dimension")
    return tuple(given)


def _found_shape(tensor: Tensor, count: int, nesting: tuple[int, ...] | None) -> tuple[int, ...]:
    flat = nesting == (count,)
    if nesting is not None and fits(usual_shape(tensor) if flat else tensor.shape, nesting):
        return nesting
    usual = usual_shape(tensor)
    if -1 not in usual:
        return usual
    found = shape_for(usual, count)
    if found is None:
        _refuse(
            f"{count} values do not say the shape of {tensor.datatype} {list(tensor.shape)}",
            'write {"content": […], "shape": […]}',
        )
    return found


def _flat(content: Sequence[Any]) -> tuple[list[Any], tuple[int, ...] | None]:
    """The scalars in row-major order and, where the nesting is even, the shape that it has."""
    level: list[Any] = list(content)
    nesting: tuple[int, ...] | None = (len(level),)
    # Files have millions of values: types are looked at without a loop of our own.
    while list in (kinds := set(map(type, level))):
        if kinds != {list}:
            _refuse("expected values or lists, got both side by side")
        lengths = {len(entry) for entry in level}
        nesting = (*nesting, lengths.pop()) if len(lengths) == 1 and nesting is not None else None
        level = [value for entry in level for value in entry]
    return level, nesting


def _typed(tensor: Tensor, flat: list[Any]) -> Array:
    if tensor.datatype == "BYTES":
        return elements([_text(value, index) for index, value in enumerate(flat)])
    dtype = numpy_type(tensor)
    expected = {"b": "true or false", "f": "a number"}.get(dtype.kind, "a whole number")
    allowed: tuple[type, ...] = {"b": (bool,), "f": (int, float)}.get(dtype.kind, (int,))
    limits = np.iinfo(dtype) if dtype.kind in "iu" else None
    if not set(map(type, flat)).issubset(allowed):
        index, value = next((n, value) for n, value in enumerate(flat) if type(value) not in allowed)
        _refuse(f"[{index}]: expected {expected} for {tensor.datatype}, got {_words(value)}")
    if limits is not None and flat and not limits.min <= min(flat) <= max(flat) <= limits.max:
        index, value = next((n, value) for n, value in enumerate(flat) if not limits.min <= value <= limits.max)
        _refuse(f"[{index}]: {value} does not fit {tensor.datatype} ({limits.min} to {limits.max})")
    with np.errstate(over="ignore"):
        try:
            array = np.array(flat, dtype=np.float64).astype(dtype) if dtype.kind == "f" else np.array(flat, dtype=dtype)
        except OverflowError as error:
            raise _ProblemError(f"a value does not fit {tensor.datatype}: {error}") from error
    if dtype.kind == "f":
        for index in np.flatnonzero(np.isinf(array)).tolist():
            if math.isfinite(flat[index]):
                _refuse(f"[{index}]: {flat[index]} does not fit {tensor.datatype}")
    return array


def _text(value: Any, index: int) -> bytes:
    if not isinstance(value, str):
        _refuse(f"[{index}]: expected a text for BYTES, got {_words(value)}")
    return value.encode()


def _decoded(tensor: Tensor, content: Mapping[str, Any], shape: tuple[int, ...] | None) -> Array:
    if "b64" not in content or not isinstance(content["b64"], str):
        _refuse("expected a base64 text under `b64`")
    try:
        data = base64.b64decode(content["b64"], validate=True)
    except binascii.Error as error:
        raise _ProblemError(f"b64 is not valid base64: {error}") from error
    if tensor.datatype == "BYTES":
        return _decoded_texts(tensor, data, shape)
    try:
        return from_raw(tensor, data, "b64", shape)
    except ServiceError as error:
        raise _ProblemError(error.message, error.hint) from error


def _decoded_texts(tensor: Tensor, data: bytes, shape: tuple[int, ...] | None) -> Array:
    """Elements with a length before each (4 bytes, little-endian), or a single element without one.

    The two cannot be confused but by a single element whose first four bytes happen to be its own length less four.
    """
    texts = _unframed(data)
    declared = shape or usual_shape(tensor)
    candidate = [data] if texts is None else texts
    found = shape_for(declared, len(candidate))
    if found is not None:
        return elements(candidate).reshape(found)
    got = f"{len(texts)} elements" if texts is not None else f"{len(data)} bytes without length prefixes"
    raise _ProblemError(
        f"b64: expected elements for BYTES {list(declared)}, got {got}",
        "put 4 bytes with its length, little-endian, before each element",
    )


def _unframed(data: bytes) -> list[bytes] | None:
    """The elements, or None when the bytes are not exactly a row of lengths and elements."""
    texts: list[bytes] = []
    at = 0
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "little")
        if at + 4 > len(data) or end > len(data):
            return None
        texts.append(data[at + 4 : end])
        at = end
    return texts or None


def _refuse(message: str, hint: str | None = None) -> NoReturn:
    raise _ProblemError(message, hint)


def _words(value: Any) -> str:
    if value is None:
        return "nothing"
    shown = json.dumps(value)
    return shown if len(shown) <= 40 else f"{shown[:37]}…"
