"""Images decoded to tensors, as Triton's image_client example does: resized, scaled, in the model's layout."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from runner.errors import RigError, ServiceError
from runner.load.items import Array, Tensor, numpy_type
from runner.scenario.schema_inputs import Decode

_VGG_MEANS = (123.0, 117.0, 104.0)
"""Of red, green and blue in ImageNet."""
_VGG_GREY_MEAN = 128.0
Layout = Literal["NCHW", "NHWC"]


def decode_image(file: Path, wanted: Decode, tensor: Tensor) -> Array:
    """One item from one image file.

    Raises:
        ServiceError: no image, or the tensor takes no such image.
        RigError: Pillow is not installed.
    """
    layout, channels, (height, width) = geometry(wanted, tensor)
    where = f"workload.input.{tensor.name}"
    try:
        from PIL import Image
    except ImportError as error:
        raise RigError(f"{where}.decode: images need Pillow: {error}", hint="pip install pillow") from error
    try:
        with Image.open(file) as image:
            pixels = image.convert("L" if channels == 1 else "RGB").resize((width, height), Image.Resampling.BILINEAR)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ServiceError(
            f"{where}: {file} is no image that can be decoded: {error}",
            hint="remove it, or send files as they are by leaving `decode` out",
        ) from error
    values = np.asarray(pixels).reshape(height, width, channels)
    scaled = _scaled(values, wanted.scaling, tensor)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1)) if layout == "NCHW" else scaled


def geometry(wanted: Decode, tensor: Tensor) -> tuple[Layout, int, tuple[int, int]]:
    """Layout, channels, and (height, width): from the scenario, else from the model's shape.

    Raises:
        ServiceError: the tensor is no image, or the two contradict each other.
    """
    where = f"workload.input.{tensor.name}.decode"
    shape = tensor.shape
    if len(shape) != 3 or tensor.datatype not in ("UINT8", "FP16", "FP32", "FP64", "BF16"):
        raise ServiceError(
            f"{where}: the model takes {tensor.datatype} {list(shape)}, which is no decoded image",
            hint="leave `decode` out to send each file's bytes as they are",
        )
    layout = wanted.layout or _layout_of(shape, where)
    channels, *rest = shape if layout == "NCHW" else (shape[2], *shape[:2])
    size = wanted.size or (rest[0], rest[1])
    if channels not in (-1, 1, 3):
        raise ServiceError(
            f"{where}: {list(shape)} as {layout} has {channels} channels, expected 1 (grey) or 3 (red, green, blue)",
            hint="correct `layout`",
        )
    if -1 in size:
        raise ServiceError(f"{where}: the model leaves the image's size open", hint="add `size: [height, width]`")
    if any(declared not in (-1, given) for declared, given in zip(rest, size, strict=True)):
        raise ServiceError(
            f"{where}.size: {list(size)} does not fit the model's {list(shape)} as {layout}",
            hint=f"leave `size` out, or write {rest}",
        )
    return layout, 3 if channels == -1 else channels, size


def _layout_of(shape: tuple[int, ...], where: str) -> Layout:
    first, last = shape[0] in (1, 3), shape[2] in (1, 3)
    if first == last:
        raise ServiceError(
            f"{where}: the layout cannot be told from the model's {list(shape)}", hint="add `layout: NCHW` or NHWC"
        )
    return "NCHW" if first else "NHWC"


def _scaled(values: Array, scaling: str, tensor: Tensor) -> Array:
    dtype = numpy_type(tensor)
    if scaling == "none":
        return values.astype(dtype)
    if dtype.kind != "f":
        raise ServiceError(
            f"workload.input.{tensor.name}.decode.scaling: {scaling} makes fractions and negative values, "
            f"but the model takes {tensor.datatype}",
            hint="write `scaling: none`",
        )
    typed = values.astype(np.float32)
    if scaling == "inception":
        return (typed / 127.5 - 1).astype(dtype)
    means = _VGG_GREY_MEAN if values.shape[2] == 1 else np.array(_VGG_MEANS, np.float32)
    return (typed - means).astype(dtype)
