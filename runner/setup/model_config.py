"""Triton's `config.pbtxt` as its official protobuf: parsed, overridden field by field, never by text substitution.

Overrides follow the protobuf JSON mapping with three rules of their own: a list replaces a list, a map merges into a
map, and a mapping given for a list patches the elements with those indices (`instance_group: {0: {count: 2}}`).
`null` clears a field; `{}` switches an empty message such as `dynamic_batching` on.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from google.protobuf import json_format, text_format
from google.protobuf.descriptor import FieldDescriptor
from tritonclient.grpc.model_config_pb2 import DataType, ModelConfig

from runner.setup.script import argument_text


class Problems(list[str]):
    """Everything that is wrong, each line with its address."""

    def add(self, address: str, message: str) -> None:
        self.append(f"{address}: {message}")


def read_config(path: Path, address: str, problems: Problems) -> Any:
    """The ModelConfig of a source folder; an unreadable one is a problem and comes back empty."""
    try:
        return text_format.Parse(path.read_text(), ModelConfig())
    except FileNotFoundError:
        problems.add(f"{address}.from", f"{path.parent} has no config.pbtxt; expected an ordinary Triton model folder")
    except (text_format.ParseError, UnicodeDecodeError) as error:
        problems.add(f"{address}.from", f"{path}:{error}{_near_in_text(str(error))}")
    return ModelConfig()


def apply_overrides(config: Any, overrides: Mapping[str, Any], address: str, problems: Problems) -> None:
    """Merge a mapping into a message, in place."""
    fields = config.DESCRIPTOR.fields_by_name
    for name, value in overrides.items():
        where = f"{address}.{name}"
        if name not in fields:
            problems.add(where, f"{config.DESCRIPTOR.name} has no such field{near(name, fields)}")
        elif value is None:
            config.ClearField(name)
        else:
            _apply_field(config, fields[name], value, where, problems)


def apply_args(config: Any, args: Mapping[str, bool | int | float | str]) -> None:
    """Arguments of the model script, as `parameters`."""
    for key, value in args.items():
        config.parameters[key].string_value = argument_text(value)


def render(config: Any) -> str:
    """Text for the assembled repository."""
    return str(text_format.MessageToString(config))


def datatype(number: int) -> str:
    """`TYPE_FP32` for 11."""
    return str(DataType.Name(number))


def near(name: str, names: Any) -> str:
    """` (did you mean X?)`, or nothing."""
    found = get_close_matches(str(name), [str(one) for one in names], n=1, cutoff=0.6)
    return f" (did you mean `{found[0]}`?)" if found else ""


def _apply_field(config: Any, field: Any, value: Any, address: str, problems: Problems) -> None:
    if _is_map(field):
        _apply_map(config, field, value, address, problems)
    elif _is_repeated(field):
        _apply_list(config, field, value, address, problems)
    elif field.message_type is not None:
        if not isinstance(value, Mapping):
            problems.add(address, f"expected a mapping of {field.message_type.name}, got {value!r}")
            return
        message = getattr(config, field.name)
        message.SetInParent()
        apply_overrides(message, value, address, problems)
    else:
        _apply_scalar(config, field, value, address, problems)


def _apply_map(config: Any, field: Any, value: Any, address: str, problems: Problems) -> None:
    if not isinstance(value, Mapping):
        problems.add(address, f"expected a mapping, got {value!r}")
        return
    entries = getattr(config, field.name)
    value_type = field.message_type.fields_by_name["value"].message_type
    named = field.message_type.fields_by_name["key"].type == FieldDescriptor.TYPE_STRING
    for name, item in value.items():
        where = f"{address}.{name}"
        if not named and not str(name).isdecimal():
            problems.add(where, f"expected a whole number as key, got {name!r}")
            continue
        key = str(name) if named else int(name)
        if item is None:
            entries.pop(key, None)
        elif value_type is None:
            _parse(config, {field.name: {str(key): item}}, where, problems)
        elif isinstance(item, Mapping):
            apply_overrides(entries[key], item, where, problems)
        else:
            problems.add(where, f"expected a mapping of {value_type.name}, got {item!r}")


def _apply_list(config: Any, field: Any, value: Any, address: str, problems: Problems) -> None:
    if isinstance(value, Mapping):
        _patch_list(config, field, value, address, problems)
        return
    if not isinstance(value, list | tuple):
        problems.add(address, f"expected a list, got {value!r}")
        return
    config.ClearField(field.name)
    if field.message_type is None:
        for index, item in enumerate(value):
            _apply_scalar(config, field, item, f"{address}.{index}", problems)
        return
    for index, item in enumerate(value):
        if isinstance(item, Mapping):
            apply_overrides(getattr(config, field.name).add(), item, f"{address}.{index}", problems)
        else:
            problems.add(f"{address}.{index}", f"expected a mapping of {field.message_type.name}, got {item!r}")


def _patch_list(config: Any, field: Any, patches: Mapping[Any, Any], address: str, problems: Problems) -> None:
    """Change single elements; the index after the last one appends."""
    elements = getattr(config, field.name)
    for key, item in patches.items():
        where = f"{address}.{key}"
        if not str(key).isdecimal() or int(key) > len(elements):
            problems.add(where, f"expected an index from 0 to {len(elements)}")
        elif field.message_type is None or not isinstance(item, Mapping):
            problems.add(where, "only elements that are mappings can be changed singly; give the whole list")
        else:
            element = elements[int(key)] if int(key) < len(elements) else elements.add()
            apply_overrides(element, item, where, problems)


def _apply_scalar(config: Any, field: Any, value: Any, address: str, problems: Problems) -> None:
    names = field.enum_type.values_by_name if field.enum_type else None
    if names is not None and isinstance(value, str) and value not in names:
        problems.add(address, f"{value!r} is none of {', '.join(names)}{near(value, names)}")
        return
    _parse(config, {field.name: [value] if _is_repeated(field) else value}, address, problems)


def _parse(config: Any, content: dict[str, Any], address: str, problems: Problems) -> None:
    """Let protobuf's own JSON mapping check and convert; repeated fields are appended to."""
    try:
        json_format.ParseDict(content, config)
    except json_format.ParseError as error:
        problems.add(address, str(error).partition(": ")[2] or str(error))


def _is_repeated(field: Any) -> bool:
    return bool(field.is_repeated) if hasattr(field, "is_repeated") else field.label == FieldDescriptor.LABEL_REPEATED


def _is_map(field: Any) -> bool:
    return bool(field.message_type is not None and field.message_type.GetOptions().map_entry)


def _near_in_text(message: str) -> str:
    """Nearest field for protobuf's `Message type "inference.X" has no field named "y".`"""
    parts = message.split('"')
    if "has no field named" not in message or len(parts) < 4:
        return ""
    descriptor = ModelConfig.DESCRIPTOR
    wanted = parts[1].rpartition(".")[2]
    types = {descriptor.name: descriptor, **{found.name: found for found in _message_types(descriptor, set())}}
    return near(parts[3], types[wanted].fields_by_name) if wanted in types else ""


def _message_types(descriptor: Any, seen: set[str]) -> list[Any]:
    """All message types below one."""
    found: list[Any] = []
    for field in descriptor.fields:
        inner = field.message_type
        if inner is not None and inner.full_name not in seen:
            seen.add(inner.full_name)
            found += [inner, *_message_types(inner, seen)]
    return found
