"""What an engine depends on, by name: its key in the cache, and the words of "why rebuilt"."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runner.scenario.schema_tensorrt import TensorrtStep
from runner.setup.base import Parts
from runner.setup.fingerprint import flatten

_SETTINGS = ("workspace", "builder_level", "sparse", "version_compatible", "hardware_compatibility")


def setting_parts(config: TensorrtStep) -> Parts:
    """Settings that change the engine. The driver, like the driver of the GPU, is recorded but not keyed."""
    settings = config.model_dump(mode="json", by_alias=True)
    parts = {"precision": config.precision, **flatten("profile", settings["profile"])}
    return parts | {name: str(settings[name]).lower() for name in _SETTINGS}


def target_parts(facts: Mapping[str, Any] | None, *, portable: bool) -> Parts:
    """TensorRT and GPU as the target itself reports them; `portable` engines may move to a GPU of another name."""
    if facts is None:
        return {"TensorRT": "not asked yet"}
    gpu = facts["gpu"]
    parts = {
        "TensorRT": str(facts["tensorrt"]),
        "GPU": str(gpu["name"]),
        "GPU compute capability": str(gpu["compute_capability"]),
        "GPU multiprocessors": str(gpu["multiprocessors"]),
        "GPU MIG profile": str(gpu["mig_profile"] or "none"),
    }
    return {name: text for name, text in parts.items() if not (portable and name == "GPU")}


def conversion_parts(graph: Parts) -> Parts:
    """The model itself under its own name; recipe, calibration and tools as the conversion's."""
    own = ("setup.", "file ")
    return {name if name.startswith(own) else f"conversion {name}": text for name, text in graph.items()}
