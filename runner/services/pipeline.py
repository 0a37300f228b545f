"""The order in which an ensemble's data passes through its steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class EnsembleStep:
    """One call of a model inside an ensemble; tensors by their names in the ensemble."""

    model: str
    reads: frozenset[str]
    writes: frozenset[str]


def in_data_order(steps: Sequence[EnsembleStep]) -> list[EnsembleStep]:
    """Steps so that each comes after those it reads from; otherwise as they are listed.

    A configuration may list its steps in any order: the tensor names alone decide what runs first.
    """
    waiting, ordered = list(steps), list[EnsembleStep]()
    while waiting:
        pending = [step.writes for step in waiting]
        ready = (step for step in waiting if not any(step.reads & writes for writes in pending))
        chosen = next(ready, waiting[0])
        waiting.remove(chosen)
        ordered.append(chosen)
    return ordered


def composing_models(model: str, steps_of: Callable[[str], Sequence[EnsembleStep]]) -> tuple[str, ...]:
    """The models that an ensemble ends up calling, nested ensembles resolved, each once; empty for a plain model."""
    return tuple(dict.fromkeys(_leaves(model, steps_of)))


def _leaves(model: str, steps_of: Callable[[str], Sequence[EnsembleStep]]) -> Iterable[str]:
    for step in in_data_order(steps_of(model)):
        nested = tuple(_leaves(step.model, steps_of))
        yield from nested or (step.model,)
