"""What builders say when they fail, and what to do about it."""

from __future__ import annotations

import re

from runner.errors import SetupError

_CAUSES: tuple[tuple[str, str, str], ...] = (
    (
        r"Serialized Engine Version|[Vv]ersion tag does not match|not compatible with this version of TensorRT|"
        r"stdVersionRead == |cannot be loaded by TensorRT|deserializeCudaEngine|Engine deserialization failed",
        "the engine cannot be loaded: it was built by another TensorRT than the one that runs it",
        "build in the image that serves: remove the step's `image`, or set `version_compatible: true`",
    ),
    (
        r"OutOfMemory|out of memory|Insufficient memory|cudaErrorMemoryAllocation|insufficient workspace",
        "the GPU ran out of memory",
        "stop what else uses the GPU, lower `profile.max`, or set `workspace`, for example to 2GiB",
    ),
    (
        r"ended by SIGKILL|std::bad_alloc",
        "the machine ran out of memory, most likely: the kernel ended the builder",
        "raise `launch.memory`, lower `builder_level`, or build on a machine with more memory",
    ),
    (
        r"No importer registered for op: *(\S+)|[Uu]nsupported operator:? *(\S+)|[Pp]lugin not found|"
        r"UNSUPPORTED_NODE",
        "the ONNX model has an operator that this TensorRT does not know",
        "name its library under `plugins`, export the model with other operators, or serve with a newer image",
    ),
    (
        r"optimization profile has not been defined|dynamic or shape inputs?,? but no optimization profile|"
        r"no optimization profile has been defined|is not in range of|out of the optimization profile",
        "a dynamic dimension is missing in the profile",
        "write the shapes of every dynamic input under `profile`",
    ),
    (
        r"no CUDA-capable device|CUDA initialization failure|CUDA driver version is insufficient|libcuda\.so",
        "no usable GPU in the container",
        "set `launch.gpus` of the target, and check the NVIDIA Container Toolkit and the driver's version",
    ),
    (
        r"Unknown option: *(\S+)",
        "this trtexec does not know one of its options",
        "write `driver: python`, or serve with another image",
    ),
)
"""Pattern in the output -> cause, what to do; the first that is found counts."""

_OWN = re.compile(
    r"^build_engine: (?!trtexec was ended|trtexec ended|the builder gave up|cu[A-Z])(.+)(?:\n(.+))?$", re.MULTILINE
)
"""What the script itself knows: one line, and perhaps one with what to do."""


def explained(error: SetupError, output: str) -> SetupError:
    """The error with its cause in front, where the output shows a known one; its own words stay."""
    own = _OWN.search(output)
    if own:
        return _with(error, own[1], own[2] or error.hint)
    for pattern, cause, hint in _CAUSES:
        if re.search(pattern, output):
            return _with(error, cause, hint)
    return error


def _with(error: SetupError, cause: str, hint: str | None) -> SetupError:
    address, _, rest = error.message.partition(": ")
    return SetupError(f"{address}: {cause}\n  {rest}", hint=f"{hint}; {error.hint}" if hint != error.hint else hint)
