"""What pydantic found, in our words and at the place in the file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from itertools import groupby
from typing import Any

from pydantic_core import ErrorDetails

from runner.builtin import nearest
from runner.scenario.diagnostics import Diagnostic, diagnose, did_you_mean
from runner.scenario.layers import VARIABLE_PREFIX
from runner.scenario.merging import discriminators
from runner.scenario.schema_base import (
    HOST,
    HOST_PORT,
    HTTP_URL,
    IDENTIFIER,
    NAME,
    OPTION,
    PERCENTILE,
    PROGRAM,
    SHA256,
    VARIABLE,
)
from runner.scenario.schema_walk import field_at, keys_at, known_addresses
from runner.scenario.tree import Node, Path_, Place, dotted

_TYPE_NAMES = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "dict_type": "a map",
    "model_type": "a map",
    "model_attributes_type": "a map",
    "list_type": "a list",
    "tuple_type": "a list",
}
_LIMITS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}
_PATTERN_WORDS = {
    NAME: "a name of letters, digits, `_`, `.` and `-`",
    IDENTIFIER: "a name of letters, digits, `_` and `-` that starts with a letter",
    OPTION: "an option such as --max-batch",
    VARIABLE: "an upper-case name such as TRITON_TAG",
    PERCENTILE: "a percentile such as p99 or p99.9",
    HOST: "`host` or `host:port`",
    HOST_PORT: "`host:port`",
    HTTP_URL: "a URL that begins with http:// or https://",
    PROGRAM: "an absolute path or a name on PATH",
    SHA256: "a sha256 of 64 lower-case hexadecimal digits",
}


def diagnose_errors(errors: Iterable[ErrorDetails], root: Node, broken: Collection[Path_]) -> Iterator[Diagnostic]:
    """One diagnostic for each mistake; places in `broken` already have one."""
    located = [(path, is_key, error) for error in errors for path, is_key in [_path_of(error, root)]]
    for (path, is_key), group in groupby(located, key=lambda each: each[:2]):
        if not any(path[: len(bad)] == bad for bad in broken):
            yield from _diagnose(path, is_key, [error for _, _, error in group], root)


def _path_of(error: ErrorDetails, root: Node) -> tuple[Path_, bool]:
    """The path in the tree, without pydantic's names of union members; True when the key itself is wrong."""
    location = list(error["loc"])
    is_key = bool(location) and location[-1] == "[key]"
    if is_key:
        location.pop()
    path: Path_ = ()
    node: Node | None = root
    words = _words(node, path)
    for key in location:
        if key in words:  # a union member, named after its `kind`
            words.remove(str(key))
            continue
        child = node.child(key) if node is not None else None
        if child is not None:
            path, node = (*path, key), child
            words = _words(node, path)
    field = error.get("ctx", {}).get("field")
    if field is not None and node is not None and node.child(field) is not None:
        path = (*path, field)
    return path, is_key


def _words(node: Node | None, path: Path_) -> list[str]:
    children = (node.child(word) for word in discriminators(path) if node is not None)
    return [str(child.value) for child in children if child is not None]


def _diagnose(path: Path_, is_key: bool, errors: list[ErrorDetails], root: Node) -> Iterator[Diagnostic]:
    node = root.find(path)
    assert node is not None
    if len(errors) > 1 and all(error["type"] in _TYPE_NAMES for error in errors):
        names = list(dict.fromkeys(_TYPE_NAMES[error["type"]] for error in errors))
        message = f"expected {', '.join(names[:-1])} or {names[-1]}, got {describe(node)}"
        yield diagnose("E112", node.place, message, address=dotted(path))
        return
    for error in errors:
        if is_key:
            yield _wrong_key(error, node, path)
        else:
            yield _FORMS.get(error["type"], _other)(error, node, path, root)


def _wrong_key(error: ErrorDetails, node: Node, path: Path_) -> Diagnostic:
    message = f"expected {_expected_pattern(error)} as key, got `{path[-1]}`"
    return diagnose("E113", node.key or node.place, message, address=dotted(path))


def _unknown_key(error: ErrorDetails, node: Node, path: Path_, root: Node) -> Diagnostic:
    key = str(path[-1])
    place = node.key or node.place
    if node.assigned is not None:
        address = dotted(path) if node.assigned.startswith(VARIABLE_PREFIX) else node.assigned
        return unknown_address(address, place, root)
    hint = did_you_mean(key, keys_at(root, path[:-1]) or [])
    return diagnose("E110", place, f"unknown key `{key}`", address=dotted(path), hint=hint)


def unknown_address(address: str, place: Place, root: Node) -> Diagnostic:
    """An address that names nothing, with the addresses that it was probably meant to be."""
    known = [each for each in known_addresses(root) if each != address and not each.startswith("matrix.axes.")]
    same_end = [each for each in known if each.endswith("." + address.rpartition(".")[2])]
    close = nearest(address, known, 2) or same_end[:2]
    hint = (
        f"did you mean {' or '.join(f'`{each}`' for each in close)}?" if close else "docs/reference.md lists the keys"
    )
    return diagnose("E130", place, f"unknown address `{address}`", address=address, hint=hint)


def _missing_key(error: ErrorDetails, node: Node, path: Path_, root: Node) -> Diagnostic:
    wanted = error["loc"][-1]
    if isinstance(wanted, int):
        length = len(node.value) if isinstance(node.value, list) else 0
        return diagnose("E113", node.place, f"expected {wanted + 1} values, got {length}", address=dotted(path))
    place = node.key or _first_line(node)
    where = f" in `{dotted(path)}`" if path else ""
    hint = f"add `{wanted}: …`{_example(root, path, wanted)}"
    return diagnose("E111", place, f"missing key `{wanted}`{where}", address=dotted((*path, wanted)), hint=hint)


def _example(root: Node, path: Path_, key: str) -> str:
    field = field_at(root, (*path, key))
    words = {"model": ", the model that is called", "scenario": ", which is 1", "name": ", a name for the results"}
    return words.get(key, "") if field is not None and len(path) <= 1 else ""


def _first_line(node: Node) -> Place:
    return Place(node.place.source, node.place.line, node.place.column, node.place.column + 1)


def _wrong_type(error: ErrorDetails, node: Node, path: Path_, root: Node) -> Diagnostic:
    expected = _TYPE_NAMES[error["type"]]
    hint = None
    if isinstance(node.value, str) and expected.endswith("number") and node.value.replace(".", "", 1).isdigit():
        hint = "remove the quotes" if not node.value.startswith("0") else "remove the leading zero"
    elif expected == "text" and isinstance(node.value, int | float):
        hint = f'write "{node.place.text[node.place.column - 1 : node.place.end_column - 1] or node.value}"'
    elif node.value is None:
        hint = "remove the key, or give it a value"
    elif expected == "true or false" and node.value in ("yes", "no", "on", "off"):
        hint = f"write {'true' if node.value in ('yes', 'on') else 'false'}"
    if matches_variable(path) and expected == "a map":
        hint = f"declare it: `{path[1]}: {{type: int, default: {node.value}}}`"
    message = f"expected {expected}, got {describe(node)}"
    return diagnose("E112", node.place, message, address=dotted(path), hint=hint)


def matches_variable(path: Path_) -> bool:
    return len(path) == 2 and path[0] == "vars"


def _wrong_unit(error: ErrorDetails, node: Node, path: Path_, root: Node) -> Diagnostic:
    context = error.get("ctx", {})
    return diagnose("E114", node.place, error["msg"], address=dotted(path), hint=context.get("hint"))


def _wrong_word(error: ErrorDetails, node: Node, path: Path_, root: Node) -> Diagnostic:
    words = [word.strip(" '") for word in error.get("ctx", {})["expected"].replace(" or ", ", ").split(",")]
    return _choice(node, path, words, "E113")


def _choice(node: Node, path: Path_, words: list[str], code: str) -> Diagnostic:
    shown = words[0] if len(words) == 1 else f"one of {', '.join(words)}"
    close = nearest(str(node.value), words, 1)
    hint = f"did you mean `{close[0]}`?" if close else None
    return diagnose(code, node.place, f"expected {shown}, got {describe(node)}", address=dotted(path), hint=hint)


def _wrong_choice(error: ErrorDetails, node: Node, path: Path_, root: Node) -> Diagnostic:
    return _choice(node, path, error.get("ctx", {})["known"], "E113")


def _unknown_kind(error: ErrorDetails, node: Node, path: Path_, root: Node) -> Diagnostic:
    context = error.get("ctx", {})
    word = context["discriminator"].strip("'")
    child = node.child(word)
    words = [each.strip(" '") for each in context["expected_tags"].split(",")]
    return _choice(child or node, (*path, word), words, "E115")


def _missing_kind(error: ErrorDetails, node: Node, path: Path_, root: Node) -> Diagnostic:
    word = error.get("ctx", {})["discriminator"].strip("'")
    place = node.key or _first_line(node)
    address = dotted((*path, word))
    return diagnose(
        "E111", place, f"missing key `{word}` in `{dotted(path)}`", address=address, hint=f"add `{word}: …`"
    )


def _wrong_limit(error: ErrorDetails, node: Node, path: Path_, root: Node) -> Diagnostic:
    words, key = _LIMITS[error["type"]]
    message = f"expected {words} {error.get('ctx', {})[key]:g}, got {describe(node)}"
    return diagnose("E113", node.place, message, address=dotted(path))


def _wrong_pattern(error: ErrorDetails, node: Node, path: Path_, root: Node) -> Diagnostic:
    message = f"expected {_expected_pattern(error)}, got {describe(node)}"
    return diagnose("E113", node.place, message, address=dotted(path))


def _expected_pattern(error: ErrorDetails) -> str:
    context = error.get("ctx", {})
    if "max_length" in context:
        return f"at most {context['max_length']} characters"
    pattern = str(context.get("pattern", ""))
    return _PATTERN_WORDS.get(pattern, f"text that matches {pattern}")


def _wrong_length(error: ErrorDetails, node: Node, path: Path_, root: Node) -> Diagnostic:
    context = error.get("ctx", {})
    limit = context.get("min_length", context.get("max_length"))
    words = "at least" if "min_length" in context else "at most"
    got = context.get("actual_length")
    values = "value" if limit == 1 else "values"
    got_text = len(node.value) if got is None and isinstance(node.value, list | dict) else got
    return diagnose(
        "E113", node.place, f"expected {words} {limit} {values}, got {got_text or 'none'}", address=dotted(path)
    )


def _own(error: ErrorDetails, node: Node, path: Path_, root: Node) -> Diagnostic:
    hint = error.get("ctx", {}).get("hint")
    return diagnose("E113", node.place, error["msg"], address=dotted(path), hint=hint)


def _one_of(error: ErrorDetails, node: Node, path: Path_, root: Node) -> Diagnostic:
    message = f"{error['msg']}, got {describe(node)}"
    hint = None
    if isinstance(node.value, dict) and node.value:
        known = keys_at(root, path) or []
        close = [each for key in node.value if key not in known for each in nearest(key, known, 1)]
        hint = f"did you mean `{close[0]}`?" if close else None
    return diagnose("E112", node.place, message, address=dotted(path), hint=hint)


def _other(error: ErrorDetails, node: Node, path: Path_, root: Node) -> Diagnostic:
    return diagnose("E113", node.place, f"{error['msg']}, got {describe(node)}", address=dotted(path))


_Form = Callable[[ErrorDetails, Node, Path_, Node], Diagnostic]
_FORMS: dict[str, _Form] = {
    "extra_forbidden": _unknown_key,
    "missing": _missing_key,
    "unit": _wrong_unit,
    "literal_error": _wrong_word,
    "union_tag_invalid": _unknown_kind,
    "union_tag_not_found": _missing_kind,
    "string_pattern_mismatch": _wrong_pattern,
    "string_too_long": _wrong_pattern,
    "too_short": _wrong_length,
    "too_long": _wrong_length,
    "scenario": _own,
    "scenario_choice": _wrong_choice,
    "one_of": _one_of,
    **dict.fromkeys(_TYPE_NAMES, _wrong_type),
    **dict.fromkeys(_LIMITS, _wrong_limit),
}


def describe(node: Node) -> str:
    """A value as a message names it."""
    value: Any = node.value
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= 60 else f'"{value[:57]}…"'
    if isinstance(value, bool):
        return str(value).lower()
    names = {dict: "a map", list: "a list", type(None): "nothing"}
    return names.get(type(value), str(value))
