"""Stands in for TensorRT where there is no GPU: "engines" are ONNX models, which ONNX Runtime runs.

As a program it is `trtexec`. `mode` beside it, a word, makes it fail or give wrong answers; `version`, a number as
TensorRT writes it, makes it another one.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
FAILURES = {
    "gpu memory": "[E] Error[2]: [virtualMemoryBuffer.cpp::resizePhysical::145] Error Code 2: OutOfMemory (Requested "
    "size was 4294967296 bytes.)",
    "operator": "[E] [TRT] ModelImporter.cpp:949: ERROR: No importer registered for op: GridSample. Attempting to import "
    "as plugin.",
    "profile": "[E] Error[4]: [network.cpp::validate::3162] Error Code 4: Internal Error (Network has dynamic or shape "
    "inputs, but no optimization profile has been defined.)",
    "driver": "[E] CUDA initialization failure with error: 35. CUDA driver version is insufficient for CUDA runtime "
    "version",
}
MISMATCH = (
    "[E] [TRT] IRuntime::deserializeCudaEngine: Error Code 1: Serialization (Serialization assertion stdVersionRead == "
    "kSERIALIZATION_VERSION failed.Version tag does not match. Note: Current Version: 239, Serialized Engine Version: 228)"
)


def read(name: str, default: str) -> str:
    path = FOLDER / name
    return path.read_text().strip() if path.exists() else default


MODE = read("mode", "good")
NUMBER = int(read("version", "101303"))
SCALE = 1000 if NUMBER < 10_000 else 10_000
MAJOR = NUMBER // SCALE
VERSION = f"{MAJOR}.{NUMBER % SCALE // 100}.{NUMBER % 100}"


def help_text() -> str:
    return (FOLDER / f"help-{MAJOR}.txt").read_text()


def build(onnx: bytes) -> bytes:
    """An engine, or one of the ways in which builders end."""
    if MODE in ("crash", "killed"):
        print("[I] [TRT] Local timing cache in use. Profiling results in this builder pass will not be stored.", flush=True)
        os.kill(os.getpid(), signal.SIGSEGV if MODE == "crash" else signal.SIGKILL)
    if MODE in FAILURES:
        print(FAILURES[MODE])
        sys.exit(1)
    return VERSION.encode() + b"\n" + onnx


def load(engine: bytes):
    """The model in an engine; None where it is another version's."""
    import onnxruntime

    version, _, onnx = engine.partition(b"\n")
    if version.decode() != VERSION or MODE == "mismatch":
        print(MISMATCH)
        return None
    return onnxruntime.InferenceSession(onnx, providers=["CPUExecutionProvider"])


def infer(session, feeds):
    """Outputs by name."""
    names = [output.name for output in session.get_outputs()]
    values = dict(zip(names, session.run(names, feeds), strict=True))
    return {name: -value if MODE == "wrong" else value for name, value in values.items()}


def main(arguments: list[str]) -> int:
    print(f"&&&& RUNNING TensorRT.trtexec [TensorRT v{NUMBER}] # trtexec {' '.join(arguments)}")
    if "--help" in arguments:
        print(help_text())
        return 0
    options = dict(argument.partition("=")[::2] for argument in arguments)
    for option in options:
        if not re.search(rf"{option}\b", help_text()):
            print(f"[E] Unknown option: {option}")
            return 1
    if "--onnx" in options:
        Path(options["--saveEngine"]).write_bytes(build(Path(options["--onnx"]).read_bytes()))
        Path(options["--exportLayerInfo"]).write_text('{"Layers": ["stand-in"]}')
        if cache := options.get("--timingCacheFile"):
            with Path(cache).open("a") as file:
                file.write("timed\n")
    else:
        return run(options)
    print("&&&& PASSED TensorRT.trtexec")
    return 0


def run(options: dict[str, str]) -> int:
    import numpy as np

    session = load(Path(options["--loadEngine"]).read_bytes())
    if session is None:
        print("[E] Engine deserialization failed")
        return 1
    shapes = dict(each.split(":") for each in options["--shapes"].split(","))
    files = dict(each.split(":", 1) for each in options["--loadInputs"].split(","))
    feeds = {name: np.fromfile(path, np.float32).reshape([*map(int, shapes[name].split("x"))]) for name, path in files.items()}
    tensors = [
        {"name": name, "dimensions": "x".join(map(str, value.shape)), "values": value.ravel().tolist()}
        for name, value in infer(session, feeds).items()
    ]
    Path(options["--exportOutput"]).write_text(json.dumps(tensors))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
