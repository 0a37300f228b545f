"""The reference of scenario files as Markdown, made from the types."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterator
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from runner.scenario.diagnostics import CODES
from runner.scenario.schema_base import Scalar
from runner.scenario.schema_walk import default_of, fields_of, members
from runner.units import DIMENSIONS

_INTRODUCTION = """\
# Scenario reference

Generated from the schema by `python -m runner.scenario.schema_export`; do not edit.
Every key, its type, its default. An unknown key is an error, with the nearest known one.
"""


Describe = Callable[[type[BaseModel], str], str]


def reference_of(model: type[BaseModel], describe: Describe) -> str:
    """Every key with its type, default and description; then units, references, layers and error codes."""
    parts = [
        _INTRODUCTION,
        *_sections("", "", model, describe),
        _UNITS.format(units=_unit_table()),
        _RULES,
        _code_table(),
    ]
    return "\n".join(parts)


def _sections(path: str, form: str, model: type[BaseModel], describe: Describe) -> Iterator[str]:
    yield _section(path, form, model, describe)
    dot = f"{path}." if path else ""
    for key, field in fields_of(model).items():
        nested = list(_nested(field.annotation))
        for suffix, each in nested:
            yield from _sections(f"{dot}{key}{suffix}", _form(each) if len(nested) > 1 else "", each, describe)


def _nested(annotation: Any) -> Iterator[tuple[str, type[BaseModel]]]:
    for each in members(annotation):
        if isinstance(each, type) and issubclass(each, BaseModel):
            yield "", each
        elif get_origin(each) is dict:
            yield from ((f".<name>{suffix}", model) for suffix, model in _nested(get_args(each)[1]))


def _form(model: type[BaseModel]) -> str:
    """What tells this member of a union from the others."""
    fields = fields_of(model)
    words = [f"`{key}: {get_args(field.annotation)[0]}`" for key, field in fields.items() if _is_word(field)]
    required = (f"`{key}`" for key, field in fields.items() if field.is_required())
    return f" with {', '.join(words) or next(required)}"


def _section(path: str, form: str, model: type[BaseModel], describe: Describe) -> str:
    heading = f"## {f'`{path}`' if path else 'The file'}{form}"
    rows = [
        f"| `{field.alias or name}` | {_type_words(field)} | {_default_words(field)} | {_one_line(sentences)} |"
        for name, field in model.model_fields.items()
        for sentences in [describe(model, name)]
    ]
    table = "\n".join(["| key | type | default | meaning |", "| --- | --- | --- | --- |", *rows])
    return f"{heading}\n\n{inspect.cleandoc(model.__doc__ or '')}\n\n{table}\n"


def _one_line(sentences: str) -> str:
    """A cell of a table ends with its line."""
    return " ".join(sentences.split())


def _is_word(field: FieldInfo) -> bool:
    return get_origin(field.annotation) is Literal and len(get_args(field.annotation)) == 1


def _type_words(field: FieldInfo) -> str:
    return f"{_words(field.annotation, field.metadata)}{_limits(field.metadata)}"


_PLAIN_WORDS = {int: "whole number", float: "number", str: "text", bool: "true or false", Any: "anything"}


def _words(annotation: Any, metadata: list[Any]) -> str:
    quantity = next((each.json_schema for each in metadata if getattr(each, "json_schema", None)), None)
    if quantity is not None:
        return f"{quantity['title'].removeprefix('a ')}, `{quantity['examples'][0]}`"
    if get_origin(annotation) is Annotated:
        inner, *rest = get_args(annotation)
        return _words(inner, rest)
    return " or ".join(dict.fromkeys(_member_words(each) for each in _annotated_members(annotation)))


def _annotated_members(annotation: Any) -> Iterator[Any]:
    """Members of a union that keep what annotates them; null goes without saying."""
    arguments = get_args(annotation)
    if get_origin(annotation) in (Annotated, Literal, dict, tuple) or not arguments:
        yield annotation
        return
    yield from (each for each in arguments if each is not NoneType)


def _member_words(annotation: Any) -> str:
    if get_origin(annotation) is Annotated:
        inner, *rest = get_args(annotation)
        return f"{_words(inner, rest)}{_limits(rest)}"
    if get_origin(annotation) is Literal:
        return " · ".join(f"`{json.dumps(each) if isinstance(each, int) else each}`" for each in get_args(annotation))
    if get_origin(annotation) is tuple:
        arguments = [each for each in get_args(annotation) if each is not ...]
        return f"{'list' if len(arguments) == 1 else 'pair'} of {_member_words(arguments[0])}"
    if get_origin(annotation) is dict:
        values = get_args(annotation)[1]
        return f"map of {'plain values' if values == Scalar else _words(values, [])}"
    if _is_map(annotation):
        return "map"
    return _PLAIN_WORDS.get(annotation, str(annotation))


def _limits(metadata: list[Any]) -> str:
    words = []
    for each in metadata:
        for attribute, sign in (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<")):
            limit = getattr(each, attribute, None)
            if limit is not None:
                words.append(f"{sign} {limit:g}")
    return f" {', '.join(words)}" if words else ""


def _default_words(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = default_of(field)
    if value in (None, "", {}, []) or (get_origin(field.annotation) is None and _is_map(field.annotation)):
        return "—"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _is_map(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _unit_table() -> str:
    rows: dict[str, list[str]] = {}
    for unit, kind in DIMENSIONS.items():
        examples = ", ".join(f"`{each}`" for each in kind.examples)
        rows.setdefault(f"{kind.name}, as {examples}", []).append(f"`{unit}`")
    lines = [f"| {words} | {' '.join(units)} |" for words, units in rows.items()]
    return "\n".join(["| quantity | units |", "| --- | --- |", *lines])


def _code_table() -> str:
    rows = [f"| {code} | {meaning} |" for code, meaning in CODES.items()]
    return "\n".join(["## Diagnostics", "", "| code | meaning |", "| --- | --- |", *rows]) + "\n"


_UNITS = """\
## Units

A bare number is refused where a unit is meaningful.

{units}
"""

_RULES = """\
## References

| reference | value |
| --- | --- |
| `${vars.name}` | a variable |
| `${env.NAME}`, `${env.NAME:-default}` | an environment variable; an empty one counts as unset |
| `${host.cpus}`, `${host.memory}` | processors that this process may use, memory of the machine |
| `${setup.step}` | the artifact of a setup step, known once the step has run |
| `${run.dir}` | the run directory |

A reference that is the whole value keeps its type; inside a text it becomes text. `$${` stands for a plain `${`.
Quote a reference inside braces: `{max: "${vars.max_batch}"}`.

## Layers

Low to high: defaults, `extends`, the file, `targets.<name>.set`, `--values FILE`, `SCENARIO__A__B=value` in the
environment, `env` of variables, `flag` of variables, `--set address=value`. `scenario explain ADDRESS` shows them.

* Files (`extends`, `--values`) merge maps key by key; everything else replaces, lists too. A value given by address
  (`targets.*.set`, `--set`, environment, axes) replaces what stands there, maps too.
* A changed `kind`, `source` or `type`, and another form of an axis or an input, starts that map afresh.
* `null` removes an entry from a map of names (a variable, target, step, model, file, argument, flag, input, axis);
  elsewhere it sets null, which gives an optional key its default meaning back.
* A plain value over a variable sets its value: `vars: {max_batch: 8}`, `--set vars.max_batch=8`.

## Addresses

`a.b.0.c`: keys and list indices with dots between them. Where keys hold dots themselves, the longest key there is gets
taken; a new entry of `matrix.axes`, `files`, `args`, `flags` or `set` takes all that remains.
In `SCENARIO__A__B` two underscores separate keys, and case and punctuation of existing keys do not matter.

## Scalars

YAML 1.2: only `true` and `false` are booleans, only `null`, `~` and nothing are null; `on`, `yes`, `12:30` and dates
are text. A number with leading zeros (`010`) is text, because tools disagree on its value. Keys may stand once in a
map; merge keys (`<<`) and tags other than `!!str` are refused. A file may have 1 MB, 100,000 values once aliases are
expanded, and 100 levels.

## Predicates

`matrix.skip` takes comparisons of numbers with units, quoted text and addresses, `+ - * /`, `and`, `or`, `not` and
brackets: `workload.batch * load.concurrency > 256`. Units are checked; nothing else can be said.
"""
