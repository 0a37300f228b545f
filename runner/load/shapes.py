"""Shapes of tensors, without the arrays: what needs no more than this needs no numpy."""

from __future__ import annotations

from collections.abc import Sequence


def fits(declared: Sequence[int], given: Sequence[int]) -> bool:
    """Whether a shape is one that the model takes; -1 stands for any size."""
    return len(declared) == len(given) and all(d in (-1, g) for d, g in zip(declared, given, strict=True))
