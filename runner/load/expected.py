"""Expected answers from files: item n of an output belongs to item n of the inputs, and is batched as they are."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from runner.errors import ServiceError
from runner.load.files import expected_from_directory, from_files, resolve
from runner.load.inputs import data_paths
from runner.load.items import ExpectedTensor, Items, Model, Tensor
from runner.load.payloads import compose
from runner.load.references import References
from runner.scenario.schema import DataInput, Workload

MAX_ITEM_BYTES = 512 * 2**20


class AnswerEncoder(Protocol):
    """What is needed of a service: see `runner.services.base.Service`."""

    def encode_answer(self, model: str, outputs: Mapping[str, npt.NDArray[np.generic]]) -> bytes: ...


def references_for(
    service: AnswerEncoder,
    model: Model,
    workload: Workload,
    artifacts: Mapping[str, Path],
    items: Sequence[Items],
    count: int,
) -> References:
    """The references of a workload's `count` payloads, which were made of these items.

    Raises:
        ServiceError: expected outputs that the model does not have, that do not fit it, or that belong to other items.
    """
    asked = workload.validate_
    if asked is None or asked.expect == "recorded":
        return References()
    outputs = _fitting(_found(model, workload, artifacts), items)
    composed = islice(compose(_Outputs(model), outputs, workload.batch), count)
    return References(answers=tuple(service.encode_answer(model.name, tensors) for tensors, _ in composed))


@dataclass(frozen=True)
class _Outputs:
    """A model seen from its other end."""

    model: Model

    @property
    def name(self) -> str:
        return self.model.name

    @property
    def max_batch_size(self) -> int:
        return self.model.max_batch_size

    @property
    def inputs(self) -> Sequence[Tensor]:
        return self.model.outputs

    @property
    def outputs(self) -> Sequence[Tensor]:
        return self.model.inputs


def _found(model: Model, workload: Workload, artifacts: Mapping[str, Path]) -> tuple[Items, ...]:
    if workload.validate_ is not None and workload.validate_.expect == "files":
        return tuple(_from_files(model, workload, artifacts))
    paths = [resolve(each, artifacts, Path(), "workload.data") for each in data_paths(workload.data)]
    found = _beside_data(paths, model)
    if not found:
        raise ServiceError(
            "workload.validate.expect: workload.data holds no outputs of the model",
            hint=f"add {', '.join(tensor.name for tensor in model.outputs)}, or write `expect: recorded`",
        )
    return tuple(found.values())


def _from_files(model: Model, workload: Workload, artifacts: Mapping[str, Path]) -> Iterable[Items]:
    assert workload.validate_ is not None
    known = {tensor.name: tensor for tensor in model.outputs}
    for name, source in workload.validate_.outputs.items():
        where = f"workload.validate.outputs.{name}"
        if name not in known:
            raise ServiceError(
                f"{where}: model {model.name!r} has no output of this name", hint=f"it has {', '.join(known)}"
            )
        tensor = ExpectedTensor(name, known[name].datatype, known[name].shape)
        wanted = DataInput(from_=source.from_, format=source.format, key=source.key)
        yield from_files(tensor, wanted, resolve(source.from_, artifacts, Path(), f"{where}.from"), MAX_ITEM_BYTES)


def _beside_data(paths: Sequence[Path], model: Model) -> Mapping[str, Items]:
    path = paths[0]
    if path.is_dir():
        return expected_from_directory(path, model)
    if path.suffix.lower() == ".npz":
        return _from_npz(path, model)
    from runner.load.json_data import expected_from_json

    return expected_from_json(paths, model)


def _from_npz(path: Path, model: Model) -> dict[str, Items]:
    from runner.load.arrays import items_of, names_in, read_array

    found: dict[str, Items] = {}
    names = set(names_in(path))
    for tensor in (tensor for tensor in model.outputs if tensor.name in names):
        name = tensor.name
        arrays = items_of(read_array(path, name, tensor), tensor, f"workload.data: {path}: {name}")
        found[name] = Items(name, tensor.datatype, tuple(arrays), f"{path} ({name})", len(arrays))
    return found


def _fitting(outputs: Sequence[Items], inputs: Sequence[Items]) -> tuple[Items, ...]:
    """As many items as there are different ones among the inputs: only then item n belongs to item n."""
    shuffled = [items.tensor for items in inputs if items.shuffle_seed is not None]
    if shuffled:
        raise ServiceError(
            f"workload.input.{shuffled[0]}.pick: expected outputs belong to items in the order of their files, but "
            "these are shuffled",
            hint="write `workload.order: shuffle`, which deals whole requests",
        )
    available = math.lcm(*(items.available for items in inputs)) if inputs else 1
    period = math.lcm(*(len(items.arrays) for items in inputs)) if inputs else 1
    for items in outputs:
        if len(items.arrays) != available or (period != available and len({len(i.arrays) for i in inputs}) > 1):
            raise ServiceError(
                f"workload.validate: {items.source} holds {len(items.arrays)} items of {items.tensor}, but the inputs "
                f"make {available} different ones",
                hint="give as many expected items as input items: item n belongs to item n of every input",
            )
    return tuple(
        Items(items.tensor, items.datatype, items.arrays[:period], items.source, items.available) for items in outputs
    )
