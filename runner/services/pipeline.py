"""The models behind a called one, in the order in which data pass through them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from runner.results.records import ModelFacts
from runner.services.base import ModelMetadata, Service


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


def models_behind(model: str, steps_of: Callable[[str], Sequence[EnsembleStep]]) -> tuple[str, ...]:
    """As `composing_models`, with the nested ensembles themselves."""
    inner = [step.model for step in steps_of(model)]
    return tuple(dict.fromkeys([*inner, *(each for name in inner for each in models_behind(name, steps_of))]))


def _leaves(model: str, steps_of: Callable[[str], Sequence[EnsembleStep]]) -> Iterable[str]:
    for step in in_data_order(steps_of(model)):
        nested = tuple(_leaves(step.model, steps_of))
        yield from nested or (step.model,)


@dataclass(frozen=True)
class Pipeline:
    """Whose statistics belong to a point."""

    models: tuple[str, ...]
    """The called model, then its composing models in pipeline order."""
    bls: tuple[str, ...] = ()
    """Models that code of the pipeline calls; no server says so, the scenario has to."""
    facts: tuple[ModelFacts, ...] = ()


def read_pipeline(service: Service, called: ModelMetadata, bls: Sequence[str] = ()) -> Pipeline:
    """Ask the server about every model that a call of `called` runs; named ensembles count as their models.

    Raises:
        ServiceError: a named model is unknown.
    """
    models = (called.name, *called.composing_models)
    known = {called.name: called, **{name: service.metadata(name) for name in (*called.composing_models, *bls)}}
    inner = [name for named in bls for name in (known[named].composing_models or (named,))]
    inside = tuple(name for name in dict.fromkeys(inner) if name not in models)
    known |= {name: service.metadata(name) for name in inside if name not in known}
    facts = (known[name].facts for name in (*models, *inside))
    return Pipeline(models, inside, tuple(each for each in facts if each is not None))
