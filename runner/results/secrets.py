"""What must not be written down: values of a resolved scenario whose names say that they are secrets, and URLs' own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import yaml

from runner.results.manifest import HIDDEN, redact_text

_HEADER = re.compile(r"((?:-H)?[A-Za-z][\w-]*):\s*(?!/).+", re.DOTALL)
_SECRET = re.compile(
    r"(?i)authorization|token|secret|passw(?:or)?d|credential|cookie|(?:^|[-_])key$|api[-_]?key|(?:^|[-_])auth(?:$|[-_])"
)

_URLS = ("url", "metrics")
"""Keys whose values may hold a password, or a signature."""


def without_secrets(resolved: str) -> str:
    """The resolved scenario with secret headers, environment variables and defaults of variables hidden."""
    document = yaml.safe_load(resolved)
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120) if _hide(document) else resolved


def without_secret_headers(arguments: Sequence[str]) -> tuple[str, ...]:
    """A command line with the values of secret headers (`Name:value`, as after `-H`) hidden."""
    return tuple(_hidden_header(word) for word in arguments)


def _hidden_header(word: str) -> str:
    match = _HEADER.fullmatch(word)
    return f"{match[1]}:{HIDDEN}" if match is not None and looks_secret(match[1].removeprefix("-H")) else word


def looks_secret(name: str) -> bool:
    """Whether a header or variable of this name probably holds a secret."""
    return bool(_SECRET.search(name))


def _hide(document: Any) -> bool:
    """Hide in place; True if there was something to hide."""
    if not isinstance(document, dict):
        return False
    tables = [node.get(key) for node in _mappings(document) for key in ("headers", "env")]
    found = [(table, name) for table in tables if isinstance(table, dict) for name in table if looks_secret(str(name))]
    variables = document.get("vars")
    if isinstance(variables, dict):
        found += [(v, "default") for name, v in variables.items() if _is_secret(str(name), v)]
    axes = _mappings(document.get("matrix", {}))
    found += [
        (axis, label) for axis in axes for label in axis if ".headers." in str(label) and _SECRET.search(str(label))
    ]
    for table, name in found:
        table[name] = HIDDEN
    urls = [(node, key) for node in _mappings(document) for key in _URLS if isinstance(node.get(key), str)]
    telling = [(node, key) for node, key in urls if redact_text(node[key]) != node[key]]
    for node, key in telling:
        node[key] = redact_text(node[key])
    return bool(found or telling)


def _is_secret(name: str, variable: Any) -> bool:
    return isinstance(variable, dict) and isinstance(variable.get("default"), str) and bool(_SECRET.search(name))


def _mappings(node: Any) -> list[dict[Any, Any]]:
    """Every mapping in the tree."""
    if isinstance(node, list):
        return [found for child in node for found in _mappings(child)]
    if not isinstance(node, dict):
        return []
    return [node, *(found for child in node.values() for found in _mappings(child))]
