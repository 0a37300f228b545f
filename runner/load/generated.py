"""Items made up from a model's metadata."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Any

import numpy as np

from runner.errors import ServiceError
from runner.load.items import Array, Items, Tensor, elements, numpy_type, usual_shape
from runner.load.shapes import fits
from runner.scenario.schema_inputs import GeneratedInput

_TEXT_LENGTH = (16, 16)
_LETTERS = b"abcdefghijklmnopqrstuvwxyz"
_LONGEST_TEXT = 2**31 - 1


@dataclass(frozen=True)
class _Range:
    """Values to draw: integers with both ends, fractions from low up to high."""

    low: float
    high: float


_RANGES = {
    "UINT8": _Range(0, 255),
    "INT8": _Range(-128, 127),
    "BOOL": _Range(0, 1),
}
_INTEGERS = _Range(0, 127)
"""Wider integers are mostly indices: small ones are valid in any vocabulary, random bits in none."""
_FRACTIONS = _Range(0, 1)


def generated(tensor: Tensor, wanted: GeneratedInput) -> Items:
    """Items of random values or zeros.

    Raises:
        ServiceError: the shape is open, or does not fit the model; the datatype does not hold the range.
    """
    shape = _item_shape(tensor, wanted)
    count = 1 if wanted.generate == "zero" or wanted.text is not None else wanted.count
    dtype, span = numpy_type(tensor), _range(tensor, wanted)
    if tensor.datatype == "BYTES":
        arrays = tuple(_texts(shape, wanted, index, span) for index in range(count))
    else:
        source = np.random.default_rng(wanted.seed)
        arrays = tuple(_numbers(dtype, shape, wanted, source, span) for _ in range(count))
    _refuse_text(tensor, wanted)
    described = "zeros" if wanted.generate == "zero" else f"random, seed {wanted.seed}"
    return Items(tensor.name, tensor.datatype, arrays, f"generated ({described})", available=count)


def _item_shape(tensor: Tensor, wanted: GeneratedInput) -> tuple[int, ...]:
    """The shape to generate: the model's own, its open dimensions filled from the scenario."""
    where = f"workload.input.{tensor.name}"
    if wanted.shape is None:
        usual = usual_shape(tensor)
        if -1 not in usual:
            return usual
        example = [8 if size == -1 else size for size in tensor.shape]
        raise ServiceError(
            f"{where}: values cannot be made up while the model leaves the shape open "
            f"({tensor.datatype} {list(tensor.shape)})",
            hint=f"write `{tensor.name}: {{generate: {wanted.generate}, shape: {example}}}` under workload.input, "
            "or give it data with `from` (with perf_analyzer's options: --shape)",
        )
    if not fits(tensor.shape, wanted.shape):
        raise ServiceError(
            f"{where}.shape: {list(wanted.shape)} does not fit the model's {list(tensor.shape)}",
            hint="give one item's shape, without the batch dimension; -1 in the model's shape stands for any size",
        )
    return wanted.shape


def _range(tensor: Tensor, wanted: GeneratedInput) -> _Range:
    dtype = numpy_type(tensor)
    if wanted.range is None:
        return _RANGES.get(tensor.datatype, _FRACTIONS if dtype.kind == "f" else _INTEGERS)
    low, high = wanted.range
    if tensor.datatype == "BYTES":
        least, most, whole = 0.0, float(_LONGEST_TEXT), True
    elif dtype.kind == "f":
        info: np.finfo[Any] = np.finfo(dtype)
        least, most, whole = float(info.min), float(info.max), False
    else:
        limits = np.iinfo(dtype) if dtype.kind in "iu" else None
        least, most, whole = (float(limits.min), float(limits.max), True) if limits else (0.0, 1.0, True)
    if low < least or high > most or (whole and not (low.is_integer() and high.is_integer())):
        kind = "lengths" if tensor.datatype == "BYTES" else "whole numbers" if whole else "numbers"
        raise ServiceError(
            f"workload.input.{tensor.name}.range: [{low:g}, {high:g}] does not fit {tensor.datatype}",
            hint=f"expected {kind} from {least:g} to {most:g}",
        )
    return _Range(low, high)


def _refuse_text(tensor: Tensor, wanted: GeneratedInput) -> None:
    if wanted.text is not None and tensor.datatype != "BYTES":
        raise ServiceError(
            f"workload.input.{tensor.name}.text: a {tensor.datatype} tensor holds no texts", hint="remove `text`"
        )


def _numbers(
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    wanted: GeneratedInput,
    source: np.random.Generator,
    span: _Range,
) -> Array:
    if wanted.generate == "zero":
        return np.zeros(shape, dtype=dtype)
    if dtype.kind == "f":
        unit = source.random(shape, dtype=np.float32)
        # The default needs no arithmetic, which would cost a second array.
        return unit.astype(dtype) if span == _FRACTIONS else (span.low + (span.high - span.low) * unit).astype(dtype)
    if dtype.kind == "b":
        return source.integers(int(span.low), int(span.high) + 1, size=shape).astype(dtype)
    drawn: Array = source.integers(int(span.low), int(span.high), size=shape, dtype=dtype, endpoint=True)
    return drawn


def _texts(shape: tuple[int, ...], wanted: GeneratedInput, index: int, span: _Range) -> Array:
    source = random.Random(f"{wanted.seed}/{index}")
    low, high = (int(span.low), int(span.high)) if wanted.range is not None else _TEXT_LENGTH
    count = math.prod(shape)
    if wanted.generate == "zero" or wanted.text is not None:
        return elements([(wanted.text or "").encode()] * count).reshape(shape)
    texts = [bytes(source.choices(_LETTERS, k=source.randint(low, high) if low < high else low)) for _ in range(count)]
    return elements(texts).reshape(shape)
