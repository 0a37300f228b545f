"""Which values are secrets, by the names that they stand at, and what is written down in their place."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

HIDDEN = "***"
WORDS = "token|secret|passw(?:or)?d|passphrase|api[-_]?key|access[-_]?key|credential|authorization|signature|cookie"
NAME = rf"[\w.-]*(?:{WORDS})[\w.-]*"
"""A name that holds one of the words, as a regular expression."""
_SECRET = re.compile(rf"(?i){WORDS}|(?:^|[-_])key$|(?:^|[-_])auth(?:$|[-_])")
_ASSIGNED = re.compile(rf"(?i)({NAME})(\s*[=:]\s*)(?!//)\S.*?(?=&|$)")
_USERINFO = re.compile(r"(?i)\b([a-z][a-z0-9+.-]*://)[^/\s@]+@")

_TABLES = ("headers", "env")
"""Maps of names to texts, any of which may be a secret."""
_URLS = ("url", "mirrors", "metrics")
"""Keys whose values, a text or several, may hold a password or a signature."""
_SAID_OF_VARIABLES = ("default", "of")
_PREDICATES = (("matrix", "skip"), ("tune", "exclude"))
_QUOTED = re.compile(r"""("[^"]*"|'[^']*')""")

Hide = Callable[[str], str]


def looks_secret(name: str) -> bool:
    """Whether a header or variable of this name probably holds a secret."""
    return bool(_SECRET.search(name))


def redact_text(text: str) -> str:
    """One text without the values of `password=…`, `token: …` and `https://user:password@…`."""
    return _ASSIGNED.sub(rf"\1\2{HIDDEN}", _USERINFO.sub(rf"\1{HIDDEN}@", text))


def redact_predicate(text: str) -> str:
    """A predicate without the texts that it compares a secret with."""
    words = re.findall(r"[\w.-]+", _QUOTED.sub(" ", text))
    return _QUOTED.sub(f"'{HIDDEN}'", text) if any(holds_secret(word, "text") for word in words) else text


def without_secrets_in(document: Any) -> Any:
    """A resolved scenario, as plain values, with every secret hidden."""
    return _masked((), document, lambda _: HIDDEN, redact_text)


def masked(address: str, value: Any) -> Any:
    """The value of a point at an address as it may be written down.

    A secret becomes a short digest of it: points stay apart, and the same one is the same point in every run.
    """
    return _masked(_split((), address), value, _digest, _redacted_apart)


def holds_secret(address: str, value: Any) -> bool:
    """Whether some of a value at an address is a secret."""
    return bool(masked(address, value) != value)


def _digest(secret: str) -> str:
    return f"{HIDDEN}{hashlib.sha256(secret.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"


def _redacted_apart(text: str) -> str:
    redacted = redact_text(text)
    return redacted if redacted == text else f"{redacted} {_digest(text)}"


def _masked(path: tuple[str, ...], value: Any, hide: Hide, redact: Hide) -> Any:
    inside = partial(_masked, hide=hide, redact=redact)
    if isinstance(value, Mapping):
        return {key: inside(_split(path, str(key)), item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [inside(path, item) for item in value]
    if value is None or isinstance(value, bool):
        return value
    if _is_secret(path, value):
        return hide(str(value))
    if isinstance(value, str) and path[:2] in _PREDICATES:
        return redact_predicate(value)
    return redact(value) if isinstance(value, str) and path and path[-1] in _URLS else value


def _split(path: tuple[str, ...], key: str) -> tuple[str, ...]:
    """The path of a key, which may be an address itself, as those of axes are; names of headers may hold dots."""
    if path and path[-1] in _TABLES:
        return (*path, key)
    segments = key.split(".")
    table = next((place for place, segment in enumerate(segments) if segment in _TABLES), len(segments))
    rest = ".".join(segments[table + 1 :])
    return (*path, *segments[: table + 1], *([rest] if rest else []))


def _is_secret(path: tuple[str, ...], value: Any) -> bool:
    """Numbers of variables are none: `max_tokens` is a setting."""
    if len(path) > 1 and path[-2] in _TABLES:
        return looks_secret(path[-1])
    name = path[:-1] if path and path[-1] in _SAID_OF_VARIABLES else path
    return len(name) > 1 and name[-2] == "vars" and isinstance(value, str) and looks_secret(name[-1])
