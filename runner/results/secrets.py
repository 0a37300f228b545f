"""What must not be written down: values whose names say that they are secrets, and passwords and tokens of URLs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import yaml

HIDDEN = "***"
_WORDS = "token|secret|passw(?:or)?d|passphrase|api[-_]?key|access[-_]?key|credential|authorization|signature|cookie"
_SECRET = re.compile(rf"(?i){_WORDS}|(?:^|[-_])key$|(?:^|[-_])auth(?:$|[-_])")
_NAME = rf"[\w.-]*(?:{_WORDS})[\w.-]*"
_ASSIGNED = re.compile(rf"(?i)({_NAME})(\s*[=:]\s*)(?!//)\S.*?(?=&|$)")
_USERINFO = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^/\s@]+@")
_OPTION = re.compile(rf"(?i)^-{{1,2}}{_NAME}$")
_HEADER = re.compile(r"((?:-H)?[A-Za-z][\w-]*):\s*(?!/).+", re.DOTALL)

_URLS = ("url", "mirrors", "metrics")
"""Keys whose values, a text or several, may hold a password or a signature."""


def redact(command: Sequence[str]) -> tuple[str, ...]:
    """The command line without the values of anything that is named like a secret, or stands in a URL as one."""
    return tuple(
        HIDDEN if index and _OPTION.match(command[index - 1]) and not word.startswith("-") else redact_text(word)
        for index, word in enumerate(command)
    )


def shown_command(argv: Sequence[str]) -> tuple[str, ...]:
    """A command line as it may be kept."""
    return redact(without_secret_headers(argv))


def redact_text(text: str) -> str:
    """One text without the values of `password=…`, `token: …` and `https://user:password@…`."""
    return _ASSIGNED.sub(rf"\1\2{HIDDEN}", _USERINFO.sub(rf"\1{HIDDEN}@", text))


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
    urls = [(node, key) for node in _mappings(document) for key in _URLS if key in node]
    telling = [(node, key) for node, key in urls if _redacted(node[key]) != node[key]]
    for node, key in telling:
        node[key] = _redacted(node[key])
    return bool(found or telling)


def _redacted(urls: Any) -> Any:
    if isinstance(urls, list):
        return [_redacted(url) for url in urls]
    return redact_text(urls) if isinstance(urls, str) else urls


def _is_secret(name: str, variable: Any) -> bool:
    return isinstance(variable, dict) and isinstance(variable.get("default"), str) and bool(_SECRET.search(name))


def _mappings(node: Any) -> list[dict[Any, Any]]:
    """Every mapping in the tree."""
    if isinstance(node, list):
        return [found for child in node for found in _mappings(child)]
    if not isinstance(node, dict):
        return []
    return [node, *(found for child in node.values() for found in _mappings(child))]
