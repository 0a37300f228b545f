"""Requests of several kinds, drawn by weight: batches and shapes of one workload."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from typing import Protocol

from runner.errors import ServiceError
from runner.load.expected import AnswerEncoder, references_for
from runner.load.inputs import workload_items
from runner.load.items import Items, Model
from runner.load.payloads import MAX_MESSAGES, MAX_POOL_BYTES, Encoder, Payloads, build_payloads, joined
from runner.load.plan import Drawing
from runner.scenario.schema import Portion, Workload
from runner.scenario.schema_inputs import DataInput, GeneratedInput


class WorkloadEncoder(Encoder, AnswerEncoder, Protocol):
    """Encodes requests, and the answers that are expected."""


def workload_payloads(
    service: WorkloadEncoder,
    model: Model,
    workload: Workload,
    artifacts: Mapping[str, Path],
    fed: Mapping[str, Items] | None = None,
) -> Payloads:
    """The requests of a workload, and how they are drawn; `fed` is what was already read of `workload.data`.

    Raises:
        ServiceError: inputs or batches that do not fit the model.
    """
    if not workload.mix:
        items = workload_items(workload, model, artifacts, fed)
        pool = build_payloads(service, model, items, workload.batch)
        references = references_for(service, model, workload, artifacts, items, len(pool.messages))
        streams = _streams(items, len(pool.messages)) if workload.sequences is not None else ()
        return replace(pool, drawing=Drawing(order=workload.order, data_streams=streams), references=references)
    return _mixed(service, model, workload, artifacts)


def _streams(items: Sequence[Items], messages: int) -> tuple[int, ...]:
    """Lengths of the data's streams as the messages hold them: again and again, where other inputs have more items.

    Raises:
        ServiceError: not even the first stream fits into the pool.
    """
    lengths = next((each.streams for each in items if each.streams), ())
    found, used = list[int](), 0
    for length in cycle(lengths):
        if used + length > messages:
            break
        found.append(length)
        used += length
    if lengths and not found:
        raise ServiceError(
            f"workload.data: the first stream has {lengths[0]} steps, but only {messages} requests fit into memory",
            hint="give shorter streams, or smaller tensors",
        )
    return tuple(found)


def _mixed(service: Encoder, model: Model, workload: Workload, artifacts: Mapping[str, Path]) -> Payloads:
    pools = [_portion(service, model, workload, number, artifacts) for number in range(len(workload.mix))]
    weights, items = list[float](), list[int]()
    for portion, pool in zip(workload.mix, pools, strict=True):
        # The requests of one kind share its weight.
        weights += [portion.weight / len(pool.messages)] * len(pool.messages)
        items += [pool.items_per_request] * len(pool.messages)
    drawing = Drawing(order="weighted", payload_items=tuple(items), payload_weights=tuple(weights))
    return replace(joined(pools), drawing=drawing, mix=_described(workload))


def _portion(
    service: Encoder, model: Model, workload: Workload, number: int, artifacts: Mapping[str, Path]
) -> Payloads:
    portion = workload.mix[number]
    inputs = _inputs(workload.input, portion, model, f"workload.mix[{number}]")
    items = workload_items(workload.model_copy(update={"input": inputs}), model, artifacts)
    count = len(workload.mix)
    return build_payloads(
        service,
        model,
        items,
        portion.batch or workload.batch,
        max_bytes=MAX_POOL_BYTES // count,
        max_messages=max(MAX_MESSAGES // count, 1),
    )


def _inputs(
    inputs: Mapping[str, DataInput | GeneratedInput], portion: Portion, model: Model, where: str
) -> dict[str, DataInput | GeneratedInput]:
    """The workload's inputs with the portion's shapes."""
    changed = dict(inputs)
    known = [tensor.name for tensor in model.inputs]
    for name, shape in portion.shape.items():
        given = inputs.get(name, GeneratedInput(generate="random"))
        if isinstance(given, DataInput) or name not in known:
            why = "is fed from files, which have shapes of their own" if name in known else "is no input of the model"
            raise ServiceError(f"{where}.shape.{name}: {name} {why}", hint="shapes are for generated inputs")
        changed[name] = given.model_copy(update={"shape": shape})
    return changed


def _described(workload: Workload) -> str:
    def words(portion: Portion) -> Sequence[str]:
        shapes = (f"{name} {list(shape)}" for name, shape in portion.shape.items())
        return [f"{portion.weight:g} × batch {portion.batch or workload.batch}", *shapes]

    return "; ".join(" ".join(words(portion)) for portion in workload.mix)
