"""Inputs for a model, from images, arrays or a seed, and how far two sets of outputs are apart.

Helper of `convert_precision.py` and `reference_outputs.py`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Feed = dict[str, Array]
"""Input name -> one sample, batch of one included."""

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
MEAN, DEVIATION = np.array((0.485, 0.456, 0.406), np.float32), np.array((0.229, 0.224, 0.225), np.float32)
"""Of ImageNet, RGB, 0 … 1."""


class SampleError(Exception):
    """A reason, in one line, why there are no samples."""


def add_options(parser: argparse.ArgumentParser, samples: int) -> None:
    add = parser.add_argument
    add("--from", dest="source", type=Path, help="folder of images, an image, or a .npz; default: random values")
    add("--samples", type=int, default=samples, help=f"default: {samples}")
    add("--seed", type=int, default=0, help="of random values and of the choice among too many items; default: 0")
    add("--scaling", choices=("imagenet", "unit", "none"), default="imagenet", help="of images; default: imagenet")
    add("--shapes", type=json.loads, default={}, help="JSON {INPUT: [1,3,224,224]} where dimensions are dynamic")


def interface(values: Any) -> dict[str, dict[str, Any]]:
    """Name -> type and shape of inputs or outputs as ONNX Runtime lists them; an open dimension is a text or None."""
    return {each.name: {"dtype": each.type, "shape": list(each.shape)} for each in values}


def samples(inputs: Mapping[str, dict[str, Any]], options: argparse.Namespace) -> list[Feed]:
    """So many samples of batch one, or fewer if the source has no more.

    Raises:
        SampleError: the source does not fit the model.
    """
    shapes = {name: item_shape(name, each["shape"], options.shapes) for name, each in inputs.items()}
    types = {name: _numpy_type(name, each["dtype"]) for name, each in inputs.items()}
    if options.source is None:
        return list(_random(shapes, types, options))
    if options.source.suffix == ".npz":
        return list(_arrays(shapes, types, options))
    return list(_images(shapes, types, options))


def item_shape(name: str, shape: list[Any], known: Mapping[str, list[int]]) -> tuple[int, ...]:
    """Shape of one sample: batch one where it is open, other open dimensions as they are given."""
    given = known.get(name, [])
    sizes = [size if isinstance(size, int) else _open(name, axis, given) for axis, size in enumerate(shape)]
    return tuple(sizes)


def _open(name: str, axis: int, given: list[int]) -> int:
    if axis == 0:
        return 1
    if axis >= len(given):
        raise SampleError(f"input {name}: dimension {axis} is dynamic, and no shape is given for it")
    return given[axis]


def _numpy_type(name: str, word: str) -> np.dtype[Any]:
    words = {"float": "float32", "double": "float64"}
    inner = word.removeprefix("tensor(").removesuffix(")")
    try:
        return np.dtype(words.get(inner, inner))
    except TypeError:
        raise SampleError(f"input {name}: samples of type {word} cannot be made") from None


def _random(shapes: Mapping[str, Any], types: Mapping[str, Any], options: argparse.Namespace) -> Iterator[Feed]:
    for index in range(options.samples):
        rng = np.random.default_rng((options.seed, index))
        yield {name: _values(rng, shape, types[name]) for name, shape in shapes.items()}


def _values(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Normal values, or whole numbers of 0 and 1: larger ones may index something."""
    drawn = rng.standard_normal(shape) if dtype.kind == "f" else rng.integers(0, 2, shape)
    return drawn.astype(dtype)


def _arrays(shapes: Mapping[str, Any], types: Mapping[str, Any], options: argparse.Namespace) -> Iterator[Feed]:
    with np.load(options.source, allow_pickle=False) as stored:
        missing = [name for name in shapes if name not in stored.files]
        if missing:
            raise SampleError(f"{options.source.name} has no array `{missing[0]}` (it has {', '.join(stored.files)})")
        arrays = {name: stored[name] for name in shapes}
    for index in _chosen(min(map(len, arrays.values())), options):
        yield {name: _fitted(name, arrays[name][index], shapes[name], types[name]) for name in shapes}


def _fitted(name: str, item: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    if item.size != np.prod(shape):
        raise SampleError(f"input {name}: expected items of shape {list(shape[1:])}, got {list(item.shape)}")
    return item.reshape(shape).astype(dtype)


def _images(shapes: Mapping[str, Any], types: Mapping[str, Any], options: argparse.Namespace) -> Iterator[Feed]:
    if len(shapes) != 1:
        raise SampleError(f"images feed models of one input; this one has {', '.join(shapes)}: give a .npz")
    ((name, shape),) = shapes.items()
    if len(shape) != 4 or 3 not in (shape[1], shape[3]):
        raise SampleError(f"input {name} of shape {list(shape)} is no image: give a .npz, or random values")
    files = [options.source] if options.source.is_file() else sorted(options.source.rglob("*"))
    images = [path for path in files if path.suffix.lower() in IMAGES]
    if not images:
        raise SampleError(f"{options.source}: no images ({', '.join(IMAGES)})")
    for index in _chosen(len(images), options):
        yield {name: pixels(images[index], shape, options.scaling).astype(types[name])}


def pixels(path: Path, shape: tuple[int, ...], scaling: str) -> Array:
    """An image, resized without keeping its aspect ratio, channels where the shape has three."""
    from PIL import Image

    first = shape[1] == 3
    height, width = shape[2:] if first else shape[1:3]
    with Image.open(path) as image:
        values = np.asarray(image.convert("RGB").resize((width, height)), np.float32)
    if scaling != "none":
        values = values / 255
    if scaling == "imagenet":
        values = (values - MEAN) / DEVIATION
    return (values.transpose(2, 0, 1) if first else values).reshape(shape)


def _chosen(available: int, options: argparse.Namespace) -> list[int]:
    if available <= options.samples:
        return list(range(available))
    rng = np.random.default_rng(options.seed)
    return sorted(int(index) for index in rng.choice(available, options.samples, replace=False))


def run(session: Any, feeds: list[Feed]) -> dict[str, Array]:
    """Outputs of all samples, one row each."""
    names = [each.name for each in session.get_outputs()]
    rows = [session.run(names, feed) for feed in feeds]
    return {name: np.concatenate([row[index] for row in rows]) for index, name in enumerate(names)}


def errors(reference: Mapping[str, Array], other: Mapping[str, Array]) -> dict[str, Any]:
    """Largest absolute error, least cosine of a sample, agreement of the highest score; over all outputs."""
    pairs = [(rows(reference[name]), rows(other[name])) for name in reference]
    agreements = [float((a.argmax(1) == b.argmax(1)).mean()) for a, b in pairs if a.shape[1] > 1]
    return {
        "samples": len(pairs[0][0]),
        "max_abs_error": max(float(np.abs(a - b).max()) for a, b in pairs),
        "max_abs_value": max(float(np.abs(a).max()) for a, _ in pairs),
        "min_cosine": min(float(cosines(a, b).min()) for a, b in pairs),
        "top1_agreement": min(agreements) if agreements else None,
    }


def rows(values: Array) -> Array:
    return values.reshape(len(values), -1).astype(np.float64)


def cosines(a: Array, b: Array) -> Array:
    """Of each row; two rows of zeros point the same way."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.where(lengths > 0, (a * b).sum(1) / np.where(lengths > 0, lengths, 1), (a == b).all(1))
