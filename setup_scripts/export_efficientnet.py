#!/usr/bin/env python3
"""Write EfficientNet (B0 to B3) as an ONNX file: the exact architecture, built with onnx and numpy alone.

Convolutions follow TensorFlow's SAME padding and batch normalisation is folded into them. Weights are one of

* `random`: seeded and calibrated. Plain random initialisation makes activations of so deep a network explode or
  vanish, so a few synthetic images are sent through it layer by layer, and each layer's batch-norm statistics are taken
  from them; logits then have a standard deviation of about 2. Good for performance, meaningless for accuracy.
* a `.npz` file whose arrays are named as in torchvision's state dict of `efficientnet_b0` (`features.0.0.weight`, …,
  `classifier.1.bias`), for example `numpy.savez(path, **{k: v.numpy() for k, v in model.state_dict().items()})`.
* a `.pth` or `.pt` file with that state dict; needs torch. Networks trained with torch want `--padding symmetric`.

Beside the model a sidecar `<output>.facts.json` says what it is; its labels travel with every measurement.
Files depend on the seed alone on one machine; floating-point sums may differ between processors and BLAS libraries.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

VARIANTS = {"b0": (1.0, 1.0, 224), "b1": (1.0, 1.1, 240), "b2": (1.1, 1.2, 260), "b3": (1.2, 1.4, 300)}
"""Variant -> width coefficient, depth coefficient, native image size (arXiv 1905.11946, table 8)."""

STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
"""Expansion, kernel, stride, channels out, repeats of the seven stages of B0 (table 1)."""

CLASSES = 1000
BN_EPSILON = 1e-5
LOGIT_STD = 2.0
CALIBRATION_IMAGES = 4
SMOOTH_STD = 0.6


class ExportError(Exception):
    """A reason, in one line, why no model can be written."""


# --- architecture -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ConvSpec:
    """A convolution; `bn` names its batch normalisation, or None where it has a bias of its own."""

    name: str
    inputs: int
    outputs: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    bn: str | None = None

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        return (self.outputs, self.inputs // self.groups, self.kernel, self.kernel)

    @property
    def parameters(self) -> int:
        """Weights, and two per channel: scale and shift of the batch norm; one for a bias."""
        return math.prod(self.weight_shape) + self.outputs * (2 if self.bn else 1)


@dataclass(frozen=True)
class Block:
    """One inverted bottleneck (MBConv) with squeeze and excitation."""

    expand: ConvSpec | None
    depthwise: ConvSpec
    squeeze: ConvSpec
    excite: ConvSpec
    project: ConvSpec
    residual: bool

    def convolutions(self) -> Iterator[ConvSpec]:
        if self.expand:
            yield self.expand
        yield from (self.depthwise, self.squeeze, self.excite, self.project)


@dataclass(frozen=True)
class Architecture:
    """The network: stem, blocks, head, then a linear classifier over the pooled features."""

    variant: str
    stem: ConvSpec
    blocks: tuple[Block, ...]
    head: ConvSpec

    def convolutions(self) -> Iterator[ConvSpec]:
        yield self.stem
        for block in self.blocks:
            yield from block.convolutions()
        yield self.head

    @property
    def parameters(self) -> int:
        return sum(conv.parameters for conv in self.convolutions()) + (self.head.outputs + 1) * CLASSES


def round_channels(channels: float) -> int:
    """The nearest multiple of 8 that is not more than a tenth below."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def make_block(prefix: str, expansion: int, kernel: int, stride: int, inputs: int, outputs: int) -> Block:
    """Names are torchvision's, so that its state dict can be read as it is."""
    wide, reduced = inputs * expansion, max(1, inputs // 4)
    parts = iter(f"{prefix}.block.{index}" for index in range(4))
    where = next(parts)
    expand = None
    if expansion > 1:
        expand = ConvSpec(f"{where}.0", inputs, wide, bn=f"{where}.1")
        where = next(parts)
    depthwise = ConvSpec(f"{where}.0", wide, wide, kernel, stride, groups=wide, bn=f"{where}.1")
    where = next(parts)
    squeeze, excite = ConvSpec(f"{where}.fc1", wide, reduced), ConvSpec(f"{where}.fc2", reduced, wide)
    where = next(parts)
    project = ConvSpec(f"{where}.0", wide, outputs, bn=f"{where}.1")
    return Block(expand, depthwise, squeeze, excite, project, residual=stride == 1 and inputs == outputs)


def make_architecture(variant: str) -> Architecture:
    width, depth, _ = VARIANTS[variant]
    channels = round_channels(32 * width)
    stem = ConvSpec("features.0.0", 3, channels, 3, 2, bn="features.0.1")
    blocks: list[Block] = []
    for stage, (expansion, kernel, stride, base, repeats) in enumerate(STAGES, start=1):
        outputs = round_channels(base * width)
        for index in range(math.ceil(repeats * depth)):
            first = stride if index == 0 else 1
            blocks.append(make_block(f"features.{stage}.{index}", expansion, kernel, first, channels, outputs))
            channels = outputs
    head = ConvSpec("features.8.0", channels, 4 * channels, bn="features.8.1")
    return Architecture(variant, stem, tuple(blocks), head)


# --- weights ------------------------------------------------------------------------------------------------------


@dataclass
class Weights:
    """Folded weights: name -> array; every convolution has `.weight` and `.bias`."""

    arrays: dict[str, Array] = field(default_factory=dict)

    def put(self, name: str, weight: Array, bias: Array) -> None:
        self.arrays[f"{name}.weight"] = np.ascontiguousarray(weight, np.float32)
        self.arrays[f"{name}.bias"] = np.ascontiguousarray(bias, np.float32)

    def get(self, name: str) -> tuple[Array, Array]:
        return self.arrays[f"{name}.weight"], self.arrays[f"{name}.bias"]


def swish(x: Array) -> Array:
    result: Array = x * sigmoid(x)
    return result


def sigmoid(x: Array) -> Array:
    result: Array = 1 / (1 + np.exp(-x))
    return result


def padding(size: int, conv: ConvSpec, style: str) -> tuple[int, int]:
    """Padding before and after along one axis; SAME puts the odd pixel after, as TensorFlow does."""
    if style == "symmetric":
        return conv.kernel // 2, conv.kernel // 2
    total = max((math.ceil(size / conv.stride) - 1) * conv.stride + conv.kernel - size, 0)
    return total // 2, total - total // 2


def convolve(x: Array, weight: Array, conv: ConvSpec, style: str) -> Array:
    """Convolution as a sum over kernel taps; 1 x 1 is a matrix product."""
    n, channels, height, width = x.shape
    if conv.kernel == 1:
        flat: Array = np.matmul(weight[:, :, 0, 0], x.reshape(n, channels, -1))
        return flat.reshape(n, conv.outputs, height, width)
    before, after = padding(height, conv, style)
    padded = np.pad(x, ((0, 0), (0, 0), (before, after), (before, after)))
    size = (height + before + after - conv.kernel) // conv.stride + 1
    result: Array = np.zeros((n, conv.outputs, size, size), np.float32)
    for row in range(conv.kernel):
        for column in range(conv.kernel):
            end_row, end_column = row + (size - 1) * conv.stride + 1, column + (size - 1) * conv.stride + 1
            tap = padded[:, :, row : end_row : conv.stride, column : end_column : conv.stride]
            if conv.groups > 1:
                result += tap * weight[:, 0, row, column][:, None, None]
            else:
                result += np.einsum("oc,nchw->nohw", weight[:, :, row, column], tap, optimize=True)
    return result


def calibration_images(rng: np.random.Generator, size: int) -> Array:
    """Normalised images from smooth to grainy: noise at several scales, enlarged and added, then white noise alone.

    Photographs are smooth; a network calibrated on those alone answers noise with logits in the thousands.
    """
    images: Array = np.zeros((CALIBRATION_IMAGES, 3, size, size), np.float32)
    cells = 2
    while cells <= size:
        noise = rng.standard_normal((CALIBRATION_IMAGES, 3, cells, cells), np.float32)
        index = np.arange(size) * cells // size
        images += noise[:, :, index][:, :, :, index] * cells**-0.5
        cells *= 2
    images *= SMOOTH_STD / images.std((1, 2, 3), keepdims=True)
    images[-1] = rng.standard_normal(images[-1].shape, np.float32)
    return images


class Calibrator:
    """Draws weights and sends images through the network, setting each batch norm from what it would have seen."""

    def __init__(self, architecture: Architecture, seed: int, size: int, style: str) -> None:
        self.architecture, self.style = architecture, style
        self.rng = np.random.default_rng(seed)
        self.images = calibration_images(self.rng, size)
        self.weights = Weights()

    def draw(self, conv: ConvSpec) -> Array:
        fan_in = math.prod(conv.weight_shape[1:])
        weight: Array = self.rng.standard_normal(conv.weight_shape, np.float32) * np.float32(math.sqrt(1 / fan_in))
        return weight

    def normalised(self, x: Array, conv: ConvSpec) -> Array:
        """Convolve, then fold into the weights what brings every channel to mean 0 and deviation 1."""
        weight = self.draw(conv)
        y = convolve(x, weight, conv, self.style)
        mean, std = y.mean((0, 2, 3)), y.std((0, 2, 3)) + 1e-3
        self.weights.put(conv.name, weight / std[:, None, None, None], -mean / std)
        y -= mean[:, None, None]
        y /= std[:, None, None]
        return y

    def biased(self, x: Array, conv: ConvSpec) -> Array:
        weight = self.draw(conv)
        self.weights.put(conv.name, weight, np.zeros(conv.outputs))
        return convolve(x, weight, conv, self.style)

    def block(self, x: Array, block: Block) -> Array:
        y = swish(self.normalised(x, block.expand)) if block.expand else x
        y = swish(self.normalised(y, block.depthwise))
        gate = swish(self.biased(y.mean((2, 3), keepdims=True), block.squeeze))
        y = y * sigmoid(self.biased(gate, block.excite))
        y = self.normalised(y, block.project)
        return x + y if block.residual else y

    def run(self) -> Weights:
        x = swish(self.normalised(self.images, self.architecture.stem))
        for block in self.architecture.blocks:
            x = self.block(x, block)
        features = swish(self.normalised(x, self.architecture.head)).mean((2, 3))
        weight = self.rng.standard_normal((CLASSES, features.shape[1]), np.float32)
        smooth_logits = features[:-1] @ weight.T
        scale = LOGIT_STD / smooth_logits.std()
        self.weights.put("classifier.1", weight * scale, np.zeros(CLASSES))
        return self.weights


def read_state(path: Path) -> dict[str, Array]:
    """The arrays of a `.npz` or of a torch state dict."""
    if not path.is_file():
        raise ExportError(f"weights: no such file: {path} (expected `random`, a .npz, or a .pth state dict)")
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    if path.suffix not in {".pth", ".pt"}:
        raise ExportError(f"weights: {path.name}: expected `random`, a .npz file, or a .pth/.pt state dict")
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        raise ExportError(f"weights: reading {path.name} needs torch; convert it to .npz or install torch") from None
    state = torch.load(path, map_location="cpu", weights_only=True)
    return {name: tensor.numpy() for name, tensor in state.items()}


def fold(architecture: Architecture, state: dict[str, Array]) -> Weights:
    """Fold batch norms into the convolutions before them."""

    def take(name: str, shape: tuple[int, ...]) -> Array:
        if name not in state:
            raise ExportError(f"weights: array `{name}` is missing (names as in torchvision's efficientnet state dict)")
        if state[name].shape != shape:
            raise ExportError(f"weights: `{name}` has shape {state[name].shape}, {architecture.variant} needs {shape}")
        return state[name].astype(np.float64)

    weights = Weights()
    for conv in architecture.convolutions():
        weight = take(f"{conv.name}.weight", conv.weight_shape)
        if conv.bn is None:
            weights.put(conv.name, weight, take(f"{conv.name}.bias", (conv.outputs,)))
            continue
        gamma, beta, mean, variance = (
            take(f"{conv.bn}.{part}", (conv.outputs,)) for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / np.sqrt(variance + BN_EPSILON)
        weights.put(conv.name, weight * scale[:, None, None, None], beta - mean * scale)
    features = architecture.head.outputs
    weights.put("classifier.1", take("classifier.1.weight", (CLASSES, features)), take("classifier.1.bias", (CLASSES,)))
    return weights


# --- graph --------------------------------------------------------------------------------------------------------


class Graph:
    """Collects ONNX nodes and counts multiply-accumulates as it goes."""

    def __init__(self, weights: Weights, size: int, style: str) -> None:
        from onnx import helper

        self.helper, self.weights, self.style = helper, weights, style
        self.size, self.macs = size, 0
        self.nodes: list[Any] = []

    def add(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        output = output or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(self.helper.make_node(operator, list(inputs), [output], name=output, **attributes))
        return output

    def conv(self, x: str, conv: ConvSpec, *, pooled: bool = False) -> str:
        size = 1 if pooled else self.size
        before, after = padding(size, conv, self.style)
        out = (size + before + after - conv.kernel) // conv.stride + 1
        self.macs += math.prod(conv.weight_shape) * out * out
        if not pooled:
            self.size = out
        return self.add(
            "Conv", x, f"{conv.name}.weight", f"{conv.name}.bias", kernel_shape=[conv.kernel] * 2,
            strides=[conv.stride] * 2, pads=[before, before, after, after], group=conv.groups,
        )  # fmt: skip

    def swish(self, x: str) -> str:
        return self.add("Mul", x, self.add("Sigmoid", x))

    def block(self, x: str, block: Block) -> str:
        y = self.swish(self.conv(x, block.expand)) if block.expand else x
        y = self.swish(self.conv(y, block.depthwise))
        gate = self.swish(self.conv(self.add("GlobalAveragePool", y), block.squeeze, pooled=True))
        y = self.add("Mul", y, self.add("Sigmoid", self.conv(gate, block.excite, pooled=True)))
        y = self.conv(y, block.project)
        return self.add("Add", x, y) if block.residual else y

    def network(self, x: str, architecture: Architecture) -> None:
        x = self.swish(self.conv(x, architecture.stem))
        for block in architecture.blocks:
            x = self.block(x, block)
        x = self.swish(self.conv(x, architecture.head))
        x = self.add("Flatten", self.add("GlobalAveragePool", x))
        self.macs += architecture.head.outputs * CLASSES
        self.add("Gemm", x, "classifier.1.weight", "classifier.1.bias", output="OUTPUT", transB=1)


def make_model(architecture: Architecture, weights: Weights, options: argparse.Namespace) -> tuple[Any, dict[str, Any]]:
    """The ONNX model and its facts."""
    from onnx import TensorProto, helper, numpy_helper

    graph = Graph(weights, options.image_size, options.padding)
    shape = [3, options.image_size, options.image_size]
    start = "INPUT"
    if options.layout == "nhwc":
        shape = [*shape[1:], 3]
        start = graph.add("Transpose", start, perm=[0, 3, 1, 2])
    graph.network(start, architecture)
    facts = {
        "variant": architecture.variant, "weights": label_of(options.weights), "seed": options.seed,
        "parameters": architecture.parameters, "gmac": round(graph.macs / 1e9, 4), "image_size": options.image_size,
        "layout": options.layout, "padding": options.padding, "opset": 17,
    }  # fmt: skip
    body = helper.make_graph(
        graph.nodes,
        f"efficientnet_{architecture.variant}",
        [helper.make_tensor_value_info("INPUT", TensorProto.FLOAT, ["N", *shape])],
        [helper.make_tensor_value_info("OUTPUT", TensorProto.FLOAT, ["N", CLASSES])],
        initializer=[numpy_helper.from_array(array, name) for name, array in weights.arrays.items()],
    )
    model = helper.make_model(
        body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="export_efficientnet"
    )
    helper.set_model_props(model, {key: str(value) for key, value in facts.items()})
    return model, facts


def label_of(weights: str) -> str:
    return weights if weights == "random" else Path(weights).name


# --- command line -------------------------------------------------------------------------------------------------


def write(path: Path, content: bytes) -> None:
    """Whole or not at all."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def export(options: argparse.Namespace) -> dict[str, Any]:
    from onnx import checker

    architecture = make_architecture(options.variant)
    if options.weights == "random":
        weights = Calibrator(architecture, options.seed, options.image_size, options.padding).run()
    else:
        weights = fold(architecture, read_state(Path(options.weights)))
    model, facts = make_model(architecture, weights, options)
    checker.check_model(model, full_check=True)
    write(options.output, model.SerializeToString(deterministic=True))
    labels = {"model": f"efficientnet-{options.variant}", "weights": facts["weights"]}
    sidecar = json.dumps({"labels": labels, "facts": facts}, indent=1, sort_keys=True) + "\n"
    write(options.output.with_name(f"{options.output.name}.facts.json"), sidecar.encode())
    return facts


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="ONNX file to write")
    parser.add_argument("--variant", choices=sorted(VARIANTS), default="b0")
    parser.add_argument("--weights", default="random", metavar="random|FILE", help="see above; default: random")
    parser.add_argument("--seed", type=int, default=0, help="of random weights; default: 0")
    parser.add_argument("--image-size", type=int, help="pixels; default: the variant's own (b0: 224)")
    parser.add_argument("--layout", choices=("nchw", "nhwc"), default="nchw", help="of the input; default: nchw")
    parser.add_argument("--padding", choices=("same", "symmetric"), default="same", help="default: same, as TensorFlow")
    options = parser.parse_args(argv)
    options.image_size = options.image_size or VARIANTS[options.variant][2]
    if not 32 <= options.image_size <= 4096:
        parser.error(f"--image-size: expected 32 to 4096, got {options.image_size}")
    if options.seed < 0:
        parser.error(f"--seed: expected 0 or more, got {options.seed}")
    return options


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    try:
        facts = export(options)
    except (ExportError, OSError, ImportError) as error:
        print(f"export_efficientnet: {error}", file=sys.stderr)
        return 1
    print(" ".join(f"{key}={value}" for key, value in facts.items()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
