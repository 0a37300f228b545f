"""Frozen records <-> JSON values: what is written reads back equal, what is unknown is refused."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]


class CodecError(ValueError):
    """A value that does not fit its record; the message starts with the path of the field."""


def encode(value: object, where: str = "value") -> Json:
    """Turn a record into JSON values; refuses NaN, infinities and types that JSON does not have."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise CodecError(f"{where}: expected a finite number, got {value} (absent is None)")
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: encode(getattr(value, f.name), f"{where}.{f.name}") for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {_key(key, where): encode(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encode(item, f"{where}[{index}]") for index, item in enumerate(value)]
    raise CodecError(f"{where}: expected a record, list, map, text or number, got {type(value).__name__}")


def decode(cls: type[T], value: object, where: str = "value") -> T:
    """Build the record `cls` from JSON values; unknown and missing keys and wrong types are refused with their path."""
    if not isinstance(value, Mapping):
        raise CodecError(f"{where}: expected a map for {cls.__name__}, got {_kind(value)}")
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    unknown = sorted(set(value) - set(fields))
    if unknown:
        raise CodecError(f"{where}: unknown key {unknown[0]!r}; known: {', '.join(fields)}")
    missing = [name for name, f in fields.items() if name not in value and _required(f)]
    if missing:
        raise CodecError(f"{where}: missing key {missing[0]!r}")
    hints = _hints(cls)  # type: ignore[arg-type]
    return cls(**{name: _decode(hints[name], item, f"{where}.{name}") for name, item in value.items()})


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return get_type_hints(cls)


def _required(f: dataclasses.Field[Any]) -> bool:
    return f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING


def _decode(hint: Any, value: Any, where: str) -> Any:
    origin = get_origin(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _decode_union(get_args(hint), value, where)
    if origin is Literal:
        return _one_of(get_args(hint), value, where)
    if origin is tuple:
        return tuple(_decode(get_args(hint)[0], v, f"{where}[{i}]") for i, v in enumerate(_typed(list, value, where)))
    if origin is dict:
        item = get_args(hint)[1]
        return {key: _decode(item, v, f"{where}.{key}") for key, v in _typed(dict, value, where).items()}
    if dataclasses.is_dataclass(hint):
        return decode(hint, value, where)  # type: ignore[arg-type]
    return _scalar(hint, value, where)


def _decode_union(options: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in options:
        return None
    return _decode(next(option for option in options if option is not type(None)), value, where)


def _one_of(words: tuple[Any, ...], value: Any, where: str) -> Any:
    if value not in words:
        raise CodecError(f"{where}: expected one of {', '.join(map(str, words))}, got {value!r}")
    return value


def _scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return value  # 2 and 2.0 are the same number; the int is kept so that writing it again gives the same bytes
    return _typed(hint, value, where)


def _typed(expected: type, value: Any, where: str) -> Any:
    if not isinstance(value, expected) or (isinstance(value, bool) and expected is not bool):
        raise CodecError(f"{where}: expected {_WORDS.get(expected, expected.__name__)}, got {_kind(value)}")
    return value


_WORDS: dict[type, str] = {
    dict: "a map",
    list: "a list",
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


def _kind(value: object) -> str:
    return _WORDS.get(type(value), type(value).__name__)


def _key(key: object, where: str) -> str:
    if not isinstance(key, str):
        raise CodecError(f"{where}: expected text as key, got {key!r}")
    return key
