"""TensorRT through its Python bindings: a plan of settings, made without TensorRT, and the calls that follow it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tensorrt_tools.spec import BuildSpec, ToolError, Version

_EXPLICIT_BATCH = 1
"""Bit of `create_network` that TensorRT 8 needs; later versions know nothing else."""


@dataclass(frozen=True)
class Plan:
    """What is asked of the builder, in the words of its Python API."""

    network_flags: tuple[str, ...]
    """Members of `NetworkDefinitionCreationFlag`."""
    set_flags: tuple[str, ...]
    """Members of `BuilderFlag`."""
    clear_flags: tuple[str, ...]
    workspace_bytes: int | None
    builder_optimization_level: int | None
    hardware_compatibility_level: str | None
    profiles: tuple[dict[str, Any], ...]
    plugins: tuple[str, ...]
    timing_cache: bool

    def text(self) -> str:
        """One setting a line."""
        return "\n".join(f"{key} = {value}" for key, value in asdict(self).items())


def plan_of(spec: BuildSpec, version: Version) -> Plan:
    """What a version of TensorRT has to be told."""
    wanted = {
        **{name.upper(): True for name in spec.weak_flags(version)},
        "TF32": spec.precision != "fp32",
        "SPARSE_WEIGHTS": spec.sparse,
        "VERSION_COMPATIBLE": spec.version_compatible,
    }
    network = ("EXPLICIT_BATCH",) if version.major < 10 else ()
    level = spec.hardware_compatibility.upper()
    return Plan(
        network_flags=network + (("STRONGLY_TYPED",) if spec.strongly_typed(version) else ()),
        set_flags=tuple(name for name, on in wanted.items() if on),
        clear_flags=("TF32",) if spec.precision == "fp32" else (),
        workspace_bytes=spec.workspace_mib and spec.workspace_mib << 20,
        builder_optimization_level=spec.builder_level,
        hardware_compatibility_level=None if level == "NONE" else level,
        profiles=tuple(dict(each) for each in spec.profiles),
        plugins=tuple(map(str, spec.plugins)),
        timing_cache=spec.timing_cache is not None,
    )


def build(trt: Any, spec: BuildSpec) -> None:
    """Write the engine, what became of its layers, and the timing cache.

    Raises:
        ToolError: this TensorRT cannot do what is asked, or its builder gave up; its log has the reason.
    """
    version = Version.from_text(trt.__version__)
    plan = plan_of(spec, version)
    print(plan.text(), flush=True)
    logger = trt.Logger(trt.Logger.INFO)
    _load_plugins(trt, logger, plan.plugins)
    builder = trt.Builder(logger)
    network = builder.create_network(_network_flags(trt, plan))
    _parse(trt, logger, network, spec.onnx)
    config = builder.create_builder_config()
    cache = _configure(trt, builder, config, plan, spec)
    serialized = builder.build_serialized_network(network, config)
    if serialized is None:
        raise ToolError("the builder gave up: its last lines say why")
    spec.output.write_bytes(bytes(serialized))
    if cache is not None and spec.timing_cache:
        spec.timing_cache.write_bytes(bytes(cache.serialize()))
    if spec.layers:
        spec.layers.write_text(_layers(trt, logger, serialized))


def _network_flags(trt: Any, plan: Plan) -> int:
    known = trt.NetworkDefinitionCreationFlag
    bits = 0
    for name in plan.network_flags:
        bits |= 1 << int(_member(known, name)) if name != "EXPLICIT_BATCH" else _EXPLICIT_BATCH
    return bits


def _parse(trt: Any, logger: Any, network: Any, onnx: Path) -> None:
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx)):
        reasons = [str(parser.get_error(index)) for index in range(parser.num_errors)]
        raise ToolError("the ONNX parser refuses the model: " + "; ".join(reasons))


def _configure(trt: Any, builder: Any, config: Any, plan: Plan, spec: BuildSpec) -> Any:
    """Lay the plan on the configuration; the timing cache, if there is to be one."""
    for name in plan.set_flags:
        config.set_flag(_member(trt.BuilderFlag, name))
    for name in plan.clear_flags:
        config.clear_flag(_member(trt.BuilderFlag, name))
    if plan.workspace_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, plan.workspace_bytes)
    if plan.builder_optimization_level is not None:
        config.builder_optimization_level = plan.builder_optimization_level
    if plan.hardware_compatibility_level is not None:
        levels = _member(trt, "HardwareCompatibilityLevel")
        config.hardware_compatibility_level = _member(levels, plan.hardware_compatibility_level)
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    for shapes in plan.profiles:
        profile = builder.create_optimization_profile()
        for name, bounds in shapes.items():
            profile.set_shape(name, *bounds)
        config.add_optimization_profile(profile)
    return _timing_cache(config, spec.timing_cache) if plan.timing_cache else None


def _timing_cache(config: Any, path: Path | None) -> Any:
    known = path.read_bytes() if path and path.exists() else b""
    cache = config.create_timing_cache(known)
    config.set_timing_cache(cache, False)
    return cache


def _load_plugins(trt: Any, logger: Any, paths: tuple[str, ...]) -> None:
    trt.init_libnvinfer_plugins(logger, "")
    for path in paths:
        trt.get_plugin_registry().load_library(path)


def _layers(trt: Any, logger: Any, serialized: Any) -> str:
    engine = trt.Runtime(logger).deserialize_cuda_engine(serialized)
    if engine is None:
        raise ToolError("the engine that was just built cannot be loaded")
    return str(engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON))


def _member(owner: Any, name: str) -> Any:
    try:
        return getattr(owner, name)
    except AttributeError:
        where = getattr(owner, "__name__", str(owner))
        raise ToolError(f"this TensorRT has no {where}.{name}\nremove the setting, or use another image") from None
