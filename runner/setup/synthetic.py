"""Synthetic photographs: seeded JPEGs that decode and compress like real ones.

Photographs have amplitudes that fall with spatial frequency (about 1/f), smooth regions, hard edges, and a little
sensor noise; white noise would make files several times too large, flat colours several times too small.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

ASPECTS = ((4, 3), (3, 2), (16, 9), (1, 1), (3, 4), (2, 3))
"""Width to height of common cameras, both ways up."""

_SMOOTH = ((4, 1.0), (9, 0.5), (20, 0.36), (44, 0.25))
_FINE = ((96, 0.16), (210, 0.07))
"""Cells across the longer side, share of the new layer when blended in."""

_REDUCED = 4
"""Smooth layers are made so many times smaller and enlarged together."""

_GRAIN = 3


def write_images(folder: Path, count: int, seed: int, width: tuple[int, int], quality: int,
                 on_image: Callable[[int], None] = lambda done: None) -> None:  # fmt: skip
    """Write `count` files `000000.jpg` …; image n depends on (seed, n) alone, so more images keep the first ones."""
    for index in range(count):
        image = draw(np.random.default_rng((seed, index)), width)
        image.save(folder / f"{index:06d}.jpg", "JPEG", quality=quality, optimize=False)
        on_image(index + 1)


def draw(rng: np.random.Generator, width: tuple[int, int]) -> Image:
    """One picture: layered noise from coarse to fine, a few shapes, grain."""
    from PIL import Image

    size = _size(rng, width)
    small = (max(2, size[0] // _REDUCED), max(2, size[1] // _REDUCED))
    picture = _layered(rng, _noise(rng, small, 2), _SMOOTH).resize(size, Image.Resampling.BILINEAR)
    _shapes(rng, picture)
    return _grain(rng, _layered(rng, picture, _FINE))


def _layered(rng: np.random.Generator, picture: Image, octaves: tuple[tuple[int, float], ...]) -> Image:
    from PIL import Image

    for cells, share in octaves:
        picture = Image.blend(picture, _noise(rng, picture.size, cells), share)
    return picture


def _size(rng: np.random.Generator, width: tuple[int, int]) -> tuple[int, int]:
    across = int(rng.integers(width[0], width[1], endpoint=True))
    horizontal, vertical = ASPECTS[int(rng.integers(len(ASPECTS)))]
    return across, max(16, across * vertical // horizontal)


def _noise(rng: np.random.Generator, size: tuple[int, int], cells: int) -> Image:
    """Random colours on a coarse grid, enlarged smoothly."""
    from PIL import Image

    longer = max(size)
    rows, columns = max(2, cells * size[1] // longer), max(2, cells * size[0] // longer)
    brightness = rng.integers(0, 256, (rows, columns, 1), np.int16)
    tint = rng.integers(-48, 49, (rows, columns, 3), np.int16)
    colours = np.clip(brightness + tint, 0, 255).astype(np.uint8)
    return Image.fromarray(colours).resize(size, Image.Resampling.BILINEAR)


def _shapes(rng: np.random.Generator, picture: Image) -> None:
    from PIL import ImageDraw

    canvas = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(4, 12))):
        x, y = (int(rng.integers(0, side)) for side in picture.size)
        wide, high = (int(rng.integers(8, max(9, side // 3))) for side in picture.size)
        colour = tuple(int(value) for value in rng.integers(0, 256, 3))
        shape = canvas.ellipse if rng.integers(2) else canvas.rectangle
        shape((x, y, x + wide, y + high), fill=colour)


def _grain(rng: np.random.Generator, picture: Image) -> Image:
    """Brightness noise of a sensor, the same in all channels."""
    from PIL import Image, ImageChops

    grain = rng.integers(128 - _GRAIN, 128 + _GRAIN + 1, (picture.height, picture.width), np.uint8)
    return ImageChops.add(picture, Image.merge("RGB", [Image.fromarray(grain)] * 3), offset=-128)
