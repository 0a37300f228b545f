"""Laying one layer of settings over another.

Maps merge key by key, everything else replaces. Three rules follow from what the maps mean:
* a changed `kind`, `source` or `type`, or another way to say an axis or an input, starts that map afresh: the keys of
  the old kind would only be mistakes in the new one;
* `null` over an entry of a map of names (a step, a model, a target, an axis, an argument, …) removes the entry;
* a plain value over a variable sets its value (`vars.max_batch: 8`), and keeps its declaration.
"""

from __future__ import annotations

from dataclasses import replace

from runner.scenario.tree import Node, Path_

Pattern = tuple[str, ...]

_KINDS: dict[Pattern, tuple[str, ...]] = {
    ("vars", "*"): ("type",),
    ("targets", "*", "launch"): ("kind",),
    ("setup", "*"): ("kind", "source"),
    ("load",): ("kind",),
}
"""Maps whose other keys depend on these words, the deciding word first."""
_UNSAID: dict[Path_, str] = {("load",): "concurrency"}
"""What such a map is where the word is missing."""
_FORMS: dict[Pattern, tuple[str, ...]] = {
    ("workload", "input", "*"): ("from", "generate"),
    ("matrix", "axes", "*"): ("pow2", "int", "float", "zip"),
}
"""Maps of which exactly one of these keys says what they are."""
_NAMED: tuple[Pattern, ...] = (
    ("vars", "*"),
    ("targets", "*"),
    ("targets", "*", "set", "*"),
    ("targets", "*", "launch", "env", "*"),
    ("targets", "*", "launch", "headers", "*"),
    ("targets", "*", "launch", "mounts", "*"),
    ("setup", "*"),
    ("setup", "*", "args", "*"),
    ("repository", "models", "*"),
    ("repository", "models", "*", "files", "*"),
    ("repository", "models", "*", "args", "*"),
    ("server", "flags", "*"),
    ("workload", "input", "*"),
    ("measure", "precision", "percentiles", "*"),
    ("matrix", "axes", "*"),
)
"""Entries that `null` removes."""


def matches(path: Path_, pattern: Pattern) -> bool:
    """Whether a path has the shape of a pattern; `*` stands for any one key."""
    return len(path) == len(pattern) and all(want in ("*", key) for key, want in zip(path, pattern, strict=True))


def discriminators(path: Path_) -> tuple[str, ...]:
    """The words that decide which other keys the map at this path may have."""
    return next((words for pattern, words in _KINDS.items() if matches(path, pattern)), ())


def merge(base: Node | None, over: Node, path: Path_ = ()) -> Node | None:
    """`over` laid over `base`; None when the entry is removed."""
    if over.value is None and any(matches(path, pattern) for pattern in _NAMED):
        return None
    if isinstance(over.value, dict):
        return _merge_maps(base, over, path)
    if base is not None and isinstance(base.value, dict) and matches(path, ("vars", "*")):
        return _merge_maps(base, Node({"default": replace(over, key=over.place)}, over.place, over.key), path)
    return over


def _merge_maps(base: Node | None, over: Node, path: Path_) -> Node:
    assert isinstance(over.value, dict)
    below = base.value if base is not None and isinstance(base.value, dict) else {}
    entries, fresh = _carried(below, over.value, path)
    for key, child in over.value.items():
        merged = merge(entries.get(key), child, (*path, key))
        if merged is None:
            entries.pop(key, None)
        else:
            entries[key] = merged
    if base is None or fresh or not isinstance(base.value, dict):
        return replace(over, value=entries)
    return replace(base, value=entries)


def _carried(below: dict[str, Node], over: dict[str, Node], path: Path_) -> tuple[dict[str, Node], bool]:
    """What of the lower map stays, and whether the map starts afresh."""
    kinds = discriminators(path)
    for index, word in enumerate(kinds):
        said = below[word].value if word in below else _UNSAID.get(path) if below else None
        if word in over and said is not None and over[word].value != said:
            return {kept: below[kept] for kept in kinds[:index] if kept in below}, True
    for pattern, forms in _FORMS.items():
        if matches(path, pattern):
            new, old = [form for form in forms if form in over], [form for form in forms if form in below]
            if new and old and new != old:
                return {}, True
    return dict(below), False


def assign(base: Node | None, path: Path_, value: Node, at: Path_ = ()) -> Node | None:
    """`value` instead of what stands at `path`; maps on the way are made, list items replaced in place.

    A whole file (no path) says more about what is there, so it merges; an address names one thing, so what it gets is
    all that is there.
    """
    if not path:
        return merge(None if at and isinstance(value.value, dict) else base, value, at)
    key, *rest = path
    if isinstance(key, int):
        items = list(base.value) if base is not None and isinstance(base.value, list) else []
        item = assign(items[key] if key < len(items) else None, tuple(rest), value, (*at, key))
        if item is not None:
            items[key : key + 1] = [item]
        return replace(base, value=items) if base is not None and base.key else Node(items, value.place, value.key)
    child = base.child(key) if base is not None else None
    if rest and child is not None and not isinstance(child.value, dict | list):
        child = None
    entry = assign(child, tuple(rest), value, (*at, key))
    if entry is None:
        return _without(base, key, value)
    return _merge_entry(base, key, entry, at)


def _without(base: Node | None, key: str, value: Node) -> Node:
    entries = dict(base.value) if base is not None and isinstance(base.value, dict) else {}
    entries.pop(key, None)
    return replace(base, value=entries) if base is not None else Node(entries, value.place, value.key)


def _merge_entry(base: Node | None, key: str, entry: Node, at: Path_) -> Node:
    """Put one finished entry into a map, unless it changes what kind of map that is."""
    below = base.value if base is not None and isinstance(base.value, dict) else {}
    entry = entry if entry.key else replace(entry, key=entry.place)
    entries, fresh = _carried(below, {key: entry}, at)
    entries[key] = entry
    if base is None or fresh or not isinstance(base.value, dict):
        return Node(entries, entry.place, base.key if base is not None else entry.key, assigned=entry.assigned)
    return replace(base, value=entries)
