"""The recipes for fp16 and int8, run for real on a small network, and the samples that they are tried on."""

from __future__ import annotations

import importlib
import json
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.stand_ins.install import write_network

SCRIPTS = Path(__file__).parents[3] / "setup_scripts"


@pytest.fixture(autouse=True, scope="module")
def scripts_on_the_path() -> None:
    """For good: onnxruntime.transformers puts its own folder there, too, and cannot do without."""
    if str(SCRIPTS) not in sys.path:
        sys.path.append(str(SCRIPTS))


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_network(tmp_path_factory.mktemp("network") / "model.onnx")


def convert(network: Path, folder: Path, *arguments: str) -> tuple[Any, dict[str, Any]]:
    """The converted model and its facts."""
    import onnx

    script = importlib.import_module("convert_precision")
    output = folder / "typed.onnx"
    assert script.main(["--output", str(output), "--model", str(network), *arguments]) == 0
    return onnx.load(output), json.loads(output.with_name("typed.onnx.facts.json").read_text())["facts"]


def test_fp16_halves_the_weights_and_keeps_inputs_and_outputs(network: Path, tmp_path: Path) -> None:
    from onnx import TensorProto

    model, facts = convert(network, tmp_path, "--precision", "fp16", "--samples", "16")
    assert {weight.data_type for weight in model.graph.initializer} == {TensorProto.FLOAT16}
    ends = (*model.graph.input, *model.graph.output)
    assert {end.type.tensor_type.elem_type for end in ends} == {TensorProto.FLOAT}
    error = facts["error"]
    assert error["samples"] == 16
    assert 0 < error["max_abs_error"] < 2e-3 * error["max_abs_value"]
    assert error["min_cosine"] > 0.99999


def test_int8_puts_q_and_dq_around_what_has_int8_kernels(network: Path, tmp_path: Path) -> None:
    model, facts = convert(network, tmp_path, "--precision", "int8", "--samples", "32")
    operators = [node.op_type for node in model.graph.node]
    assert operators.count("QuantizeLinear") == 5, "the activations before four convolutions and the classifier"
    makers = {output: node.op_type for node in model.graph.node for output in node.output}
    convolutions = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    assert {makers[name] for node in convolutions for name in node.input[:2]} == {"DequantizeLinear"}
    points = [weight for weight in model.graph.initializer if weight.name.endswith("zero_point")]
    assert points
    assert not any(any(weight.raw_data) or any(weight.int32_data) for weight in points), "symmetric, as TensorRT wants"
    error = facts["error"]
    assert 1e-4 * error["max_abs_value"] < error["max_abs_error"] < 0.1 * error["max_abs_value"]
    assert error["min_cosine"] > 0.99
    assert error["inputs"] == "random, seed 1", "other inputs than the ranges were taken from"


def test_fp32_says_what_goes_in_and_out(network: Path, tmp_path: Path) -> None:
    _, facts = convert(network, tmp_path, "--precision", "fp32")
    assert facts["inputs"] == {"INPUT": {"dtype": "tensor(float)", "shape": ["N", 3, 16, 16]}}
    assert "error" not in facts


def options(source: Path | None = None, **changes: Any) -> Namespace:
    return Namespace(**{"source": source, "samples": 3, "seed": 0, "scaling": "imagenet", "shapes": {}, **changes})


INPUTS = {"INPUT": {"dtype": "tensor(float)", "shape": ["N", 3, 4, 4]}}


def samples(inputs: Any, chosen: Namespace) -> Any:
    return importlib.import_module("model_samples").samples(inputs, chosen)


def test_random_samples_depend_on_seed_and_number_alone() -> None:
    first, again = samples(INPUTS, options()), samples(INPUTS, options(samples=2))
    assert first[0]["INPUT"].shape == (1, 3, 4, 4)
    assert np.array_equal(first[1]["INPUT"], again[1]["INPUT"])
    assert not np.array_equal(first[1]["INPUT"], samples(INPUTS, options(seed=1))[1]["INPUT"])


def test_images_are_scaled_as_asked(tmp_path: Path) -> None:
    from PIL import Image

    for index in range(5):
        Image.new("RGB", (9, 7), (255, 0, index)).save(tmp_path / f"{index}.png")
    found = samples(INPUTS, options(tmp_path, scaling="unit"))
    assert len(found) == 3
    assert found[0]["INPUT"][0, :2].reshape(2, -1).max(1).tolist() == [1.0, 0.0]
    scaled = samples(INPUTS, options(tmp_path))[0]["INPUT"]
    assert scaled[0, 0, 0, 0] == pytest.approx((1 - 0.485) / 0.229)
    last = {"INPUT": {"dtype": "tensor(uint8)", "shape": [1, 4, 4, 3]}}
    assert samples(last, options(tmp_path, scaling="none"))[0]["INPUT"][0, 0, 0].tolist()[:2] == [255, 0]


def test_arrays_are_taken_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", INPUT=np.zeros((2, 3, 4, 4)))
    assert [each["INPUT"].dtype for each in samples(INPUTS, options(tmp_path / "x.npz"))] == [np.float32] * 2


@pytest.mark.parametrize(
    ("inputs", "array", "says"),
    [
        (INPUTS, {"OTHER": np.zeros(3)}, "has no array `INPUT` (it has OTHER)"),
        (INPUTS, {"INPUT": np.zeros((2, 5))}, "expected items of shape [3, 4, 4], got [5]"),
        ({"X": {"dtype": "tensor(float)", "shape": ["N", "H"]}}, {"X": np.zeros(3)}, "dimension 1 is dynamic"),
        ({"X": {"dtype": "tensor(string)", "shape": [1]}}, {"X": np.zeros(3)}, "samples of type tensor(string)"),
    ],
)
def test_sources_that_do_not_fit_are_named(tmp_path: Path, inputs: Any, array: Any, says: str) -> None:
    np.savez(tmp_path / "x.npz", **array)
    with pytest.raises(Exception, match=r".") as caught:
        samples(inputs, options(tmp_path / "x.npz"))
    assert type(caught.value).__name__ == "SampleError"
    assert says in str(caught.value)
