"""A model with bfloat16 inside, and its twin that shows on any processor what that costs.

ONNX Runtime has no bfloat16 convolutions on the CPU. The twin computes in float32 and rounds what each operator of the
converted model would leave to bfloat16: sums in float32 and results in bfloat16 are what tensor cores do, too. An
engine fuses operators and then rounds less often.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np

OPSET = 22
"""The first in which convolutions and poolings may be bfloat16."""
_EXACT = "/exact"
_ROUNDED = "/bf16"


class Bf16Error(Exception):
    """A reason, in one line, why the model cannot have bfloat16 inside."""


def to_bf16(model: Any) -> Any:
    """The model with bfloat16 inside; inputs, outputs and operators that know no bfloat16 stay float32.

    Raises:
        Bf16Error: its operators cannot be expressed in the opset that has bfloat16, or it has float16 already.
    """
    from onnx import TensorProto
    from onnxruntime.transformers import float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    model = _upgraded(model)
    exact = {key: _array(tensor) for key, tensor in _tensors(model.graph) if tensor.data_type == TensorProto.FLOAT}
    if any(tensor.data_type == TensorProto.FLOAT16 for _, tensor in _tensors(model.graph)):
        raise Bf16Error("the model has float16 weights already: convert the float32 model")
    blocked = [*float16.DEFAULT_OP_BLOCK_LIST, *_without_bf16(model)]
    with warnings.catch_warnings():
        # About values that float16 cannot hold, which bfloat16 can: they are taken from the original below.
        warnings.simplefilter("ignore")
        converted = float16.convert_float_to_float16(model, keep_io_types=True, op_block_list=blocked)
    for key, tensor in _tensors(converted.graph):
        if tensor.data_type == TensorProto.FLOAT16:
            _fill(tensor, exact.get(key, _array(tensor)))
    _retype(converted.graph, TensorProto.FLOAT16, TensorProto.BFLOAT16)
    OnnxModel.graph_topological_sort(converted.graph, is_deterministic=True)
    return converted


def twin_of(model: Any) -> Any:
    """The converted model in float32, every bfloat16 result rounded as bfloat16."""
    import onnx
    from onnx import TensorProto

    twin = onnx.shape_inference.infer_shapes(model)
    for _, tensor in _tensors(twin.graph):
        if tensor.data_type == TensorProto.BFLOAT16:
            tensor.CopyFrom(onnx.numpy_helper.from_array(_array(tensor), tensor.name))
    for graph in _graphs(twin.graph):
        _round_results(graph)
    _retype(twin.graph, TensorProto.BFLOAT16, TensorProto.FLOAT, keep=_ROUNDED)
    return twin


def rounded(values: Any) -> Any:
    """float32 -> the bits of the nearest bfloat16, ties to even, as uint16."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    near = (bits + np.uint32(0x7FFF) + ((bits >> 16) & 1)) >> 16
    return np.where(np.isnan(values), np.uint32(0x7FC0), near).astype(np.uint16)


def _upgraded(model: Any) -> Any:
    import onnx

    own = next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), 0)
    if own >= OPSET:
        return model
    try:
        return onnx.version_converter.convert_version(model, OPSET)
    except Exception as error:  # whatever the converter's C++ raises
        reason = str(error).strip().splitlines()[0]
        raise Bf16Error(
            f"bf16 needs opset {OPSET}, and this model of opset {own} cannot be brought there ({reason}): "
            f"export it with opset {OPSET}"
        ) from error


def _without_bf16(model: Any) -> set[str]:
    """Operators of the model that take float32 but no bfloat16."""
    import onnx

    found = set()
    for graph in _graphs(model.graph):
        for node in graph.node:
            if node.domain in ("", "ai.onnx"):
                constraints = onnx.defs.get_schema(node.op_type, OPSET).type_constraints
                types = [set(each.allowed_type_strs) for each in constraints]
                if any("tensor(float)" in each and "tensor(bfloat16)" not in each for each in types):
                    found.add(node.op_type)
            else:
                found.add(node.op_type)
    return found


def _round_results(graph: Any) -> None:
    """Behind each operator with a bfloat16 result: there and back again."""
    from onnx import TensorProto, helper

    known = (*graph.value_info, *graph.output)
    narrow = {each.name for each in known if each.type.tensor_type.elem_type == TensorProto.BFLOAT16}
    nodes = list(graph.node)
    del graph.node[:]
    for node in nodes:
        graph.node.append(node)
        own = graph.node[-1]
        for index, name in enumerate(node.output):
            if name in narrow:
                own.output[index] = name + _EXACT
                graph.node.append(helper.make_node("Cast", [name + _EXACT], [name + _ROUNDED], to=TensorProto.BFLOAT16))
                graph.node.append(helper.make_node("Cast", [name + _ROUNDED], [name], to=TensorProto.FLOAT))


def _retype(graph: Any, old: int, new: int, keep: str | None = None) -> None:
    """Another type for declared tensors and for casts, but those whose result is called `…keep`."""
    for each in _graphs(graph):
        for declared in (*each.value_info, *each.input, *each.output):
            if declared.type.tensor_type.elem_type == old:
                declared.type.tensor_type.elem_type = new
        for node in each.node:
            for attribute in node.attribute:
                if attribute.name in ("to", "dtype") and attribute.i == old:
                    attribute.i = new if keep is None or not node.output[0].endswith(keep) else old


def _graphs(graph: Any) -> Iterator[Any]:
    """The graph and those inside its operators."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                yield from _graphs(inner)


def _tensors(graph: Any) -> Iterator[tuple[tuple[str, str], Any]]:
    """Weights and constants, each with a key that a conversion leaves as it is."""
    for each in _graphs(graph):
        for weight in each.initializer:
            yield (weight.name, ""), weight
        for node in each.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    yield (node.output[0], attribute.name), attribute.t


def _array(tensor: Any) -> Any:
    """Values as float32 where the type is a floating one."""
    import onnx
    from onnx import TensorProto

    if tensor.data_type == TensorProto.BFLOAT16:
        bits = np.frombuffer(tensor.raw_data, np.uint16).astype(np.uint32) << 16
        return bits.view(np.float32).reshape(tuple(tensor.dims))
    found = onnx.numpy_helper.to_array(tensor)
    return found.astype(np.float32) if found.dtype == np.float16 else found


def _fill(tensor: Any, values: Any) -> None:
    from onnx import TensorProto, helper

    raw = rounded(values).tobytes()
    tensor.CopyFrom(helper.make_tensor(tensor.name, TensorProto.BFLOAT16, list(values.shape), raw, raw=True))
