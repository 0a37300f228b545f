"""Input tensors: from what the scenario says and what the model declares to items, one array each."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from runner.errors import ServiceError
from runner.load.files import from_directory, from_files, resolve
from runner.load.generated import generated
from runner.load.items import Array, Items, Model, ShapedTensor, Tensor
from runner.load.shapes import fits
from runner.scenario.schema import Workload
from runner.scenario.schema_inputs import DataInput, Generate, GeneratedInput

__all__ = ["Array", "Items", "Model", "Tensor", "build_items"]

MAX_ITEM_BYTES = 512 * 2**20
"""Read no more than this of one input's files."""


def build_items(
    inputs: Mapping[str, DataInput | GeneratedInput],
    model: Model,
    artifacts: Mapping[str, Path],
    *,
    data: str | Sequence[str] | None = None,
    fed: Mapping[str, Items] | None = None,
    shapes: Mapping[str, tuple[int, ...]] = {},
    unnamed: Generate = Generate(),  # noqa: B008  # frozen
    base: Path = Path(),
    max_bytes: int = MAX_ITEM_BYTES,
) -> tuple[Items, ...]:
    """Items for every input of the model; those that the scenario does not name are generated as `unnamed` says.

    `artifacts` says where each setup step's output is, for `${setup.step}`; other paths are relative to `base`. `data`
    feeds several inputs together, `fed` is what was read of it already. `shapes` are for items that say none.

    Raises:
        ServiceError: an input that the model does not have, data that do not fit it, or files that cannot be read.
    """
    _refuse_unknown(inputs, model)
    model = _shaped(model, shapes)
    if fed is None:
        fed = _fed([resolve(each, artifacts, base, "workload.data") for each in data_paths(data)], model)
    for name in inputs:
        if name in fed:
            raise ServiceError(
                f"workload.input.{name}: workload.data holds values of {name}, too", hint="keep one of the two"
            )
    return tuple(
        fed.get(tensor.name)
        or _items(tensor, inputs.get(tensor.name) or _made_up(tensor, unnamed), artifacts, base, max_bytes)
        for tensor in model.inputs
        if tensor.name in inputs or tensor.name in fed or not tensor.optional
    )


def workload_items(
    workload: Workload, model: Model, artifacts: Mapping[str, Path], fed: Mapping[str, Items] | None = None
) -> tuple[Items, ...]:
    """As `build_items`, for a workload whose paths are absolute."""
    return build_items(
        workload.input,
        model,
        artifacts,
        data=workload.data,
        fed=fed,
        shapes=workload.shape,
        unnamed=workload.generate,
    )


def fed_together(workload: Workload, model: Model) -> Mapping[str, Items]:
    """Items of the inputs whose values `workload.data` holds; its paths are absolute.

    Raises:
        ServiceError: as `build_items`.
    """
    return _fed([Path(each) for each in data_paths(workload.data)], _shaped(model, workload.shape))


def data_paths(data: str | Sequence[str] | None) -> tuple[str, ...]:
    """`workload.data` as a row of paths."""
    if data is None:
        return ()
    return (data,) if isinstance(data, str) else tuple(data)


@dataclass(frozen=True)
class _Shaped:
    """A model with sizes for the open dimensions of its inputs."""

    name: str
    max_batch_size: int
    inputs: Sequence[Tensor]
    outputs: Sequence[Tensor]


def _shaped(model: Model, shapes: Mapping[str, tuple[int, ...]]) -> Model:
    if not shapes:
        return model
    _refuse_unknown(shapes, model, "workload.shape")
    inputs = [_with_shape(tensor, shapes[tensor.name]) if tensor.name in shapes else tensor for tensor in model.inputs]
    return _Shaped(model.name, model.max_batch_size, inputs, model.outputs)


def _with_shape(tensor: Tensor, shape: tuple[int, ...]) -> ShapedTensor:
    if not fits(tensor.shape, shape):
        raise ServiceError(
            f"workload.shape.{tensor.name}: {list(shape)} does not fit the model's {list(tensor.shape)}",
            hint="give one item's shape, without the batch dimension; -1 in the model's shape stands for any size",
        )
    return ShapedTensor(tensor.name, tensor.datatype, tensor.shape, tensor.optional, shape)


def _fed(paths: Sequence[Path], model: Model) -> dict[str, Items]:
    """Items of the inputs that these paths feed together."""
    if not paths:
        return {}
    path = paths[0]
    if len(paths) > 1 and any(each.suffix.lower() != ".json" or each.is_dir() for each in paths):
        raise ServiceError(
            f"workload.data: expected one path, or .json files, got {', '.join(map(str, paths))}",
            hint="only perf_analyzer's JSON may be several files",
        )
    if path.is_dir():
        return from_directory(path, model)
    if path.suffix.lower() == ".npz":
        return _from_npz(path, model)
    if path.suffix.lower() == ".json":
        from runner.load.json_data import items_from_json

        return items_from_json(paths, model)
    raise ServiceError(
        f"workload.data: {path} is neither a folder nor a .json or .npz file",
        hint="give a file for one tensor as `from` under workload.input",
    )


def _from_npz(path: Path, model: Model) -> dict[str, Items]:
    """Arrays named like inputs; those named like outputs are what to expect, see `expected.py`."""
    from runner.load.arrays import items_of, names_in, read_array

    tensors = {tensor.name: tensor for tensor in model.inputs}
    outputs = {tensor.name for tensor in model.outputs}
    found: dict[str, Items] = {}
    for name in (name for name in names_in(path) if name in tensors or name not in outputs):
        if name not in tensors:
            raise ServiceError(
                f"workload.data: {path}: model {model.name!r} has no input {name!r}",
                hint=f"its arrays are named like the inputs: {', '.join(tensors)}",
            )
        arrays = items_of(read_array(path, name, tensors[name]), tensors[name], f"workload.data: {path}: {name}")
        found[name] = Items(name, tensors[name].datatype, tuple(arrays), f"{path} ({name})", len(arrays))
    if len({len(items.arrays) for items in found.values()}) > 1:
        counts = ", ".join(f"{name} {len(items.arrays)}" for name, items in found.items())
        raise ServiceError(
            f"workload.data: {path}: its arrays hold different numbers of items: {counts}",
            hint="item n of each array goes into the same request",
        )
    return found


def _refuse_unknown(inputs: Mapping[str, object], model: Model, where: str = "workload.input") -> None:
    known = [tensor.name for tensor in model.inputs]
    for name in inputs:
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
            guess = f"did you mean {nearest[0]!r}? " if nearest else ""
            described = ", ".join(f"{t.name} ({t.datatype} {list(t.shape)})" for t in model.inputs)
            raise ServiceError(
                f"{where}.{name}: model {model.name!r} has no input of this name",
                hint=f"{guess}its inputs are {described}",
            )


def _items(
    tensor: Tensor,
    wanted: DataInput | GeneratedInput,
    artifacts: Mapping[str, Path],
    base: Path,
    max_bytes: int,
) -> Items:
    if isinstance(wanted, DataInput):
        path = resolve(wanted.from_, artifacts, base, f"workload.input.{tensor.name}.from")
        return from_files(tensor, wanted, path, max_bytes)
    return generated(tensor, wanted)


def _made_up(tensor: Tensor, unnamed: Generate) -> GeneratedInput:
    """How an input that nobody describes is generated."""
    if tensor.datatype != "BYTES" or unnamed.values == "zero":
        return GeneratedInput(generate=unnamed.values)
    length = unnamed.text_length
    return GeneratedInput(generate="random", range=None if length is None else (length, length), text=unnamed.text)
