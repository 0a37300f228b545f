"""A stand-in for Triton's Python backend: model scripts in this very process, and requests for them."""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest


class Tensor:
    """A named array."""

    def __init__(self, name: str, array: np.ndarray[Any, Any]) -> None:
        self._name, self._array = name, array

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> np.ndarray[Any, Any]:
        return self._array


class Response:
    """Arrays by name, or an error."""

    def __init__(self, output_tensors: list[Tensor] | None = None, error: Exception | None = None) -> None:
        self.outputs = {tensor.name(): tensor.as_numpy() for tensor in output_tensors or []}
        self.error = error


def request(**tensors: np.ndarray[Any, Any]) -> dict[str, Tensor]:
    return {name: Tensor(name, array) for name, array in tensors.items()}


def padded(*images: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """One batch of images of different lengths, as a client sends it: the shorter ones end in zeros."""
    longest = max(map(len, images))
    return np.stack([np.pad(image, (0, longest - len(image))) for image in images])


def initialised(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The model of a folder with `config.pbtxt` and `1/model.py`, initialised as the server would."""
    from google.protobuf import json_format, text_format
    from tritonclient.grpc.model_config_pb2 import ModelConfig

    stand_in = types.SimpleNamespace(
        Tensor=Tensor,
        InferenceResponse=Response,
        TritonError=type("TritonError", (Exception,), {}),
        TritonModelException=type("TritonModelException", (Exception,), {}),
        get_input_tensor_by_name=lambda request, name: request.get(name),
    )
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", stand_in)  # type: ignore[arg-type]
    config = text_format.Parse((folder / "config.pbtxt").read_text(), ModelConfig())
    content = json_format.MessageToDict(
        config, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    spec = importlib.util.spec_from_file_location(f"model_{folder.name}", folder / "1" / "model.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.TritonPythonModel()
    model.initialize({"model_config": json.dumps(content), "model_repository": str(folder), "model_version": "1"})
    return model
