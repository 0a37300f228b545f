"""The export script: exact sizes, its arguments, and weights from files. The whole model is an integration test."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[3] / "setup_scripts" / "export_efficientnet.py"


@pytest.fixture(scope="module")
def export() -> ModuleType:
    spec = importlib.util.spec_from_file_location("export_efficientnet", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("variant", "parameters"), [("b0", 5_288_548), ("b1", 7_794_184), ("b2", 9_109_994), ("b3", 12_233_232)]
)
def test_the_architecture_has_the_published_number_of_parameters(export: Any, variant: str, parameters: int) -> None:
    assert export.make_architecture(variant).parameters == parameters


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "expected"),
    [(224, 3, 2, (0, 1)), (112, 5, 2, (1, 2)), (56, 3, 1, (1, 1)), (15, 3, 2, (1, 1)), (14, 1, 1, (0, 0))],
)
def test_same_padding_puts_the_odd_pixel_after(
    export: Any, size: int, kernel: int, stride: int, expected: object
) -> None:
    conv = export.ConvSpec("c", 1, 1, kernel, stride)
    assert export.padding(size, conv, "same") == expected
    assert export.padding(size, conv, "symmetric") == (kernel // 2, kernel // 2)


def small_state(export: Any) -> dict[str, np.ndarray[Any, Any]]:
    """A state dict with the names and shapes of torchvision's B0."""
    rng = np.random.default_rng(0)
    state = {}
    architecture = export.make_architecture("b0")
    for conv in architecture.convolutions():
        state[f"{conv.name}.weight"] = rng.standard_normal(conv.weight_shape).astype(np.float32)
        for name in (
            (f"{conv.name}.bias",)
            if conv.bn is None
            else [f"{conv.bn}.{p}" for p in ("weight", "bias", "running_mean")]
        ):
            state[name] = rng.standard_normal(conv.outputs).astype(np.float32)
        if conv.bn:
            state[f"{conv.bn}.running_var"] = rng.random(conv.outputs).astype(np.float32) + 0.5
    state["classifier.1.weight"] = rng.standard_normal((1000, architecture.head.outputs)).astype(np.float32)
    state["classifier.1.bias"] = rng.standard_normal(1000).astype(np.float32)
    return state


def test_folding_a_batch_norm_keeps_what_the_layer_computes(export: Any) -> None:
    state = small_state(export)
    architecture = export.make_architecture("b0")
    weights = export.fold(architecture, state)
    x = np.random.default_rng(1).standard_normal((1, 3, 16, 16)).astype(np.float32)
    weight, bias = weights.get("features.0.0")
    folded = export.convolve(x, weight, architecture.stem, "same") + bias[:, None, None]
    plain = export.convolve(x, state["features.0.0.weight"], architecture.stem, "same")
    gamma, beta, mean, variance = (
        state[f"features.0.1.{part}"][:, None, None] for part in ("weight", "bias", "running_mean", "running_var")
    )
    np.testing.assert_allclose(folded, (plain - mean) / np.sqrt(variance + 1e-5) * gamma + beta, rtol=1e-3, atol=1e-3)


def test_weights_from_a_file_are_labelled_with_its_name(export: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", **small_state(export))
    output = tmp_path / "model.onnx"
    assert (
        export.main(["--output", str(output), "--weights", str(tmp_path / "mine.npz"), "--padding", "symmetric"]) == 0
    )
    said = json.loads((tmp_path / "model.onnx.facts.json").read_text())
    assert said["labels"] == {"model": "efficientnet-b0", "weights": "mine.npz"}
    assert said["facts"]["padding"] == "symmetric"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("none.npz", None, "no such file"),
        ("weights.bin", b"x", "expected `random`, a .npz file"),
        ("weights.pth", b"x", "needs torch"),
        ("empty.npz", {}, "array `features.0.0.weight` is missing"),
        ("wrong.npz", {"features.0.0.weight": np.zeros(3)}, "has shape (3,), b0 needs (32, 3, 3, 3)"),
    ],
)
def test_bad_weights_are_refused_in_one_line(
    export: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: Any, reason: str
) -> None:
    if name.endswith(".pth") and importlib.util.find_spec("torch"):
        pytest.skip("torch is installed")
    if isinstance(content, dict):
        np.savez(tmp_path / name, **content)
    elif content:
        (tmp_path / name).write_bytes(content)
    assert export.main(["--output", str(tmp_path / "m.onnx"), "--weights", str(tmp_path / name)]) == 1
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1
    assert not (tmp_path / "m.onnx").exists()


@pytest.mark.parametrize("arguments", [["--image-size", "8"], ["--seed", "-1"], ["--variant", "b9"], []])
def test_bad_arguments_are_refused(export: Any, tmp_path: Path, arguments: list[str]) -> None:
    given = ["--output", str(tmp_path / "m.onnx"), *arguments] if arguments else []
    with pytest.raises(SystemExit) as caught:
        export.main(given)
    assert caught.value.code == 2


def test_help_needs_no_heavy_library() -> None:
    done = subprocess.run([sys.executable, SCRIPT, "--help"], capture_output=True, text=True, check=True)
    assert "--weights random|FILE" in done.stdout
