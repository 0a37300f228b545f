"""Which layers of a model a list of words and patterns means; helper of `convert_precision.py`."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any

FIRST, LAST, DEPTHWISE = "first", "last", "depthwise"


class PatternError(Exception):
    """A reason, in one line, why a pattern means no layer."""


def named(model: Any) -> Any:
    """The model with a name for every node, `Conv_3` where it had none."""
    taken = {node.name for node in model.graph.node}
    for index, node in enumerate(model.graph.node):
        if not node.name:
            node.name = next(name for name in _names(node.op_type, index) if name not in taken)
            taken.add(node.name)
    return model


def excluded(model: Any, operators: Sequence[str], patterns: Sequence[str]) -> list[str]:
    """Names of the nodes of these operators that the patterns mean, in the order of the graph.

    A pattern is `first`, `last` (in the order of the graph), `depthwise` (one group a channel), an operator, or a
    shell pattern of node names.

    Raises:
        PatternError: one of them means nothing.
    """
    layers = [node for node in model.graph.node if node.op_type in operators]
    weights = {each.name: list(each.dims) for each in model.graph.initializer}
    found: set[str] = set()
    for pattern in patterns:
        meant = {node.name for node in _meant(pattern, layers, weights)}
        if not meant:
            raise PatternError(_nothing(pattern, layers))
        found |= meant
    return [node.name for node in layers if node.name in found]


def _meant(pattern: str, layers: Sequence[Any], weights: dict[str, list[int]]) -> list[Any]:
    if pattern in (FIRST, LAST):
        return list(layers[:1] if pattern == FIRST else layers[-1:])
    if pattern == DEPTHWISE:
        return [node for node in layers if _is_depthwise(node, weights)]
    return [node for node in layers if node.op_type == pattern or fnmatchcase(node.name, pattern)]


def _is_depthwise(node: Any, weights: dict[str, list[int]]) -> bool:
    """Whether each output channel sees one input channel: of weights [out, in / groups, …] with several groups."""
    groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
    shape = weights.get(node.input[1], [])
    return node.op_type == "Conv" and groups > 1 and shape[1:2] == [1]


def _nothing(pattern: str, layers: Sequence[Any]) -> str:
    names = [node.name for node in layers]
    near = get_close_matches(pattern, [*names, *{node.op_type for node in layers}, FIRST, LAST, DEPTHWISE], n=1)
    hint = f"did you mean {near[0]}?" if near else f"layers are: {', '.join(names[:5])}{', …' if names[5:] else ''}"
    return f"exclude: {pattern} means no layer that int8 would change: {hint}"


def _names(operator: str, index: int) -> Any:
    yield f"{operator}_{index}"
    yield from (f"{operator}_{index}_{again}" for again in range(1, 1 << 30))
