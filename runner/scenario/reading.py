"""YAML text -> tree, by the rules of YAML 1.2 and with bounds on what a text may expand to.

Built from parser events rather than with a stock constructor: that gives the place of every key and value, refuses
duplicate keys, never resolves YAML 1.1 scalars (`on`, `010`, `12:30:45` stay text) and never constructs objects.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from runner.scenario.diagnostics import Diagnostic, diagnose
from runner.scenario.tree import Node, Place, Plain, Source

MAX_BYTES = 1_000_000
MAX_NODES = 100_000
MAX_DEPTH = 100
_TOO_DEEP = f"expected at most {MAX_DEPTH} levels"
_MAX_DIGITS = 300

_NULL = {"", "~", "null", "Null", "NULL"}
_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_OCTAL_HEX = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_CORE_TAG = "tag:yaml.org,2002:"

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class ReadError(Exception):
    """The text cannot be understood at all; holds the one diagnostic that matters."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        super().__init__(diagnostic.message)
        self.diagnostic = diagnostic


_SCENARIO = "start with `scenario: 1` and `name: …`"
OVERRIDES = "write the values to override, such as `workload: {batch: 4}`"
"""What a file of `--values` begins with."""


def read_file(path: Path, name: str, diagnostics: list[Diagnostic], begin: str = _SCENARIO) -> Node:
    """Read one file; mistakes that leave the rest readable are added to `diagnostics`, `begin` says how it begins."""
    source, text = _decode(path, name)
    root = read_text(text, source, diagnostics)
    if not isinstance(root.value, dict):
        got = "a list" if isinstance(root.value, list) else "no map"
        if root.value is None:
            got = "an empty file"
        hint = begin if got != "a list" else "remove the dashes of the first level"
        raise ReadError(diagnose("E102", root.place, f"expected a map of keys at the top, got {got}", hint=hint))
    return root


def _decode(path: Path, name: str) -> tuple[Source, str]:
    start = Place(Source(name, (), path.parent), 1, 1, 1)
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        problem = error.strerror or type(error).__name__
        raise ReadError(diagnose("E101", start, f"cannot read the file: {problem}")) from None
    if len(content) > MAX_BYTES:
        raise ReadError(diagnose("E101", start, f"expected at most {MAX_BYTES:,} bytes, got a larger file"))
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ReadError(diagnose("E101", start, "expected UTF-8, got UTF-16", hint="save the file as UTF-8"))
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8-sig", "replace")
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        source = Source(name, lines_of(content.decode("utf-8", "replace")), path.parent)
        byte = content[error.start]
        place = Place(source, line, column, column + 1)
        message = f"expected UTF-8, got the byte 0x{byte:02x}"
        raise ReadError(diagnose("E101", place, message, hint="save the file as UTF-8")) from None
    return Source(name, lines_of(text), path.parent.resolve()), text


def lines_of(text: str) -> tuple[str, ...]:
    """Lines as the YAML parser counts them, which is not quite as `str.splitlines` does."""
    return tuple(re.split("\r\n|[\n\r\x85\u2028\u2029]", text))


def read_text(text: str, source: Source, diagnostics: list[Diagnostic]) -> Node:
    """Read one document."""
    _refuse_unprintable(text, source)
    parser = _Loader(text)
    try:
        return _Composer(parser, source, diagnostics).document()
    except yaml.MarkedYAMLError as error:
        raise ReadError(_syntax_error(error, source)) from None
    finally:
        parser.dispose()


def _refuse_unprintable(text: str, source: Source) -> None:
    """Refuse characters that YAML does not allow, with their place (the C parser would give only a byte offset)."""
    bad = re.search(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text)
    if bad is None:
        return
    line = text.count("\n", 0, bad.start()) + 1
    column = bad.start() - (text.rfind("\n", 0, bad.start()) + 1) + 1
    message = f"expected text, got the control character U+{ord(bad[0]):04X}"
    raise ReadError(diagnose("E100", Place(source, line, column, column + 1), message, hint="remove it"))


def _syntax_error(error: yaml.MarkedYAMLError, source: Source) -> Diagnostic:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    problem = error.problem or "not YAML"
    hint = None
    if not any(source.lines[line - 1 :]):
        while line > 1 and not "".join(source.lines[line - 1 : line]).strip():
            line -= 1
        column = len(source.lines[line - 1]) + 1
        problem, hint = "the text ends too early", "close the bracket or the quote"
    place = Place(source, line, column, column + 1)
    if "maximum nesting depth" in problem:  # newer parsers have a limit of their own, which they may reach first
        return diagnose("E104", place, _TOO_DEEP)
    if place.text[column - 1 : column] == "\t" or "\\t" in problem or "'\t'" in problem:
        problem, hint = "a tab indents this line", "indent with spaces"
    elif "${" in place.text[max(0, column - 2) : column]:
        hint = 'quote a reference inside braces: "${vars.x}"'
    elif "mapping values are not allowed" in problem:
        hint = "quote a text that holds `: `, or check the indentation"
    elif "undefined alias" in problem:
        hint = "define it first with `&name`, or quote a text that starts with `*`"
    elif "cannot start any token" in problem:
        hint = "quote the text"
    related = []
    if error.context and error.context_mark and error.context_mark.line + 1 != line:
        related = [f"{error.context} that starts in line {error.context_mark.line + 1}"]
    return diagnose("E100", place, f"not YAML: {problem}", hint=hint, related=related)


class _Composer:
    """Turns events into nodes; recursion is bounded by MAX_DEPTH."""

    def __init__(self, parser: Any, source: Source, diagnostics: list[Diagnostic]) -> None:
        self._parser = parser
        self._source = source
        self._diagnostics = diagnostics
        self._anchors: dict[str, tuple[Node, int, int] | None] = {}
        self._nodes = 0

    def document(self) -> Node:
        self._parser.get_event()  # stream start
        event = self._parser.get_event()
        if isinstance(event, yaml.StreamEndEvent):
            return Node(None, Place(self._source, 1, 1, 1))
        node, _, _ = self._node(self._parser.get_event(), 0)
        self._parser.get_event()  # document end
        event = self._parser.get_event()
        if not isinstance(event, yaml.StreamEndEvent):
            raise ReadError(diagnose("E102", self._place(event), "expected one document, got a second one"))
        return node

    def _node(self, event: Any, depth: int) -> tuple[Node, int, int]:
        """One value with its size (nodes once aliases are expanded) and its height."""
        place = self._place(event)
        if isinstance(event, yaml.AliasEvent):
            node, size, height = self._alias(event, place)
        else:
            self._check_bounds(place, 1, depth)
            if event.anchor:
                self._anchors[event.anchor] = None  # known, but not finished: an alias inside would be endless
            node, size, height = self._fresh(event, place, depth)
            if event.anchor:
                self._anchors[event.anchor] = (node, size, height)
            return node, size, height
        self._check_bounds(place, size, depth + height)
        return node, size, height

    def _alias(self, event: Any, place: Place) -> tuple[Node, int, int]:
        if event.anchor not in self._anchors:
            message = f"the alias `*{event.anchor}` has no anchor before it"
            hint = f"define `&{event.anchor}` first, or quote a text that starts with `*`"
            raise ReadError(diagnose("E100", place, message, hint=hint))
        known = self._anchors[event.anchor]
        if known is None:
            raise ReadError(diagnose("E104", place, f"the alias `*{event.anchor}` stands inside what it repeats"))
        node, size, height = known
        return replace(node, place=place, key=None), size, height

    def _check_bounds(self, place: Place, size: int, depth: int) -> None:
        self._nodes += size
        if self._nodes > MAX_NODES:
            raise ReadError(diagnose("E104", place, f"expected at most {MAX_NODES:,} values, aliases expanded"))
        if depth > MAX_DEPTH:
            raise ReadError(diagnose("E104", place, _TOO_DEEP))

    def _fresh(self, event: Any, place: Place, depth: int) -> tuple[Node, int, int]:
        if isinstance(event, yaml.ScalarEvent):
            return Node(self._scalar(event, place), place), 1, 0
        kind = "map" if isinstance(event, yaml.MappingStartEvent) else "seq"
        if event.tag not in (None, "!", _CORE_TAG + kind):
            self._refuse_tag(event.tag, place)
        return self._map(place, depth) if kind == "map" else self._list(place, depth)

    def _list(self, place: Place, depth: int) -> tuple[Node, int, int]:
        items: list[Node] = []
        size, height = 1, 0
        while not isinstance(event := self._parser.get_event(), yaml.SequenceEndEvent):
            node, child_size, child_height = self._node(event, depth + 1)
            items.append(node)
            size, height = size + child_size, max(height, child_height + 1)
        return Node(items, self._spanning(place, event)), size, height

    def _map(self, place: Place, depth: int) -> tuple[Node, int, int]:
        entries: dict[str, Node] = {}
        size, height = 1, 0
        while not isinstance(event := self._parser.get_event(), yaml.MappingEndEvent):
            key, key_place = self._key(event, depth)
            node, child_size, child_height = self._node(self._parser.get_event(), depth + 1)
            size, height = size + child_size, max(height, child_height + 1)
            if key is None:
                continue
            if key in entries:
                self._refuse_duplicate(key, key_place, entries[key])
            else:
                entries[key] = replace(node, key=key_place)
        return Node(entries, self._spanning(place, event)), size, height

    def _key(self, event: Any, depth: int) -> tuple[str | None, Place]:
        """Keys are names, so their text counts, not the type that the text would have as a value."""
        place = self._place(event)
        if not isinstance(event, yaml.ScalarEvent):
            self._node(event, depth + 1)
            self._diagnostics.append(diagnose("E105", place, "expected a name as key, got something else"))
            return None, place
        if event.value == "<<" and not event.style:
            hint = "use `extends`, or repeat the keys"
            self._diagnostics.append(diagnose("E105", place, "merge keys (`<<`) are not part of YAML 1.2", hint=hint))
            return None, place
        return event.value, place

    def _refuse_duplicate(self, key: str, place: Place, first: Node) -> None:
        hint = "remove one of them"
        related = [f"first given at {first.key}"]
        self._diagnostics.append(diagnose("E103", place, f"the key `{key}` is given twice", hint=hint, related=related))

    def _refuse_tag(self, tag: str, place: Place) -> None:
        shown = tag.replace(_CORE_TAG, "!!")
        self._diagnostics.append(diagnose("E105", place, f"the tag `{shown}` is not allowed", hint="remove it"))

    def _scalar(self, event: Any, place: Place) -> Plain:
        text: str = event.value
        if event.tag in (None, "!"):
            plain = not event.style and event.tag is None
            return self._number(text, place) if plain else text
        if event.tag == _CORE_TAG + "str":
            return text
        self._refuse_tag(event.tag, place)
        return text

    def _number(self, text: str, place: Place) -> Plain:
        if len(text) > _MAX_DIGITS and (_INT.fullmatch(text) or _OCTAL_HEX.fullmatch(text)):
            self._diagnostics.append(diagnose("E113", place, f"a number of {len(text)} digits is too long"))
        return core_scalar(text)

    def _place(self, event: Any) -> Place:
        return self._span(event.start_mark, event.end_mark)

    def _spanning(self, place: Place, end: Any) -> Place:
        """A flow collection reaches to its bracket; a block one is shown by its first line."""
        last = end.end_mark
        if last.line + 1 == place.line:
            return replace(place, end_column=max(last.column + 1, place.end_column))
        return replace(place, end_column=max(len(place.text) + 1, place.column + 1))

    def _span(self, start: Any, end: Any) -> Place:
        line, column = start.line + 1, start.column + 1
        lines = self._source.lines
        text = lines[line - 1] if line <= len(lines) else ""
        last = end.column + 1 if end.line == start.line else len(text) + 1
        return Place(self._source, line, column, max(last, column + 1))


def core_scalar(text: str) -> Plain:
    """A plain scalar by YAML 1.2; a number with leading zeros stays text, because tools disagree on what it means."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    if len(text) > _MAX_DIGITS:
        return text
    if _INT.fullmatch(text):
        return int(text)
    if _OCTAL_HEX.fullmatch(text):
        return int(text, 0)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _SPECIAL.fullmatch(text):
        return float(text.replace(".", ""))
    return text
