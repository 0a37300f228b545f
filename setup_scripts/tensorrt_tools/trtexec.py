"""TensorRT through `trtexec`: where it is, which options it knows, and the command that builds or runs an engine."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import subprocess
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensorrt_tools.spec import BuildSpec, ToolError, Version

PLACES = ("trtexec", "/usr/src/tensorrt/bin/trtexec")
"""On PATH, then where the vendor's images have it."""
_BANNER = re.compile(r"\[TensorRT v(\d+)\]")
_OPTION = re.compile(r"--[A-Za-z][A-Za-z0-9]*")
_LEVELS = {"ampere_plus": "ampere+", "same_compute_capability": "sameComputeCapability"}
_OPTIONAL = {
    "--profilingVerbosity": "the layer information will say less",
    "--exportLayerInfo": "no layer information is written",
    "--timingCacheFile": "no timing cache is used",
    "--skipInference": "the engine is run once after it is built",
}
"""Options without which the same engine is built, and what is lost with them."""
_INSTEAD = {"--skipInference": "--buildOnly", "--memPoolSize": "--workspace", "--staticPlugins": "--plugins"}
"""What older versions call them."""


@dataclass(frozen=True)
class Trtexec:
    """The executable, what it calls itself, and what it knows."""

    path: str
    version: Version
    options: frozenset[str]


def find() -> str | None:
    """Path of the executable, or None."""
    return next((found for place in PLACES if (found := shutil.which(place))), None)


def probe(path: str) -> Trtexec:
    """Ask it once what it is."""
    answer = subprocess.run([path, "--help"], capture_output=True, text=True, errors="replace", check=False)
    text = answer.stdout + answer.stderr
    banner = _BANNER.search(text)
    if not banner:
        raise ToolError(f"{path} --help does not say its TensorRT version (it ended with {answer.returncode})")
    return Trtexec(path, Version.from_number(int(banner[1])), frozenset(_OPTION.findall(text)))


def build_command(tool: Trtexec, spec: BuildSpec) -> tuple[list[str], list[str]]:
    """The command, and a note for each option that this version does without.

    Raises:
        ToolError: this version cannot do what is asked.
    """
    command, notes = [tool.path, f"--onnx={spec.onnx}", f"--saveEngine={spec.output}"], []
    for option, value in _wanted(tool, spec):
        found = option if option in tool.options else _INSTEAD.get(option, option)
        if found in tool.options:
            command.append(f"{found}={_renamed(found, value)}" if value is not None else found)
        elif option in _OPTIONAL:
            notes.append(f"this trtexec has no {option}: {_OPTIONAL[option]}")
        else:
            raise ToolError(f"trtexec of TensorRT {tool.version.text} has no {option}\n{_advice(option)}")
    return command, notes


def _wanted(tool: Trtexec, spec: BuildSpec) -> list[tuple[str, str | None]]:
    """Options and their values, in the order of the command."""
    wanted: list[tuple[str, str | None]] = []
    for number, shapes in enumerate(spec.profiles):
        # Shapes behind a number are of that profile; old versions know one profile and no numbers.
        wanted += [("--profile", str(number))] if len(spec.profiles) > 1 else []
        for index, bound in enumerate(("min", "opt", "max")):
            wanted.append((f"--{bound}Shapes", _shapes_text({name: each[index] for name, each in shapes.items()})))
    flags = {"--noTF32": spec.precision == "fp32", "--stronglyTyped": spec.strongly_typed(tool.version)}
    flags |= {f"--{name}": True for name in spec.weak_flags(tool.version)}
    flags |= {"--versionCompatible": spec.version_compatible, "--skipInference": True}
    wanted += [(option, None) for option, on in flags.items() if on]
    values = {
        "--builderOptimizationLevel": spec.builder_level,
        "--memPoolSize": spec.workspace_mib and f"workspace:{spec.workspace_mib}M",
        "--timingCacheFile": spec.timing_cache,
        "--hardwareCompatibilityLevel": _LEVELS.get(spec.hardware_compatibility),
        "--sparsity": "enable" if spec.sparse else None,
        "--profilingVerbosity": spec.layers and "detailed",
        "--exportLayerInfo": spec.layers,
    }
    wanted += [(option, str(value)) for option, value in values.items() if value is not None]
    return wanted + [("--staticPlugins", str(plugin)) for plugin in spec.plugins]


def run_command(tool: Trtexec, engine: Path, plugins: Sequence[Path], request: Any, answer: Path) -> list[str]:
    """One inference of an engine that is there."""
    shapes = {name: tensor["shape"] for name, tensor in request.items()}
    loads = ",".join(f"{name}:{tensor['file']}" for name, tensor in request.items())
    plugin = "--staticPlugins" if "--staticPlugins" in tool.options else "--plugins"
    timing = ("--iterations=1", "--warmUp=0", "--duration=0")
    return [
        tool.path, f"--loadEngine={engine}", *(f"{plugin}={path}" for path in plugins),
        f"--shapes={_shapes_text(shapes)}", f"--loadInputs={loads}", f"--exportOutput={answer}", *timing,
    ]  # fmt: skip


def outputs_of(answer: Path, folder: Path, prefix: str) -> dict[str, Any]:
    """The values that trtexec exported as JSON, as float32 files."""
    found: dict[str, Any] = {}
    for tensor in json.loads(answer.read_text()):
        file = f"{prefix}-{len(found)}.bin"
        (folder / file).write_bytes(array("f", tensor["values"]).tobytes())
        shape = [int(size) for size in str(tensor["dimensions"]).split("x")]
        found[tensor["name"]] = {"file": file, "dtype": "float32", "shape": shape}
    return found


def execute(command: Sequence[str]) -> None:
    """Run to the end; its output is ours.

    Raises:
        ToolError: it failed, with the name of the signal where one ended it.
    """
    print(f"$ {shlex.join(command)}", flush=True)
    status = subprocess.run(command, check=False).returncode
    if status < 0:
        raise ToolError(f"trtexec was ended by {signal.Signals(-status).name}")
    if status:
        raise ToolError(f"trtexec ended with status {status}")


def _shapes_text(shapes: dict[str, list[int]]) -> str:
    """`INPUT:1x3x224x224,SCALE:1x1`, names with a colon quoted as trtexec wants them."""
    return ",".join(f"{_quoted(name)}:{'x'.join(map(str, shape)) or '1'}" for name, shape in shapes.items())


def _quoted(name: str) -> str:
    return f"'{name}'" if ":" in name or "," in name else name


def _renamed(option: str, value: str) -> str:
    """`--workspace` of old versions takes MiB alone."""
    return value.removeprefix("workspace:").removesuffix("M") if option == "--workspace" else value


def _advice(option: str) -> str:
    setting = {
        "--builderOptimizationLevel": "builder_level", "--hardwareCompatibilityLevel": "hardware_compatibility",
        "--versionCompatible": "version_compatible", "--sparsity": "sparse", "--memPoolSize": "workspace",
    }.get(option)  # fmt: skip
    return f"remove `{setting}`, or use a newer image" if setting else "write `driver: python`, or use a newer image"
