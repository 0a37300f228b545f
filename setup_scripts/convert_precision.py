#!/usr/bin/env python3
"""Convert an ONNX model to the types that an engine is to have, and measure what that costs, on the CPU.

* `fp32`, `tf32`: the graph stays as it is; it is checked and described.
* `fp16`: weights and activations become float16; inputs and outputs keep their type.
* `bf16`: the same with bfloat16, in opset 22; its cost is that of a float32 model rounded after each operator.
* `int8`: convolutions and matrix products get Q/DQ nodes (symmetric, weights per channel), ranges of activations are
  taken from samples; the rest stays float32, and so does what `--exclude` names.

The types say the precision to every version of TensorRT. Beside the model a sidecar `<output>.facts.json` has its
inputs and outputs and the error against the original on the samples: largest absolute error, least cosine of a sample,
share of samples with the same highest score.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

import bf16_graph
import layer_patterns as layers
import model_samples as ms

CONVERTED = ("fp16", "bf16", "int8")
"""Precisions for which the graph is changed."""
CALIBRATED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators that get Q/DQ nodes: those that have int8 kernels and are worth it."""
SINGLE_FILE_LIMIT = 2_000_000_000
"""Bytes; what protobuf can hold, and a little less."""


def to_fp16(model: Path) -> Any:
    """The model with float16 inside."""
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16
    from onnxruntime.transformers.onnx_model import OnnxModel

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        converted = convert_float_to_float16(onnx.load(model), keep_io_types=True)
    if said:
        print(f"{len(said)} constants are outside what float16 holds and were moved to its edge")
    # The casts stand at the end of the graph; checkers want them before those who need them.
    OnnxModel.graph_topological_sort(converted.graph, is_deterministic=True)
    return converted


def to_int8(model: Path, feeds: list[ms.Feed], exclude: list[str], folder: Path) -> Any:
    """The model with Q/DQ nodes; ranges are the extremes of what the samples produce."""
    import logging

    import onnx
    from onnxruntime import quantization as q

    class Reader(q.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter(feeds)

        def get_next(self) -> ms.Feed | None:
            return next(self.left, None)

    logging.getLogger().setLevel(logging.ERROR)  # it recommends preprocessing that TensorRT does itself
    target = folder / "quantised.onnx"
    source: Any = layers.named(onnx.load(model)) if exclude else model
    excluded = layers.excluded(source, CALIBRATED, exclude) if exclude else []
    q.quantize_static(
        source, target, Reader(), nodes_to_exclude=excluded,
        quant_format=q.QuantFormat.QDQ, op_types_to_quantize=list(CALIBRATED),
        per_channel=True, activation_type=q.QuantType.QInt8, weight_type=q.QuantType.QInt8,
        # Q/DQ before what has int8 kernels and nowhere else, as TensorRT wants them: it fuses what comes after.
        extra_options={
            "ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False,
            "OpTypesToExcludeOutputQuantization": list(CALIBRATED),
        },
    )  # fmt: skip
    converted = onnx.load(target)
    target.unlink()
    return converted


def convert(options: argparse.Namespace) -> dict[str, Any]:
    """Write the model; its facts."""
    original = session(options.model)
    inputs = ms.interface(original.get_inputs())
    save(typed(options, inputs), options.output)
    facts = {"inputs": inputs, "outputs": ms.interface(original.get_outputs()), "precision": options.precision}
    if options.precision in CONVERTED:
        options.seed += 1  # other samples than those that the ranges were taken from, where the source has more
        feeds = ms.samples(inputs, options)
        facts["error"] = ms.errors(ms.run(original, feeds), ms.run(runnable(options), feeds))
        facts["error"]["inputs"] = options.source.name if options.source else f"random, seed {options.seed}"
    return facts


def typed(options: argparse.Namespace, inputs: dict[str, Any]) -> Any:
    """The model in the types that were asked for."""
    import onnx

    if options.precision == "fp16":
        return to_fp16(options.model)
    if options.precision == "bf16":
        return bf16_graph.to_bf16(onnx.load(options.model))
    if options.precision == "int8":
        return to_int8(options.model, ms.samples(inputs, options), options.exclude, options.output.parent)
    return onnx.load(options.model)


def runnable(options: argparse.Namespace) -> Any:
    """The converted model as this processor can run it."""
    if options.precision != "bf16":
        return session(options.output)
    import onnx

    twin = options.output.with_name(f".{options.output.name}.twin")
    onnx.save(bf16_graph.twin_of(onnx.load(options.output)), twin)
    try:
        return session(twin)
    finally:
        twin.unlink()


def session(model: Path) -> Any:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    # Q and DQ as they are written: fused int8 kernels of processors without VNNI saturate, which TensorRT does not.
    settings.add_session_config_entry("session.disable_quant_qdq", "1")
    return onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])


def save(model: Any, path: Path) -> None:
    """Checked, and whole or not at all; weights that do not fit lie beside it in one file."""
    import onnx

    temporary = path.with_name(f".{path.name}.part")
    if model.ByteSize() < SINGLE_FILE_LIMIT:
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, temporary)
    else:
        onnx.save(model, temporary, save_as_external_data=True, location=f"{path.name}.data")
        onnx.checker.check_model(temporary, full_check=True)
    os.replace(temporary, path)


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="ONNX file to write")
    parser.add_argument("--model", type=Path, required=True, help="ONNX file to read")
    parser.add_argument("--precision", choices=("fp32", "tf32", *CONVERTED), required=True)
    help_text = "JSON list of layers that int8 leaves out: first, last, depthwise, operators, patterns of node names"
    parser.add_argument("--exclude", type=json.loads, default=[], help=help_text)
    ms.add_options(parser, samples=64)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    try:
        facts = convert(options)
    except ImportError as error:
        print(f"convert_precision: {error}\npip install 'scenario-runner[convert]'", file=sys.stderr)
        return 1
    except (bf16_graph.Bf16Error, layers.PatternError, ms.SampleError, OSError) as error:
        print(f"convert_precision: {error}", file=sys.stderr)
        return 1
    sidecar = json.dumps({"labels": {}, "facts": facts}, indent=1)
    options.output.with_name(f"{options.output.name}.facts.json").write_text(sidecar + "\n")
    print(json.dumps(facts.get("error", {})))
    return 0


if __name__ == "__main__":
    sys.exit(main())
