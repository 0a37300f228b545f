"""Small things that every protocol's client says about names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from runner.errors import ServiceError
from runner.services.base import ModelMetadata
from runner.units import whole_number


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """A guess at what was meant."""
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean {nearest[0]!r}?" if nearest else f"no name like {name!r} is known"


def version_order(version: str) -> tuple[bool, int, str]:
    """Sort key: numbers as numbers, after words."""
    number = whole_number(version)
    return (number is not None, number or 0, version)


_UNKNOWN_MODEL = re.compile(r"unknown model|requested model '.*' is not (available|found)")


def is_unknown_model(said: str) -> bool:
    """Whether a server's refusal means that it has no such model."""
    return _UNKNOWN_MODEL.search(said) is not None


def nearest_model(model: str, models: Callable[[], Sequence[str]]) -> str:
    """What to do about a model that a server does not have; asks it for those that it has."""
    try:
        names = models()
    except ServiceError:
        return "check workload.model against the server's repository"
    return did_you_mean(model, list(names)) + f" (the server has: {', '.join(names) or 'no models'})"


def tracing(model: str, changes: object) -> str:
    """What was to be done with trace settings."""
    whose = f"model {model!r}" if model else "all models"
    return f"{'change' if changes else 'read'} the trace settings of {whose}"


def datatypes_of(metadata: ModelMetadata, inputs: Iterable[str]) -> dict[str, str]:
    """Datatype of each input that the model has.

    Raises:
        ServiceError: one of `inputs` is not among them.
    """
    datatypes = {tensor.name: tensor.datatype for tensor in metadata.inputs}
    for name in inputs:
        if name not in datatypes:
            raise ServiceError(
                f"model {metadata.name!r} has no input {name!r}; it has {', '.join(datatypes)}",
                hint=did_you_mean(name, list(datatypes)),
            )
    return datatypes


@contextmanager
def input_of(model: str, name: str) -> Iterator[None]:
    """What is wrong with an array is said as that of this input.

    Raises:
        ServiceError: a ValueError within.
    """
    try:
        yield
    except ValueError as error:
        raise ServiceError(f"input {name!r} of model {model!r}: {error}") from error
