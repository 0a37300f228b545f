"""The ONNX model of an engine: files outside it that belong to it, and shapes of its inputs."""

from __future__ import annotations

import mmap
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from runner.errors import SetupError
from runner.scenario.schema_tensorrt import BatchProfile, ShapeRange, TensorrtStep

_LOCATION = re.compile(rb"\x0a\x08location\x12([\x01-\x7f])")
"""StringStringEntryProto `location` of a tensor whose weights lie in another file; the byte is the name's length."""

Bounds = tuple[list[int], list[int], list[int]]


def external_files(model: Path) -> tuple[Path, ...]:
    """Files beside the model that hold weights of it. Found without the onnx package, which is slow to import."""
    if model.stat().st_size == 0:
        return ()
    with model.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        matches = _LOCATION.finditer(content)
        names = {content[match.end() : match.end() + match[1][0]] for match in matches}
    paths = (model.parent / name.decode(errors="replace") for name in sorted(names))
    return tuple(path for path in paths if path.is_file())


def profiles_of(config: TensorrtStep, inputs: Mapping[str, Any], where: str) -> list[dict[str, Bounds]]:
    """The profiles with every dimension of every input that has dynamic ones.

    `inputs` is name -> `{"shape": […]}` with texts or None for dynamic dimensions.

    Raises:
        SetupError: a dynamic dimension has no size, or a shape does not fit the model.
    """
    dynamic = {name: each["shape"] for name, each in inputs.items() if not _is_static(each["shape"])}
    if config.profile is None:
        if dynamic:
            raise _uncovered(where, *next(iter(dynamic.items())), "add `profile: {min: 1, opt: 8, max: 32}`")
        return []
    singles = config.profile if isinstance(config.profile, tuple) else (config.profile,)
    if isinstance(singles[0], BatchProfile) and not dynamic:
        raise SetupError(
            f"{where}.profile: every dimension of the model is fixed, so it takes no other batch",
            hint="remove `profile`, or export the model with a dynamic batch",
        )
    return [_single(each, inputs, dynamic, where) for each in singles]


def sample_shapes(config: TensorrtStep) -> dict[str, Sequence[int]]:
    """Shapes of inputs as far as the scenario says them: those that the first profile is optimised for."""
    first = config.profile[0] if isinstance(config.profile, tuple) else config.profile
    return {} if first is None or isinstance(first, BatchProfile) else {name: each.opt for name, each in first.items()}


def sample_batch(profiles: Sequence[Mapping[str, Bounds]]) -> int:
    """The batch that an engine is tried with: what its first profile is optimised for."""
    return max((best[0] for _, best, _ in profiles[0].values() if best), default=1) if profiles else 1


def _single(
    profile: BatchProfile | Mapping[str, ShapeRange], inputs: Mapping[str, Any], dynamic: Mapping[str, Any], where: str
) -> dict[str, Bounds]:
    if isinstance(profile, BatchProfile):
        return {name: _batches(profile, name, shape, where) for name, shape in dynamic.items()}
    for name, bounds in profile.items():
        _check_shapes(name, bounds, inputs, where)
    for name, shape in dynamic.items():
        if name not in profile:
            raise _uncovered(where, name, shape, f"add `{name}: {{min: […], opt: […], max: […]}}`")
    return {name: (list(each.min), list(each.opt), list(each.max)) for name, each in profile.items()}


def _batches(profile: BatchProfile, name: str, shape: Sequence[Any], where: str) -> Bounds:
    if not _is_static(shape[1:]):
        raise _uncovered(where, name, shape, f"name shapes: `profile: {{{name}: {{min: […], opt: […], max: […]}}}}`", 1)
    rest = list(shape[1:])
    return tuple([batch, *rest] for batch in (profile.min, profile.opt or profile.max, profile.max))  # type: ignore[return-value]


def _check_shapes(name: str, bounds: ShapeRange, inputs: Mapping[str, Any], where: str) -> None:
    if name not in inputs:
        near = get_close_matches(name, inputs, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"inputs are: {', '.join(inputs)}"
        raise SetupError(f"{where}.profile.{name}: the model has no such input", hint=hint)
    shape = inputs[name]["shape"]
    fits = len(bounds.max) == len(shape) and all(
        not isinstance(size, int) or size == low == high
        for size, low, high in zip(shape, bounds.min, bounds.max, strict=True)
    )
    if not fits:
        raise SetupError(
            f"{where}.profile.{name}: the model's input is {_shape_text(shape)}, which these shapes do not fit",
            hint="only dimensions that have a name may differ from the model",
        )


def _uncovered(where: str, name: str, shape: Sequence[Any], hint: str, skip: int = 0) -> SetupError:
    axis = next(axis for axis, size in enumerate(shape) if axis >= skip and not isinstance(size, int))
    return SetupError(
        f"{where}.profile: dimension {axis} of input {name} {_shape_text(shape)} is dynamic, and no profile sizes it",
        hint=hint,
    )


def _is_static(shape: Sequence[Any]) -> bool:
    return all(isinstance(size, int) for size in shape)


def _shape_text(shape: Sequence[Any]) -> str:
    return f"[{', '.join(str(size) if size is not None else '?' for size in shape)}]"
