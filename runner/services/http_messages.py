"""Requests and answers of KServe over HTTP: JSON with the binary-tensor extension, or JSON alone."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from runner.services.base import SharedTensor, Tensors
from runner.services.compression import compressed
from runner.services.document import request_document
from runner.services.names import input_of
from runner.services.tensors import WIRE, to_wire

Array = npt.NDArray[np.generic]
Output = tuple[str, str, Sequence[int], bytes]
"""Name, datatype, shape, and bytes as in the binary form."""
HEAD_LENGTH = "Inference-Header-Content-Length"
_NO_JSON = ("FP16", "BF16")
"""Triton does not take these as JSON."""


@dataclass(frozen=True)
class Writer:
    """How the requests of one client are written; each is its headers and its body."""

    tensors: Literal["binary", "json"]
    outputs: Literal["binary", "json"]
    """Those of the answers."""
    compression: Literal["gzip", "deflate"] | None
    parameters: Mapping[str, bool | int | str]
    """Parameters of every request."""
    in_sequence: bool = False
    """Each leaves room for what the load engine says of its sequence."""

    def inference(self, model: str, inputs: Tensors, datatypes: Mapping[str, str]) -> tuple[dict[str, str], bytes]:
        """One inference."""
        heads, raw = list[dict[str, Any]](), list[bytes]()
        for name, array in inputs.items():
            head: dict[str, Any] = {"name": name, "shape": list(array.shape), "datatype": datatypes[name]}
            with input_of(model, name):
                wire = to_wire(array, datatypes[name])
                if self.tensors == "json":
                    head["data"] = _as_json(array, datatypes[name])
                else:
                    head["parameters"] = {"binary_data_size": len(wire)}
                    raw.append(wire)
            heads.append(head)
        parameters = dict(self.parameters)
        if self.outputs == "binary":
            parameters["binary_data_output"] = True
        return self._written({"inputs": heads}, parameters, raw if self.tensors == "binary" else None)

    def shared(
        self, inputs: Mapping[str, SharedTensor], outputs: Mapping[str, SharedTensor], datatypes: Mapping[str, str]
    ) -> tuple[dict[str, str], bytes]:
        """One inference whose tensors lie in registered regions: nothing is left but the JSON."""
        heads = [
            {"name": name, "shape": list(place.shape), "datatype": datatypes[name], "parameters": _where(place)}
            for name, place in inputs.items()
        ]
        document: dict[str, Any] = {"inputs": heads}
        if outputs:
            document["outputs"] = [{"name": name, "parameters": _where(place)} for name, place in outputs.items()]
        return self._written(document, self.parameters, None)

    def _written(
        self, document: Mapping[str, Any], parameters: Mapping[str, bool | int | str], raw: Sequence[bytes] | None
    ) -> tuple[dict[str, str], bytes]:
        """Without `raw` the JSON is all of the body."""
        json_part = request_document(document, parameters, in_sequence=self.in_sequence)
        headers = {"Content-Type": "application/json" if raw is None else "application/octet-stream"}
        if raw is not None:
            headers[HEAD_LENGTH] = str(len(json_part))
        if self.compression:
            headers["Content-Encoding"] = self.compression
        return headers, compressed(b"".join([json_part, *(raw or ())]), self.compression)


def joined(headers: Mapping[str, str], body: bytes) -> bytes:
    """The headers that differ from request to request, an empty line, and the body: what the load engine sends."""
    lines = (f"{name}: {value}\r\n" for name, value in {**headers, "Content-Length": str(len(body))}.items())
    return "".join(lines).encode() + b"\r\n" + body


def parts(message: bytes) -> tuple[dict[str, str], bytes]:
    """Headers and body of a message."""
    head, _, body = message.partition(b"\r\n\r\n")
    return dict(line.split(": ", 1) for line in head.decode().split("\r\n")), body


def outputs_of(head_length: str | None, content: bytes) -> Iterator[Output]:
    """The outputs of an answer.

    Raises:
        ValueError, KeyError, TypeError: it is no such answer.
    """
    split = len(content) if head_length is None else int(head_length)
    position = split
    for tensor in json.loads(content[:split])["outputs"]:
        name, datatype, shape = tensor["name"], tensor["datatype"], tensor["shape"]
        if "data" in tensor:
            yield name, datatype, shape, to_wire(_from_json(tensor["data"], datatype, shape), datatype)
            continue
        size = int(tensor["parameters"]["binary_data_size"])
        yield name, datatype, shape, content[position : position + size]
        position += size


def _where(place: SharedTensor) -> dict[str, Any]:
    where = {"shared_memory_region": place.region, "shared_memory_byte_size": place.nbytes}
    return where | ({"shared_memory_offset": place.offset} if place.offset else {})


def _as_json(array: Array, datatype: str) -> list[Any]:
    """The elements in row-major order.

    Raises:
        ValueError: JSON cannot carry them.
    """
    if datatype in _NO_JSON:
        raise ValueError(f"a {datatype} tensor cannot travel as JSON; use workload.tensors: binary")
    if datatype == "BYTES":
        try:
            return [e.decode() if isinstance(e, bytes) else str(e) for e in array.flatten().tolist()]
        except UnicodeDecodeError as error:
            raise ValueError("bytes that are not UTF-8 cannot travel as JSON; use workload.tensors: binary") from error
    if array.dtype.kind == "f" and not np.isfinite(array.astype(np.float64)).all():
        raise ValueError("infinities and NaN cannot travel as JSON; use workload.tensors: binary")
    return list(array.flatten().tolist())


def _from_json(data: Any, datatype: str, shape: Sequence[int]) -> Array:
    if datatype == "BYTES":
        elements = np.empty(math.prod(shape), dtype=np.object_)
        elements[:] = [str(element).encode() for element in np.array(data, dtype=np.object_).flatten()]
        return elements.reshape(tuple(shape))
    if datatype not in WIRE:
        raise ValueError(f"a {datatype} tensor in JSON")
    return np.array(data, dtype=WIRE[datatype]).reshape(tuple(shape))
