"""Items from files and folders: raw bytes, arrays, lines of text, images."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from runner.errors import ServiceError
from runner.load.items import Array, Items, Model, Tensor, address_of, elements, from_raw, shape_for
from runner.scenario.schema_inputs import DataInput, Decode

_SETUP_REFERENCE = re.compile(r"\$\{setup\.([A-Za-z_][\w-]*)\}(?:/(.*))?")
_ARRAYS = (".npy", ".npz")


def resolve(source: str, artifacts: Mapping[str, Path], base: Path, where: str) -> Path:
    """The path that a text means: an artifact, a path below one, or a path relative to `base`.

    Raises:
        ServiceError: there is no such artifact or path; `where` is the address of the text.
    """
    reference = _SETUP_REFERENCE.fullmatch(source)
    if reference is None:
        path = base / Path(source).expanduser()
    elif reference[1] in artifacts:
        path = artifacts[reference[1]] / (reference[2] or "")
    else:
        raise ServiceError(
            f"{where}: setup made no artifact {reference[1]!r}",
            hint=f"the artifacts are {', '.join(sorted(artifacts)) or 'none'}",
        )
    if not path.exists():
        raise ServiceError(
            f"{where}: {path} does not exist",
            hint="run `scenario setup`, or correct the path (relative paths are relative to the scenario file)",
        )
    return path


def from_files(tensor: Tensor, wanted: DataInput, path: Path, max_bytes: int) -> Items:
    """Items of a file, or of every file below a folder.

    Raises:
        ServiceError: a file that cannot be read, or that does not fit the tensor.
    """
    files = _files(path, address_of(tensor))
    shuffle_seed = wanted.seed if wanted.pick == "shuffle" else None
    if shuffle_seed is not None:
        # When the limit cuts, it must not keep just the first names of the alphabet.
        random.Random(shuffle_seed).shuffle(files)
    mapped = [file for file in files if _format(wanted, file) in ("npy", "npz")]
    chosen = files if len(mapped) == len(files) else list(_within(files, max_bytes))
    arrays, size = list[Array](), 0
    for number, file in enumerate(chosen, 1):
        fresh = _items(tensor, wanted, file)
        arrays += fresh
        size += sum(array.nbytes for array in fresh)
        # Decoded images are larger than their files.
        if wanted.decode and size > max_bytes:
            chosen = chosen[:number]
            break
    available = len(arrays) + len(files) - len(chosen)
    return Items(tensor.name, tensor.datatype, tuple(arrays), str(path), available, shuffle_seed)


def from_directory(folder: Path, model: Model) -> dict[str, Items]:
    """One item from a folder with a file for each input, named like it: perf_analyzer's directory mode.

    Raises:
        ServiceError: a file that is no input or output of the model, or whose size is not that of one item.
    """
    return _named_files(folder, model, model.inputs)


def expected_from_directory(folder: Path, model: Model) -> dict[str, Items]:
    """As `from_directory`, of the files named like outputs."""
    return _named_files(folder, model, model.outputs)


def _named_files(folder: Path, model: Model, tensors: Sequence[Tensor]) -> dict[str, Items]:
    wanted = {tensor.name: tensor for tensor in tensors}
    inputs = {tensor.name for tensor in model.inputs}
    found = {file.name: file for file in sorted(folder.iterdir()) if not file.name.startswith(".")}
    unknown = [name for name in found if name not in inputs and name not in {t.name for t in model.outputs}]
    if unknown:
        raise ServiceError(
            f"workload.data: {folder} has {', '.join(unknown)}, but model {model.name!r} has no such tensor",
            hint=f"each file is named like an input: {', '.join(inputs)}",
        )
    return {
        name: Items(name, wanted[name].datatype, (_whole_file(wanted[name], file),), str(file), 1)
        for name, file in found.items()
        if name in wanted
    }


def _whole_file(tensor: Tensor, file: Path) -> Array:
    data = _read(tensor, file)
    if tensor.datatype != "BYTES":
        return from_raw(tensor, data, f"workload.data: {file}")
    lines = _lines(data)
    shape = shape_for(tensor.shape, len(lines))
    if shape is None:
        raise ServiceError(
            f"workload.data: {file} has {len(lines)} lines, but one item of {tensor.name} is {list(tensor.shape)}",
            hint="write one element per line",
        )
    return elements(lines).reshape(shape)


def _files(path: Path, address: str) -> list[Path]:
    """The file itself, or every file below the folder in sorted order, hidden ones left out."""
    if path.is_file():
        return [path]
    found = (entry for entry in path.rglob("*") if entry.is_file())
    visible = [e for e in found if not any(part.startswith(".") for part in e.relative_to(path).parts)]
    if not visible:
        raise ServiceError(f"{address}.from: {path} holds no files", hint="each file in it is one item")
    return sorted(visible)


def _within(files: Sequence[Path], max_bytes: int) -> Iterator[Path]:
    """The first files that fit the limit together, at least one."""
    total = 0
    for file in files:
        total += file.stat().st_size
        if total > max_bytes and file is not files[0]:
            return
        yield file


def _format(wanted: DataInput, file: Path) -> str:
    if wanted.format is not None:
        return wanted.format
    if wanted.decode is not None:
        return "image"
    return file.suffix[1:].lower() if file.suffix.lower() in _ARRAYS else "raw"


def _items(tensor: Tensor, wanted: DataInput, file: Path) -> list[Array]:
    match _format(wanted, file):
        case "npy" | "npz":
            from runner.load.arrays import items_of, read_array

            array = read_array(file, wanted.key, tensor)
            return items_of(array, tensor, f"{address_of(tensor)}: {file}")
        case "image":
            from runner.load.images import decode_image

            return [decode_image(file, wanted.decode or Decode(), tensor)]
        case "lines":
            return _from_lines(tensor, file)
    return [_raw(tensor, file)]


def _read(tensor: Tensor, file: Path) -> bytes:
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ServiceError(
            f"{address_of(tensor)}: cannot read {file}: {error.strerror}",
            hint="every file of the folder is sent: mend or remove it",
        ) from error
    if not data:
        raise ServiceError(f"{address_of(tensor)}: {file} is empty", hint="remove it, or make it anew")
    return data


def _raw(tensor: Tensor, file: Path) -> Array:
    data = _read(tensor, file)
    if tensor.datatype != "BYTES":
        return from_raw(tensor, data, f"{address_of(tensor)}: {file}")
    if any(size not in (-1, 1) for size in tensor.shape):
        raise ServiceError(
            f"{address_of(tensor)}: a file is one element, but the model wants {list(tensor.shape)} per item",
            hint="write `format: lines` for one element per line, or use a `.npy` file",
        )
    return elements([data]).reshape((1,) * len(tensor.shape))


def _lines(data: bytes) -> list[bytes]:
    """Lines without their ends; the last one may lack its own."""
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return [line.removesuffix(b"\r") for line in lines]


def _from_lines(tensor: Tensor, file: Path) -> list[Array]:
    """As many lines as an item has elements make an item; an open dimension counts as 1."""
    where = f"{address_of(tensor)}: {file}"
    if tensor.datatype != "BYTES":
        raise ServiceError(
            f"{where}: lines are elements of BYTES, but the model takes {tensor.datatype}",
            hint="use a `.npy` file, or `format: raw`",
        )
    lines = _lines(_read(tensor, file))
    shape = tuple(1 if size == -1 else size for size in tensor.shape)
    size = math.prod(shape)
    if not lines or len(lines) % size:
        raise ServiceError(
            f"{where} has {len(lines)} lines, which do not make whole items of {list(shape)}",
            hint=f"each item takes {size} lines",
        )
    return [elements(lines[at : at + size]).reshape(shape) for at in range(0, len(lines), size)]
