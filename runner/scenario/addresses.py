"""Addresses: `a.b.0.c`, the one way to name a value in options, files, axes, reports and errors.

Keys may hold dots themselves (`files: {1/model.plan: …}`, the axis `workload.batch`). At every map the longest run of
segments that is a key there is taken; where there is none, a map of names whose values are plain takes all the rest.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from runner.builtin import nearest
from runner.scenario.merging import Pattern, matches
from runner.scenario.tree import Node, Path_, dotted

_WHOLE_REST: tuple[Pattern, ...] = (
    ("matrix", "axes"),
    ("targets", "*", "set"),
    ("setup", "*", "args"),
    ("repository", "models", "*", "files"),
    ("repository", "models", "*", "args"),
    ("server", "flags"),
    ("measure", "precision", "percentiles"),
)
"""Maps whose new keys take every remaining segment."""
_NAMES: dict[Pattern, str] = {
    ("vars",): "variable",
    ("targets",): "target",
    ("setup",): "setup step",
    ("repository", "models"): "model",
}
"""Maps whose entries must exist before something inside them can be set."""


class AddressError(Exception):
    """An address leads nowhere."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def locate(root: Node, address: str) -> Path_:
    """The path that an address means in a tree; the last keys need not exist yet.

    Raises:
        AddressError: empty segment, index out of range, or something inside an entry that does not exist.
    """
    segments = address.split(".")
    if not all(segments):
        raise AddressError(f"`{address}` is not an address", "write keys with dots between them: workload.batch")
    return _walk(root, segments, address)


def _walk(root: Node, segments: Sequence[str], address: str) -> Path_:
    path: Path_ = ()
    node: Node | None = root
    while segments:
        key, used = _next_key(node, segments, path)
        if isinstance(key, int):
            _check_index(node, key, (*path, key))
        elif len(segments) > used:
            _check_name(node, path, key)
        path, segments = (*path, key), segments[used:]
        node = node.child(key) if node is not None else None
    if matches(path, ("vars", "*")) and node is not None and isinstance(node.value, dict):
        return (*path, "default")
    if len(path) == 2 and path[0] == "vars":
        _check_name(root.child("vars"), ("vars",), str(path[1]))
    return path


def _next_key(node: Node | None, segments: Sequence[str], path: Path_) -> tuple[str | int, int]:
    """The next key and how many segments it takes."""
    if node is not None and isinstance(node.value, dict):
        for count in range(len(segments), 0, -1):
            if ".".join(segments[:count]) in node.value:
                return ".".join(segments[:count]), count
    if any(matches(path, pattern) for pattern in _WHOLE_REST):
        return ".".join(segments), len(segments)
    is_open = node is None or not isinstance(node.value, dict)
    if is_open and re.fullmatch("[0-9]{1,6}", segments[0]):
        return int(segments[0]), 1
    return segments[0], 1


def _check_index(node: Node | None, index: int, path: Path_) -> None:
    length = len(node.value) if node is not None and isinstance(node.value, list) else 0
    if index >= max(length, 1):
        raise AddressError(f"`{dotted(path)}` is outside a list of {length}", "indices count from 0")


def _check_name(node: Node | None, path: Path_, key: str) -> None:
    what = next((what for pattern, what in _NAMES.items() if matches(path, pattern)), None)
    known = list(node.value) if node is not None and isinstance(node.value, dict) else []
    if what is None or key in known:
        return
    close = nearest(key, known, 1)
    hint = f"did you mean `{close[0]}`?" if close else f"there is {', '.join(known) if known else 'none'}"
    raise AddressError(f"there is no {what} `{key}`", hint)


def locate_variable(root: Node, name: str) -> Path_:
    """The path that `SCENARIO__A__B` means: `__` separates keys; case and punctuation of known keys do not matter.

    Raises:
        AddressError: as `locate`.
    """
    segments = name.split("__")[1:]
    if not all(segments) or not segments:
        raise AddressError(f"`{name}` names no address", "write SCENARIO__WORKLOAD__BATCH=4")
    spelt: list[str] = []
    node: Node | None = root
    while segments:
        key, used = _spelt_key(node, segments)
        spelt.append(key)
        segments = segments[used:]
        node = node.child(int(key) if key.isdecimal() and isinstance(node.value, list) else key) if node else None
    return locate(root, ".".join(spelt))


def _spelt_key(node: Node | None, segments: Sequence[str]) -> tuple[str, int]:
    known = {_shape(key): key for key in node.value} if node is not None and isinstance(node.value, dict) else {}
    for count in range(len(segments), 0, -1):
        key = known.get(_shape("_".join(segments[:count])))
        if key is not None:
            return key, count
    return segments[0].lower(), 1


def _shape(key: str) -> str:
    return re.sub("[^a-z0-9]+", "_", key.lower())
