#!/usr/bin/env python3
"""Build a TensorRT engine from an ONNX model, in the image that will serve it; or say what is there, or run one.

Needs TensorRT, as `trtexec` or as Python bindings, and a GPU; nothing else but the standard library. Models are
expected to say their precision themselves: `--precision` tells how the model was converted (see
`convert_precision.py`), because what the builder has to be told depends on its version.

Beside the engine lie `build.json` (versions, GPU, settings, seconds), `layers.json` (what became of the layers), and
`<output>.facts.json`, whose labels travel with every measurement.

    build_engine.py --output model.plan --onnx model.onnx --precision fp16 \\
        --profiles '[{"INPUT": [[1,3,224,224], [8,3,224,224], [32,3,224,224]]}]'
    build_engine.py --output probe.json --task probe
    build_engine.py --output outputs --task infer --engine model.plan --requests requests.json
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from tensorrt_tools import bindings, trtexec
from tensorrt_tools.cuda import Cuda
from tensorrt_tools.inference import Runner
from tensorrt_tools.spec import BuildSpec, ToolError, Version

NO_TENSORRT = (
    "no TensorRT here: there is neither `trtexec` nor the Python module `tensorrt`\n"
    "serve with an image that has TensorRT, or name one with the step's `image`"
)


class Drivers:
    """The ways to TensorRT that are there."""

    def __init__(self, wanted: str) -> None:
        path = trtexec.find() if wanted in ("auto", "trtexec") else None
        self.trtexec = trtexec.probe(path) if path else None
        self.bindings: Any = _import_tensorrt() if wanted == "python" or (wanted == "auto" and not path) else None
        if self.trtexec is None and self.bindings is None:
            missing = {"trtexec": "there is no `trtexec` here", "python": "there is no Python module `tensorrt` here"}
            raise ToolError(f"{missing[wanted]}\nwrite `driver: auto`" if wanted in missing else NO_TENSORRT)

    @property
    def name(self) -> str:
        return "trtexec" if self.trtexec else "python"

    @property
    def version(self) -> Version:
        return self.trtexec.version if self.trtexec else Version.from_text(self.bindings.__version__)


def probe(options: argparse.Namespace) -> None:
    """Write what is there: the version of TensorRT, the drivers, the GPU."""
    drivers = Drivers(options.driver)
    facts = {"tensorrt": drivers.version.text, "driver": drivers.name, "gpu": Cuda().facts()}
    write(options.output, json.dumps(facts, indent=1))
    sidecar(options.output, {}, facts)


def build(options: argparse.Namespace) -> None:
    """Write the engine and its facts."""
    drivers = Drivers(options.driver)
    started = time.monotonic()
    spec = spec_of(options)
    print(f"TensorRT {drivers.version.text}, driven by {drivers.name}", flush=True)
    if drivers.trtexec:
        command, notes = trtexec.build_command(drivers.trtexec, spec)
        print("\n".join(notes), flush=True)
        trtexec.execute(command)
    else:
        bindings.build(drivers.bindings, spec)
    if not spec.output.is_file() or not spec.output.stat().st_size:
        raise ToolError("the builder ended well but wrote no engine")
    os.replace(spec.output, options.output)
    describe(options, drivers, round(time.monotonic() - started, 3))


def describe(options: argparse.Namespace, drivers: Drivers, seconds: float) -> None:
    """`build.json` and the sidecar."""
    settings = {key: str(value) for key, value in vars(options).items() if value not in (None, [], False)}
    facts = {
        "tensorrt": drivers.version.text, "driver": drivers.name, "gpu": Cuda().facts(), "precision": options.precision,
        "bytes": options.output.stat().st_size, "seconds": seconds,
    }  # fmt: skip
    write(options.output.with_name("build.json"), json.dumps({**facts, "settings": settings}, indent=1))
    sidecar(options.output, {"precision": options.precision, "tensorrt": drivers.version.text}, facts)


def infer(options: argparse.Namespace) -> None:
    """Run an engine on every request; outputs and `outputs.json` go into the output folder."""
    drivers = Drivers(options.driver)
    requests = [_located(each, options.requests.parent) for each in json.loads(options.requests.read_text())]
    options.output.mkdir()
    if drivers.trtexec:
        answers = [_infer_trtexec(drivers.trtexec, options, each, index) for index, each in enumerate(requests)]
    else:
        runner = Runner(drivers.bindings, options.engine, tuple(options.plugin), Cuda())
        answers = [runner.run(each, options.output, str(index)) for index, each in enumerate(requests)]
    (options.output / "outputs.json").write_text(json.dumps(answers))


def _located(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Files lie beside the list that names them."""
    return {name: {**tensor, "file": str(folder / tensor["file"])} for name, tensor in request.items()}


def _infer_trtexec(tool: trtexec.Trtexec, options: argparse.Namespace, request: Any, index: int) -> dict[str, Any]:
    answer = options.output / f"{index}.json"
    trtexec.execute(trtexec.run_command(tool, options.engine, options.plugin, request, answer))
    return trtexec.outputs_of(answer, options.output, str(index))


def spec_of(options: argparse.Namespace) -> BuildSpec:
    """From the command line; the engine is written beside its place until it is whole."""
    return BuildSpec(
        onnx=options.onnx,
        output=options.output.with_name(f".{options.output.name}.part"),
        precision=options.precision,
        profiles=tuple(json.loads(options.profiles)),
        workspace_mib=options.workspace_mib,
        builder_level=options.builder_level,
        timing_cache=options.timing_cache,
        version_compatible=options.version_compatible == "true",
        hardware_compatibility=options.hardware_compatibility,
        plugins=tuple(options.plugin),
        sparse=options.sparse == "true",
        layers=options.output.with_name("layers.json"),
    )


def sidecar(output: Path, labels: dict[str, str], facts: dict[str, Any]) -> None:
    write(output.with_name(f"{output.name}.facts.json"), json.dumps({"labels": labels, "facts": facts}, indent=1))


def write(path: Path, text: str) -> None:
    """Whole or not at all."""
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text + "\n")
    os.replace(temporary, path)


def _import_tensorrt() -> Any:
    try:
        return importlib.import_module("tensorrt")
    except ImportError as error:
        print(f"import tensorrt: {error}", flush=True)
        return None


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--output", type=Path, required=True, help="engine, probe file, or folder of outputs to write")
    add("--task", choices=("build", "probe", "infer"), default="build")
    add("--driver", choices=("auto", "trtexec", "python"), default="auto", help="default: trtexec where it is")
    add("--onnx", type=Path, help="model to build from")
    add("--precision", choices=("fp32", "tf32", "fp16", "bf16", "int8"), default="tf32", help="default: tf32")
    add("--profiles", default="[]", metavar="JSON", help="[{INPUT: [min, opt, max]}, …], shapes with the batch")
    add("--workspace-mib", type=int, help="default: all memory of the GPU")
    add("--builder-level", type=int, choices=range(6), help="default: TensorRT's own")
    add("--timing-cache", type=Path, help="file that is read if it is there, and written")
    add("--version-compatible", choices=("true", "false"), default="false")
    levels = ("none", "ampere_plus", "same_compute_capability")
    add("--hardware-compatibility", choices=levels, default="none", help="default: none")
    add("--plugin", type=Path, action="append", default=[], help="shared library; may be given several times")
    add("--sparse", choices=("true", "false"), default="false")
    add("--engine", type=Path, help="engine to run")
    add("--requests", type=Path, help="JSON: [{INPUT: {file, shape}}, …]")
    options = parser.parse_args(argv)
    needs = {"build": ("onnx",), "infer": ("engine", "requests"), "probe": ()}[options.task]
    for name in needs:
        if getattr(options, name) is None:
            parser.error(f"--task {options.task} needs --{name}")
    return options


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    try:
        {"build": build, "probe": probe, "infer": infer}[options.task](options)
    except (ToolError, OSError) as error:
        print(f"build_engine: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
