"""The true build, where TensorRT and a GPU are: every precision, against ONNX Runtime; nothing stands in."""

from __future__ import annotations

import ctypes
import importlib.util
import shutil
from pathlib import Path

import pytest

from runner.results.files import sha256_of
from runner.scenario.schema_tensorrt import TensorrtStep
from runner.setup.base import Artifact
from runner.setup.places import ThisMachine
from runner.setup.state import StateDirectory
from runner.setup.tensorrt.step import BuildEngine, Target
from tests.contracts.step import run
from tests.stand_ins.install import write_network

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(600)]
DRIVERS = {
    "trtexec": shutil.which("trtexec") or shutil.which("/usr/src/tensorrt/bin/trtexec"),
    "python": importlib.util.find_spec("tensorrt"),
}


@pytest.fixture(autouse=True)
def _gpu() -> None:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        pytest.skip("no NVIDIA driver on this machine")


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize(
    ("precision", "error"), [("fp32", 1e-3), ("tf32", 0.1), ("fp16", 0.1), ("bf16", 0.6), ("int8", 2.0)]
)
def test_engines_do_what_the_model_does(driver: str, precision: str, error: float, tmp_path: Path) -> None:
    """Values are up to 30; `error` is several times what the recipe costs on the CPU."""
    if not DRIVERS[driver]:
        pytest.skip(f"TensorRT's {driver} is not on this machine")
    network = write_network(tmp_path / "model.onnx")
    state = StateDirectory.for_scenario("gpu", tmp_path / "gpu.yaml", tmp_path / "home")
    state.create()
    settings = {
        "kind": "tensorrt", "from": "${setup.onnx}", "precision": precision, "profile": {"opt": 4, "max": 8},
        "driver": driver, "verify": {"against": "${setup.onnx}", "atol": error},
    }  # fmt: skip
    here = ThisMachine()
    step = BuildEngine("engine", TensorrtStep.model_validate(settings), state, Target(here, here))
    product, _ = run(step, {"onnx": Artifact(network, sha256_of(network))}, tmp_path / "work")
    assert product.path.stat().st_size > 0
    assert product.facts["driver"] == driver
    assert product.facts["verification"]["max_abs_error"] <= error
