"""The recipes for fp16, bf16 and int8, run for real on a small network, and the samples that they are tried on."""

from __future__ import annotations

import importlib
import json
import sys
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace
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


def nearest_bf16(values: Any) -> Any:
    """Rounded by the library that defines the type for numpy."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    return np.asarray(values).astype(ml_dtypes.bfloat16).astype(np.float32)


def test_bf16_has_the_originals_weights_rounded_once(network: Path, tmp_path: Path) -> None:
    import onnx
    from onnx import TensorProto

    model, facts = convert(network, tmp_path, "--precision", "bf16", "--samples", "16")
    original = {each.name: onnx.numpy_helper.to_array(each) for each in onnx.load(network).graph.initializer}
    weights = model.graph.initializer
    assert {weight.data_type for weight in weights} == {TensorProto.BFLOAT16}
    for weight in weights:
        bits = np.frombuffer(weight.raw_data, np.uint16).astype(np.uint32) << 16
        assert np.array_equal(bits.view(np.float32), nearest_bf16(original[weight.name]).ravel()), weight.name
    ends = (*model.graph.input, *model.graph.output)
    assert {end.type.tensor_type.elem_type for end in ends} == {TensorProto.FLOAT}
    assert [each.version for each in model.opset_import] == [22], "before it no convolution may be bfloat16"
    error = facts["error"]
    assert 1e-3 * error["max_abs_value"] < error["max_abs_error"] < 2e-2 * error["max_abs_value"]
    assert error["min_cosine"] > 0.9999
    assert not list(tmp_path.glob(".*")), "the twin is gone"


def small(nodes: Any, weights: dict[str, Any], opset: int = 13) -> Any:
    """A model from X [1, 8] to Y."""
    from onnx import TensorProto, helper, numpy_helper

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 8]) for name in "XY"]
    held = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "small", ends[:1], ends[1:], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def test_the_twin_rounds_what_each_operator_leaves(tmp_path: Path) -> None:
    import onnx
    from onnx import helper

    weights = np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["X", "W"], ["H"]), helper.make_node("Mul", ["H", "H"], ["Y"])]
    onnx.save(small(nodes, {"W": weights}), tmp_path / "small.onnx")
    bf16_graph, script = importlib.import_module("bf16_graph"), importlib.import_module("convert_precision")
    converted = bf16_graph.to_bf16(onnx.load(tmp_path / "small.onnx"))
    onnx.save(bf16_graph.twin_of(converted), tmp_path / "twin.onnx")
    x = np.random.default_rng(1).normal(size=(4, 8)).astype(np.float32)
    [found] = script.session(tmp_path / "twin.onnx").run(None, {"X": x})
    hidden = nearest_bf16(nearest_bf16(x) @ nearest_bf16(weights))
    assert np.array_equal(found, nearest_bf16(hidden * hidden))


def test_what_float16_cannot_hold_bf16_can_and_what_knows_no_bf16_stays() -> None:
    from onnx import TensorProto, helper

    bf16_graph = importlib.import_module("bf16_graph")
    nodes = [helper.make_node("Mul", ["X", "big"], ["H"]), helper.make_node("Celu", ["M"], ["D"]),
             helper.make_node("Add", ["H", "D"], ["Y"])]  # fmt: skip
    weights = {"big": np.float32([1e30] * 8), "M": np.ones(8, np.float32)}
    model = bf16_graph.to_bf16(small(nodes, weights))
    types = {each.name: each.data_type for each in model.graph.initializer}
    assert types == {"big": TensorProto.BFLOAT16, "M": TensorProto.FLOAT}, "ONNX defines no Celu in bfloat16"
    big = np.frombuffer(model.graph.initializer[0].raw_data, np.uint16).astype(np.uint32) << 16
    assert np.allclose(big.view(np.float32), 1e30, rtol=1e-2)


def test_halves_are_no_start_for_bf16() -> None:
    from onnx import helper

    bf16_graph = importlib.import_module("bf16_graph")
    nodes = [helper.make_node("Cast", ["X"], ["H"], to=1), helper.make_node("Cast", ["w"], ["v"], to=1),
             helper.make_node("Add", ["H", "v"], ["Y"])]  # fmt: skip
    with pytest.raises(bf16_graph.Bf16Error, match="has float16 weights already"):
        bf16_graph.to_bf16(small(nodes, {"w": np.ones(8, np.float16)}))


def test_a_model_that_cannot_have_the_opset_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx
    from onnx import helper

    script = importlib.import_module("convert_precision")
    onnx.save(small([helper.make_node("Swish2", ["X"], ["Y"])], {}, opset=9), tmp_path / "old.onnx")
    paths = ["--output", str(tmp_path / "o.onnx"), "--model", str(tmp_path / "old.onnx")]
    monkeypatch.setattr(script, "session", lambda path: SimpleNamespace(get_inputs=list, get_outputs=list))
    assert script.main([*paths, "--precision", "bf16"]) == 1
    assert "convert_precision: bf16 needs opset 22, and this model of opset 9 cannot be" in capsys.readouterr().err
    assert not (tmp_path / "o.onnx").exists()


@pytest.mark.parametrize("value", [0.0, 1.0, 1.00390625, 1.01171875, -3.1e-39, 3.4e38, np.inf, -np.inf])
def test_rounding_is_to_the_nearest_and_ties_to_even(value: float) -> None:
    bf16_graph = importlib.import_module("bf16_graph")
    found = bf16_graph.rounded(np.float32([value])).astype(np.uint32) << 16
    assert found.view(np.float32) == nearest_bf16(np.float32([value]))
    assert np.isnan((bf16_graph.rounded(np.float32([np.nan])).astype(np.uint32) << 16).view(np.float32))


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


def quantised(model: Any) -> list[str]:
    """Layers whose activations come from a DequantizeLinear."""
    makers = {output: node.op_type for node in model.graph.node for output in node.output}
    layers = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm")]
    return [node.name for node in layers if makers.get(node.input[0]) == "DequantizeLinear"]


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        (["first", "last"], ["c1", "c2", "c3"]),
        (["Gemm"], ["c0", "c1", "c2", "c3"]),
        (["c[12]", "classifier"], ["c0", "c3"]),
    ],
)
def test_excluded_layers_stay_float32(network: Path, tmp_path: Path, exclude: list[str], left: list[str]) -> None:
    arguments = ("--precision", "int8", "--samples", "4", "--exclude", json.dumps(exclude))
    model, _ = convert(network, tmp_path, *arguments)
    assert quantised(model) == left


def test_a_layer_left_out_costs_less(network: Path, tmp_path: Path) -> None:
    errors = []
    for exclude in ("[]", '["*"]'):
        _, facts = convert(network, tmp_path, "--precision", "int8", "--samples", "8", "--exclude", exclude)
        errors.append(facts["error"]["max_abs_error"])
    assert errors[0] > 0
    assert errors[1] == pytest.approx(0, abs=1e-4)


def test_an_exclusion_that_means_nothing_is_named(
    network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = importlib.import_module("convert_precision")
    paths = ["--output", str(tmp_path / "o.onnx"), "--model", str(network)]
    for pattern, hint in (("clasifier", "did you mean classifier?"), ("blocks.*", "layers are: c0, c1, c2, c3, class")):
        assert script.main([*paths, "--precision", "int8", "--samples", "2", "--exclude", json.dumps([pattern])]) == 1
        assert f"exclude: {pattern} means no layer that int8 would change: {hint}" in capsys.readouterr().err


def test_depthwise_convolutions_and_nodes_without_a_name() -> None:
    from onnx import helper

    layers = importlib.import_module("layer_patterns")
    weights = {"d": np.zeros((8, 1, 3), np.float32), "g": np.zeros((8, 2, 3), np.float32)}
    nodes = [helper.make_node("Conv", ["X", "d"], ["A"], group=8), helper.make_node("Conv", ["A", "g"], ["B"], group=4),
             helper.make_node("Relu", ["B"], ["Y"], name="Conv_0")]  # fmt: skip
    model = layers.named(small(nodes, weights))
    assert [node.name for node in model.graph.node] == ["Conv_0_1", "Conv_1", "Conv_0"]
    assert layers.excluded(model, ("Conv",), ["depthwise"]) == ["Conv_0_1"]


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
