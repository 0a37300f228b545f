"""Values at addresses as the tree of an override file: what `--values` takes, and no more than it needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runner.scenario.addresses import locate
from runner.scenario.interpolation import escape
from runner.scenario.tree import Node, Path_


def override_tree(written: Node, values: Mapping[str, Any]) -> dict[str, Any]:
    """The tree that sets these addresses when it is laid over `written`, a tree as it stands in the files.

    A file replaces lists, so a list of which one item changes is there with all its items.

    Raises:
        AddressError: an address leads nowhere.
    """
    tree: dict[str, Any] = {}
    for address, value in values.items():
        _put(tree, _in_file(locate(written, address)), escaped(value), written)
    return tree


def _in_file(path: Path_) -> Path_:
    """A plain value over a variable sets its value: nobody writes `default` in an override file."""
    return path[:-1] if len(path) == 3 and (path[0], path[2]) == ("vars", "default") else path


def _put(into: Any, path: Path_, value: Any, written: Node | None) -> None:
    key, *rest = path
    below = written.child(key) if written is not None else None
    if not rest:
        _set(into, key, value)
        return
    if isinstance(key, int) or key not in into:
        is_list = isinstance(rest[0], int)
        kept = below.plain() if is_list and below is not None and isinstance(below.value, list) else None
        if not (isinstance(key, int) and key < len(into)):
            _set(into, key, kept if kept is not None else [] if is_list else {})
    _put(into[key], tuple(rest), value, below)


def _set(into: Any, key: str | int, value: Any) -> None:
    if isinstance(key, int) and key == len(into):
        into.append(value)
    else:
        into[key] = value


def escaped(value: Any) -> Any:
    """The same value, with every `${` in it read as text and not as a reference."""
    if isinstance(value, Mapping):
        return {key: escaped(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return [escaped(child) for child in value]
    return escape(value) if isinstance(value, str) else value
