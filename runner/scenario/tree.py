"""Settings as a tree in which every node remembers where it was written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

Path_ = tuple[str | int, ...]
"""Keys and list indices from the root to a node."""
Plain = None | bool | int | float | str


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """A text that settings come from: a file, or one option or variable."""

    name: str
    """As shown to the user: a path, `--set`, or the name of a variable."""
    lines: tuple[str, ...]
    folder: Path
    """What relative paths in this text are relative to."""
    is_file: bool = True


@dataclass(frozen=True, slots=True)
class Place:
    """A stretch of one line of a source, counted from 1; `end_column` is the first column after it."""

    source: Source
    line: int
    column: int
    end_column: int

    @property
    def text(self) -> str:
        lines = self.source.lines
        return lines[self.line - 1] if 0 < self.line <= len(lines) else ""

    def within(self, fragment: str) -> Place:
        """The place of a fragment of the text that stands here, else this place."""
        start = self.text.find(fragment, self.column - 1) + 1
        return replace(self, column=start, end_column=start + len(fragment)) if start else self

    def __str__(self) -> str:
        if self.source.is_file:
            return f"{self.source.name}:{self.line}:{self.column}"
        return f"{self.source.name} {self.text}".strip()


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One value and the place of it; children of maps also know the place of their key."""

    value: Plain | dict[str, Node] | list[Node]
    place: Place
    key: Place | None = None
    folder: Path | None = None
    """Set when the value came through a reference: the folder of the text that really holds it."""
    assigned: str | None = None
    """The address by which an option, a target or an axis set it."""

    def children(self) -> Iterator[tuple[str | int, Node]]:
        if isinstance(self.value, dict):
            yield from self.value.items()
        elif isinstance(self.value, list):
            yield from enumerate(self.value)

    def child(self, key: str | int) -> Node | None:
        if isinstance(self.value, dict):
            return self.value.get(key) if isinstance(key, str) else None
        if isinstance(self.value, list) and isinstance(key, int) and 0 <= key < len(self.value):
            return self.value[key]
        return None

    def find(self, path: Path_) -> Node | None:
        node: Node | None = self
        for key in path:
            node = node.child(key) if node is not None else None
        return node

    def plain(self) -> Any:
        """The same values as plain dicts, lists and scalars."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def walk(self, path: Path_ = ()) -> Iterator[tuple[Path_, Node]]:
        """Every node below and this one, parents first."""
        yield path, self
        for key, child in self.children():
            yield from child.walk((*path, key))


def from_plain(value: Any, place: Place) -> Node:
    """Give plain values one place, for example that of the option that they came from."""
    if isinstance(value, dict):
        return Node({str(key): from_plain(child, place) for key, child in value.items()}, place, place)
    if isinstance(value, list | tuple):
        return Node([from_plain(child, place) for child in value], place)
    return Node(value, place)


def option_place(name: str, text: str, folder: Path) -> Place:
    """The place of a whole option or variable."""
    return Place(Source(name, (text,), folder, is_file=False), 1, 1, len(text) + 1)


def dotted(path: Path_) -> str:
    """The address of a path."""
    return ".".join(map(str, path))
