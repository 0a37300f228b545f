"""A machine with TensorRT and a GPU, as far as the builder's script can see; and a small network to build from."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

_SOURCE = Path(__file__).parent / "tensorrt"


@dataclass(frozen=True)
class StandIn:
    """A copy of the stand-ins that a test may spoil."""

    folder: Path

    def behave(self, mode: str = "good", version: int = 101303) -> None:
        (self.folder / "mode").write_text(mode)
        (self.folder / "version").write_text(str(version))

    def on_this_machine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", f"{self.folder / 'bin'}:{os.environ['PATH']}")
        monkeypatch.setenv("LD_LIBRARY_PATH", str(self.folder / "lib"))

    def in_container(self, image: str, *, driver: str = "trtexec", gpu: bool = True) -> dict[str, Any]:
        """A `launch` whose containers have it."""
        places = {"trtexec": "/stand-in/bin:", "python": ""}[driver]
        environment = {
            "PATH": f"{places}/opt/tritonserver/bin:/usr/local/bin:/usr/bin:/bin",
            "LD_LIBRARY_PATH": f"/opt/tritonserver/lib{':/stand-in/lib' if gpu else ''}",
            "PYTHONPATH": "/stand-in/python",
        }
        return {"kind": "docker", "image": image, "mounts": {"/stand-in": str(self.folder)}, "env": environment}


def install(folder: Path) -> StandIn:
    """Copy the stand-ins and compile the one of the driver's library."""
    compiler = shutil.which("cc")
    if not compiler:
        pytest.skip("the stand-in of libcuda needs a C compiler")
    shutil.copytree(_SOURCE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "lib").mkdir()
    subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / "lib" / "libcuda.so.1", folder / "cuda.c"], check=True)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path.parent.name == "bin" else 0o644)
    stand_in = StandIn(folder)
    stand_in.behave()
    return stand_in


def write_network(path: Path, *, dynamic: bool = True) -> Path:
    """Four convolutions and a classifier on images of 16 × 16: INPUT [N, 3, 16, 16] -> OUTPUT [N, 10]."""
    from onnx import TensorProto, checker, helper, numpy_helper, save

    rng = np.random.default_rng(0)
    nodes, weights, before, channels = [], [], "INPUT", 3
    for layer in range(4):
        weights.append((rng.standard_normal((16, channels, 3, 3)) / np.sqrt(9 * channels), f"w{layer}"))
        nodes.append(helper.make_node("Conv", [before, f"w{layer}"], [f"c{layer}"], pads=[1] * 4, name=f"c{layer}"))
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"], name=f"r{layer}"))
        before, channels = f"r{layer}", 16
    weights.append((rng.standard_normal((10, 16)) * 10, "w"))
    nodes.append(helper.make_node("GlobalAveragePool", [before], ["pooled"], name="pool"))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"], name="flatten"))
    nodes.append(helper.make_node("Gemm", ["flat", "w"], ["OUTPUT"], transB=1, name="classifier"))
    batch = "N" if dynamic else 1
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("INPUT", TensorProto.FLOAT, [batch, 3, 16, 16])],
        [helper.make_tensor_value_info("OUTPUT", TensorProto.FLOAT, [batch, 10])],
        [numpy_helper.from_array(values.astype(np.float32), name) for values, name in weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model, full_check=True)
    save(model, path)
    return path
