"""What every part of the schema is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Discriminator, Field
from pydantic_core import PydanticCustomError

NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]*$"
IDENTIFIER = r"^[A-Za-z_][A-Za-z0-9_-]*$"
OPTION = r"^--[a-z][a-z0-9-]*$"
VARIABLE = r"^[A-Z_][A-Z0-9_]*$"
PERCENTILE = r"^p[0-9]{1,2}(\.[0-9]+)?$"
SHA256 = r"^[0-9a-f]{64}$"
HOST = r"^(\[[0-9A-Fa-f:.]+\]|[^\s:/]+)(:[0-9]{1,5})?$"
HOST_PORT = r"^(\[[0-9A-Fa-f:.]+\]|[^\s:/]+):[0-9]{1,5}$"
HTTP_URL = r"^https?://[^\s/]+"
PROGRAM = r"^(/.*[^/]|[^/\s]+)$"

Name = Annotated[str, Field(pattern=NAME, max_length=64)]
Identifier = Annotated[str, Field(pattern=IDENTIFIER, max_length=64)]
Scalar = bool | int | float | str
Percentile = Annotated[str, Field(pattern=PERCENTILE)]
Sha256 = Annotated[str, Field(pattern=SHA256)]


Bound = TypeVar("Bound", int, float)


class Strict(BaseModel):
    """Frozen, closed to unknown keys, with keys spelt as in the file (`from` is an alias in Python).

    The sentence below a field is its description in the JSON Schema and the reference; `schema_export` reads it from
    the source, because asking pydantic to do so at import costs a fifth of the time to report a mistake.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True, defer_build=True)


def number_or(other: str) -> Discriminator:
    """Of a union of a whole number (tag `number`) and something with a unit (tag `other`): one error, not two."""
    return Discriminator(lambda value: "number" if isinstance(value, int) else other)


def refuse(field: str | int, problem: str, hint: str | None = None) -> PydanticCustomError:
    """A mistake in one field that only shows beside another one; the loader points at that field."""
    return PydanticCustomError("scenario", "{problem}", {"problem": problem, "field": field, "hint": hint})


def check_order(low: Bound | None, high: Bound | None, field: str) -> None:
    """Refuse a range that ends before it begins."""
    if low is not None and high is not None and low > high:
        raise refuse(field, f"expected at least the lower end {low:g}, got {high:g}")


def check_powers(first: int, last: int, field: str) -> None:
    """Refuse powers of two that do not begin with one, or end before they begin."""
    if first < 1 or first & (first - 1):
        raise refuse(field, f"expected a power of two as the first value, got {first}")
    check_order(first, last, field)


def key_tag(tags: Mapping[type[Strict], str]) -> Callable[[Any], str | None]:
    """For a union of a list and of maps that are told apart by a key: which member a value is.

    `tags`: model -> `prefix:key`; a list is `prefix:list`.
    """
    prefix = next(iter(tags.values())).partition(":")[0]

    def tag(value: Any) -> str | None:
        if isinstance(value, list | tuple):
            return f"{prefix}:list"
        if isinstance(value, dict):
            return next((tag for tag in tags.values() if tag.removeprefix(f"{prefix}:") in value), None)
        return next((tag for model, tag in tags.items() if isinstance(value, model)), None)

    return tag


def check_bounds(value: Bound, low: Bound | None, high: Bound | None) -> None:
    """Refuse a `default` outside `min` and `max`."""
    check_order(low, high, "max")
    if low is not None and value < low:
        raise refuse("default", f"expected at least {low}, got {value}")
    if high is not None and value > high:
        raise refuse("default", f"expected at most {high}, got {value}")
