"""What the schema allows at a place: keys, defaults and addresses, from the types themselves."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, PlainSerializer
from pydantic.fields import FieldInfo

from runner.scenario.schema import Scenario
from runner.scenario.tree import Node, Path_

_MAX_ADDRESSES = 5_000


def fields_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Key in the file -> field."""
    return {field.alias or name: field for name, field in model.model_fields.items()}


def keys_at(root: Node, path: Path_) -> list[str] | None:
    """The keys that a map at this path may have; None where names are free."""
    models = [each for each in _types_at(root, path) if _is_model(each)]
    if not models:
        return None
    return list(dict.fromkeys(key for model in models for key in fields_of(model)))


def field_at(root: Node, path: Path_) -> FieldInfo | None:
    """The field that a path names, if it names one."""
    if not path:
        return None
    for model in _types_at(root, path[:-1]):
        if _is_model(model) and path[-1] in fields_of(model):
            return fields_of(model)[str(path[-1])]
    return None


def default_of(field: FieldInfo) -> Any:
    """The default of a field as it would be written in a file."""
    value: Any = field.get_default(call_default_factory=True)
    for each in field.metadata:
        if isinstance(each, PlainSerializer) and value is not None:
            write: Any = each.func
            return write(value)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json", by_alias=True)
    return list(value) if isinstance(value, tuple) else value


def known_addresses(root: Node) -> list[str]:
    """Every address that makes sense in this scenario, keys of maps of names as they stand in it."""
    found: list[str] = []
    for address in _addresses(Scenario, root, ""):
        found.append(address)
        if len(found) == _MAX_ADDRESSES:
            break
    return found


def _addresses(annotation: Any, node: Node | None, prefix: str) -> Iterator[str]:
    dot = f"{prefix}." if prefix else ""
    for each in _narrow(annotation, node):
        if _is_model(each):
            for key, field in fields_of(each).items():
                child = node.child(key) if node is not None else None
                yield f"{dot}{key}"
                yield from _addresses(field.annotation, child, f"{dot}{key}")
        elif get_origin(each) is dict and node is not None:
            for name, entry in node.children():
                yield f"{dot}{name}"
                yield from _addresses(get_args(each)[1], entry, f"{dot}{name}")


def _types_at(root: Node, path: Path_) -> list[Any]:
    current = [Scenario]
    node: Node | None = root
    for key in path:
        node = node.child(key) if node is not None else None
        current = [found for each in current for found in _step(each, key, node)]
    return current


def _step(annotation: Any, key: str | int, node: Node | None) -> list[Any]:
    """The types of one entry of a type, narrowed by what stands there."""
    if _is_model(annotation):
        field = fields_of(annotation).get(str(key))
        return _narrow(field.annotation, node) if field is not None else []
    arguments = get_args(annotation)
    if get_origin(annotation) is dict:
        return _narrow(arguments[1], node)
    if get_origin(annotation) is tuple and arguments:
        return _narrow(arguments[0], node)
    return []


def _narrow(annotation: Any, node: Node | None) -> list[Any]:
    """The members of a union that fit the words in the node; all of them when none decides."""
    every = list(members(annotation))
    if node is None or not isinstance(node.value, dict):
        return every
    return [each for each in every if _is_model(each) and _fits(each, node)] or every


def members(annotation: Any) -> Iterator[Any]:
    """The types of a union, without what annotates them."""
    if get_origin(annotation) is Annotated:
        yield from members(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, types.UnionType):
        for each in get_args(annotation):
            yield from members(each)
    else:
        yield annotation


def _fits(model: type[BaseModel], node: Node) -> bool:
    """Whether the deciding words of the model stand in the map, or without such words one of its required keys."""
    words = {key: get_args(field.annotation) for key, field in fields_of(model).items() if _is_word(field)}
    if words:
        children = {key: node.child(key) for key in words}
        return all(child is not None and child.value in words[key] for key, child in children.items())
    return any(node.child(key) is not None for key, field in fields_of(model).items() if field.is_required())


def _is_word(field: FieldInfo) -> bool:
    return get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1 and field.is_required()


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)
