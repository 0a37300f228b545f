"""Stands in for the Python bindings of TensorRT, as much of them as a builder uses; see `stand_in.py`."""

from __future__ import annotations

import ctypes
import enum
import sys
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).parents[2]))
import stand_in  # noqa: E402

__version__ = stand_in.VERSION
TensorIOMode = enum.Enum("TensorIOMode", "INPUT OUTPUT")
DataType = enum.Enum("DataType", "FLOAT HALF INT8")
LayerInformationFormat = enum.Enum("LayerInformationFormat", "ONELINE JSON")
MemoryPoolType = enum.Enum("MemoryPoolType", "WORKSPACE")
ProfilingVerbosity = enum.Enum("ProfilingVerbosity", "NONE DETAILED")
HardwareCompatibilityLevel = enum.Enum("HardwareCompatibilityLevel", "NONE AMPERE_PLUS SAME_COMPUTE_CAPABILITY")
BuilderFlag = enum.Enum("BuilderFlag", "TF32 SPARSE_WEIGHTS VERSION_COMPATIBLE" + (" FP16 INT8" if stand_in.MAJOR < 11 else ""))
NetworkDefinitionCreationFlag = enum.IntEnum("NetworkDefinitionCreationFlag", "STRONGLY_TYPED", start=1)


class Logger:
    INFO, WARNING = 3, 2

    def __init__(self, level: int) -> None:
        self.level = level


def init_libnvinfer_plugins(logger: Logger, namespace: str) -> None:
    pass


class Builder:
    def __init__(self, logger: Logger) -> None:
        pass

    def create_network(self, flags: int) -> SimpleNamespace:
        return SimpleNamespace(flags=flags, onnx=b"")

    def create_builder_config(self) -> Config:
        return Config()

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, network: SimpleNamespace, config: Config) -> bytes:
        print("flags", network.flags, sorted(flag.name for flag in config.flags), "profiles", config.profiles)
        if config.cache:
            config.cache.content += b"timed\n"
        return stand_in.build(network.onnx)


class Profile(dict):
    def set_shape(self, name: str, low: list[int], best: list[int], high: list[int]) -> None:
        self[name] = (low, best, high)


class Config:
    def __init__(self) -> None:
        self.flags, self.profiles, self.cache = {BuilderFlag.TF32}, [], None

    def set_flag(self, flag: BuilderFlag) -> None:
        self.flags.add(flag)

    def clear_flag(self, flag: BuilderFlag) -> None:
        self.flags.discard(flag)

    def set_memory_pool_limit(self, pool: MemoryPoolType, size: int) -> None:
        assert size > 0

    def add_optimization_profile(self, profile: Profile) -> None:
        self.profiles.append(dict(profile))

    def create_timing_cache(self, content: bytes) -> SimpleNamespace:
        cache = SimpleNamespace(content=content)
        cache.serialize = lambda: cache.content
        return cache

    def set_timing_cache(self, cache: SimpleNamespace, ignore_mismatch: bool) -> None:
        self.cache = cache


class OnnxParser:
    num_errors = 0

    def __init__(self, network: SimpleNamespace, logger: Logger) -> None:
        self.network = network

    def parse_from_file(self, path: str) -> bool:
        self.network.onnx = Path(path).read_bytes()
        return True


class Runtime:
    def __init__(self, logger: Logger) -> None:
        pass

    def deserialize_cuda_engine(self, engine: bytes) -> Engine | None:
        session = stand_in.load(engine)
        return Engine(session) if session else None


class Engine:
    def __init__(self, session) -> None:
        self.session = session
        self.inputs = [each.name for each in session.get_inputs()]
        self.outputs = [each.name for each in session.get_outputs()]
        self.num_io_tensors = len(self.inputs) + len(self.outputs)

    def create_engine_inspector(self) -> SimpleNamespace:
        return SimpleNamespace(get_engine_information=lambda format: '{"Layers": ["stand-in"]}')

    def create_execution_context(self) -> Context:
        return Context(self)

    def get_tensor_name(self, index: int) -> str:
        return [*self.inputs, *self.outputs][index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self.inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType.FLOAT


class Context:
    def __init__(self, engine: Engine) -> None:
        self.engine, self.shapes, self.addresses = engine, {}, {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self.shapes[name] = shape
        return True

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = address

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        (output,) = (each for each in self.engine.session.get_outputs() if each.name == name)
        batch = next(iter(self.shapes.values()))[0]
        return tuple(size if isinstance(size, int) else batch for size in output.shape)

    def execute_async_v3(self, stream: int) -> bool:
        import numpy as np

        feeds = {}
        for name, shape in self.shapes.items():
            content = ctypes.string_at(self.addresses[name], int(np.prod(shape)) * 4)
            feeds[name] = np.frombuffer(content, np.float32).reshape(shape)
        for name, value in stand_in.infer(self.engine.session, feeds).items():
            content = np.ascontiguousarray(value, np.float32).tobytes()
            ctypes.memmove(self.addresses[name], content, len(content))
        return True
