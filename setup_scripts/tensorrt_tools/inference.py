"""Runs an engine through the Python bindings on inputs from files; numpy is not needed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tensorrt_tools.cuda import Cuda
from tensorrt_tools.spec import ToolError

_DTYPES = {
    "FLOAT": ("float32", 4), "HALF": ("float16", 2), "INT8": ("int8", 1), "UINT8": ("uint8", 1),
    "INT32": ("int32", 4), "INT64": ("int64", 8), "BOOL": ("bool", 1),
}  # fmt: skip
"""Member of `DataType` -> name in numpy, bytes."""
NOT_LOADED = (
    "the engine cannot be loaded by TensorRT {version}\nit was built by another version or for another GPU; "
    "build it in the image that serves it"
)


class Runner:
    """An engine on the first visible GPU."""

    def __init__(self, trt: Any, engine: Path, plugins: tuple[Path, ...], cuda: Cuda) -> None:
        cuda.open()
        self._trt, self._cuda = trt, cuda
        logger = trt.Logger(trt.Logger.WARNING)
        trt.init_libnvinfer_plugins(logger, "")
        for plugin in plugins:
            trt.get_plugin_registry().load_library(str(plugin))
        self._engine = trt.Runtime(logger).deserialize_cuda_engine(engine.read_bytes())
        if self._engine is None:
            raise ToolError(NOT_LOADED.format(version=trt.__version__))
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise ToolError("no execution context: the GPU is out of memory")

    def run(self, request: dict[str, Any], folder: Path, prefix: str) -> dict[str, Any]:
        """One inference; outputs go into files of the folder."""
        pointers: list[int] = []
        try:
            for name, tensor in request.items():
                self._set_input(name, tensor, pointers)
            results = [(name, self._allocate_output(name, pointers)) for name in self._outputs()]
            if not self._context.execute_async_v3(0):
                raise ToolError("the engine refused to run: its last lines say why")
            self._cuda.wait()
            return {
                name: self._fetch(name, pointer, folder / f"{prefix}-{index}.bin")
                for index, (name, pointer) in enumerate(results)
            }
        finally:
            for pointer in pointers:
                self._cuda.free(pointer)

    def _set_input(self, name: str, tensor: dict[str, Any], pointers: list[int]) -> None:
        content = Path(tensor["file"]).read_bytes()
        pointers.append(self._cuda.allocate(len(content)))
        self._cuda.upload(pointers[-1], content)
        if not self._context.set_input_shape(name, tuple(tensor["shape"])):
            raise ToolError(f"no profile of the engine takes {name} of shape {tensor['shape']}")
        self._context.set_tensor_address(name, pointers[-1])

    def _allocate_output(self, name: str, pointers: list[int]) -> int:
        pointers.append(self._cuda.allocate(self._bytes_of(name)))
        self._context.set_tensor_address(name, pointers[-1])
        return pointers[-1]

    def _fetch(self, name: str, pointer: int, file: Path) -> dict[str, Any]:
        file.write_bytes(self._cuda.download(pointer, self._bytes_of(name)))
        return {"file": file.name, "dtype": self._dtype(name)[0], "shape": list(self._context.get_tensor_shape(name))}

    def _bytes_of(self, name: str) -> int:
        return int(math.prod(self._context.get_tensor_shape(name))) * self._dtype(name)[1]

    def _dtype(self, name: str) -> tuple[str, int]:
        member = str(self._engine.get_tensor_dtype(name)).rpartition(".")[2]
        if member not in _DTYPES:
            raise ToolError(f"outputs of type {member} are not compared")
        return _DTYPES[member]

    def _outputs(self) -> Iterator[str]:
        for index in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(index)
            if self._engine.get_tensor_mode(name) == self._trt.TensorIOMode.OUTPUT:
                yield name
