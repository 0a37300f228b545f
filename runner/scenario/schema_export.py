"""The schema as a JSON Schema for editors; `python -m runner.scenario.schema_export` writes it and the reference."""

from __future__ import annotations

import ast
import inspect
import json
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

from runner.scenario import (
    schema,
    schema_client,
    schema_dali,
    schema_docker,
    schema_inputs,
    schema_load,
    schema_matrix,
    schema_measure,
    schema_remote,
    schema_rig,
    schema_server,
    schema_setup,
    schema_sla,
    schema_steps,
    schema_targets,
    schema_telemetry,
    schema_tensorrt,
    schema_trace,
    schema_tune,
    schema_workload,
)
from runner.scenario.reference import reference_of
from runner.scenario.schema_walk import fields_of, members

_MODULES = (
    schema,
    schema_inputs,
    schema_workload,
    schema_targets,
    schema_docker,
    schema_rig,
    schema_server,
    schema_steps,
    schema_remote,
    schema_setup,
    schema_tensorrt,
    schema_dali,
    schema_client,
    schema_load,
    schema_sla,
    schema_matrix,
    schema_measure,
    schema_telemetry,
    schema_trace,
    schema_tune,
)
_REFERENCE: dict[str, Any] = {
    "type": "string",
    "pattern": r"\$\{",
    "description": "A reference such as ${vars.max_batch}.",
}


@cache
def field_descriptions() -> dict[str, dict[str, str]]:
    """Class -> field -> the sentence below it in the source."""
    found: dict[str, dict[str, str]] = {}
    for module in _MODULES:
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.ClassDef):
                found[node.name] = dict(_sentences(node))
    return found


def _sentences(node: ast.ClassDef) -> Iterator[tuple[str, str]]:
    for field, sentence in zip(node.body, node.body[1:], strict=False):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        if isinstance(sentence, ast.Expr) and isinstance(sentence.value, ast.Constant):
            yield field.target.id, inspect.cleandoc(str(sentence.value.value))


def description_of(model: type[BaseModel], name: str) -> str:
    """The sentence of a field, which may stand in a base class."""
    for each in model.__mro__:
        sentence = field_descriptions().get(each.__name__, {}).get(name)
        if sentence is not None:
            return sentence
    raise KeyError(f"{model.__name__}.{name} has no description")


def json_schema() -> dict[str, Any]:
    """JSON Schema, draft 2020-12, of scenario files."""
    generated = schema.Scenario.model_json_schema()
    definitions = generated.pop("$defs")
    models = {model.__name__: model for model in _models(schema.Scenario)}
    for name, definition in {**definitions, "Scenario": generated}.items():
        if name in models:
            _describe(definition, models[name])
    root = _open_to_references({**generated, "$defs": definitions})
    root["$defs"]["Reference"] = _REFERENCE
    needed = root.pop("required")
    # A file that extends another one says of a model only what it changes; the loader sees the whole.
    del root["$defs"]["ModelSource"]["required"]
    (variable,) = root["properties"]["vars"]["patternProperties"].values()
    variable["anyOf"].append(
        {"type": ["boolean", "number", "string"], "description": "The value of a variable of a base file."}
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Scenario",
        **{key: value for key, value in root.items() if key != "title"},
        "anyOf": [{"required": needed}, {"required": ["extends"]}],
    }


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Every model that can be reached from a type."""
    for each in members(annotation):
        if isinstance(each, type) and issubclass(each, BaseModel):
            yield each
            for field in fields_of(each).values():
                yield from _models(field.annotation)
        else:
            for argument in get_args(each):
                yield from _models(argument)


def _describe(definition: dict[str, Any], model: type[BaseModel]) -> None:
    for key, field in definition.get("properties", {}).items():
        name = next(name for name, each in model.model_fields.items() if (each.alias or name) == key)
        field.pop("title", None)
        field["description"] = description_of(model, name)


def _open_to_references(node: Any) -> Any:
    """Wherever something else than free text is wanted, `${…}` may stand; names of a map may be set to null."""
    if isinstance(node, list):
        return [_open_to_references(each) for each in node]
    if not isinstance(node, dict):
        return node
    opened = {key: _children(key, value) for key, value in node.items() if key != "discriminator"}
    if isinstance(opened.get("default"), dict):
        del opened["default"]
    for key in ("additionalProperties", "patternProperties"):
        if isinstance(opened.get(key), dict) and opened[key]:
            opened[key] = _removable(key, opened[key])
    if "patternProperties" in opened:
        opened["additionalProperties"] = False
    if not _wants_literal(opened):
        return opened
    outer = {key: opened.pop(key) for key in ("description", "default", "title") if key in opened}
    return {**outer, "anyOf": [opened, {"$ref": "#/$defs/Reference"}]}


def _children(key: str, value: Any) -> Any:
    if key in ("properties", "$defs", "patternProperties"):
        return {name: _open_to_references(each) for name, each in value.items()}
    return value if key in ("default", "examples", "propertyNames") else _open_to_references(value)


def _removable(key: str, value: dict[str, Any]) -> dict[str, Any]:
    if key == "patternProperties":
        return {pattern: {"anyOf": [each, {"type": "null"}]} for pattern, each in value.items()}
    return {"anyOf": [value, {"type": "null"}]}


def _wants_literal(node: dict[str, Any]) -> bool:
    if "const" in node:
        return False
    return node.get("type") in ("integer", "number", "boolean") or "enum" in node or "pattern" in node


def reference_markdown() -> str:
    """Every key with its type, default and description; then units, references, layers and error codes."""
    return reference_of(schema.Scenario, description_of)


def main(folder: Path) -> None:
    """Write `scenario.schema.json` and `reference.md`."""
    text = json.dumps(json_schema(), indent=2, ensure_ascii=False)
    (folder / "scenario.schema.json").write_text(text + "\n", encoding="utf-8")
    (folder / "reference.md").write_text(reference_markdown(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs"))
